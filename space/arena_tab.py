"""The arena: two answers to one prompt, nobody knows whose, one vote, then the names."""

import asyncio
import html
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from sqlalchemy.exc import SQLAlchemyError

from arena.battles import Battle, Ticket
from arena.votes import VoteError
from space.banner import BASE, Snapshot
from space.battle import MAX_CHARACTERS, Ring, View, fight, settle, suggestions
from space.events import QUIET

SURPRISE = ""
"""Choice of the picker that leaves the persona to chance."""
VERDICTS = {"left": "A is better", "right": "B is better", "tie": "Tie", "both_bad": "Both are bad"}


def plate(side: str, battle: Battle | None = None, verdict: str = "", title: str = "") -> str:
    """The heading over an answer: a letter, and after the vote the name, the revision and whether it won."""
    letter = {"left": "A", "right": "B"}[side]
    if battle is None:
        return f'<div class="plate"><b>{letter}</b><span>Who is it?</span></div>'
    name, answer = (battle.left, battle.left_answer) if side == "left" else (battle.right, battle.right_answer)
    handle = html.escape(f"{name}@{answer.revision}" if answer.revision else name)
    chosen = " <em>Your choice</em>" if verdict == side else ""
    kind = "plate known chosen" if verdict == side else "plate known"
    return f'<div class="{kind}"><b>{letter}</b><span>{html.escape(title)} <code>{handle}</code></span>{chosen}</div>'


def recorded(prompt: str) -> str:
    """The line over a recorded battle: that it is one, and what was asked."""
    return f'<div class="recorded"><em>Recorded earlier</em><span>{html.escape(prompt)}</span></div>' if prompt else ""


@dataclass(frozen=True)
class ArenaTab:
    """What the page must refresh when personas come, go or change."""

    persona: gr.Dropdown
    prompts: gr.Dataset

    @property
    def outputs(self) -> list[Any]:
        return [self.persona, self.prompts]


def refresh(snapshot: Snapshot, chosen: str | None) -> list[Any]:
    """Updates for `ArenaTab.outputs`."""
    names = {one.name for one in snapshot.personas}
    choices = [("Surprise me", SURPRISE), *((one.title, one.name) for one in snapshot.personas)]
    chosen = chosen if chosen in names else SURPRISE
    samples = [[prompt] for prompt in suggestions(snapshot, chosen)]
    return [gr.update(choices=choices, value=chosen), gr.update(samples=samples, visible=bool(samples))]


@dataclass(frozen=True)
class Stage:
    """The parts of the tab that a battle changes."""

    recorded: gr.HTML
    """Above the answers: the prompt of a battle that was recorded earlier."""
    plates: tuple[gr.HTML, gr.HTML]
    texts: tuple[gr.Markdown, gr.Markdown]
    message: gr.HTML
    buttons: tuple[gr.Button, ...]
    prompt: gr.Textbox
    start: gr.Button
    following: gr.Button
    ticket: gr.State

    @property
    def outputs(self) -> list[Any]:
        controls = [self.prompt, self.start, self.following]
        return [self.recorded, *self.plates, *self.texts, self.message, *self.buttons, *controls, self.ticket]


def show(view: View) -> list[Any]:
    """Updates for `Stage.outputs` while a battle runs and when it ends."""
    return [
        gr.update(value=recorded(view.recorded), visible=bool(view.recorded)),
        plate("left"),
        plate("right"),
        view.left,
        view.right,
        _message(view.message, view.kind),
        *(gr.update(interactive=view.ticket is not None, visible=view.kind != "trouble") for _ in VERDICTS),
        gr.update(interactive=not view.busy),
        gr.update(interactive=not view.busy),
        gr.update(visible=view.kind == "trouble" and not view.busy),
        view.ticket,
    ]


def unmask(battle: Battle, verdict: str, snapshot: Snapshot) -> list[Any]:
    """Updates for `Stage.outputs` after the vote."""
    known = {one.name: one.title for one in (BASE, *snapshot.contestants)}
    titles = {side: known.get(name, name) for side, name in (("left", battle.left), ("right", battle.right))}
    thanks = {"left": "You chose A.", "right": "You chose B.", "tie": "A tie.", "both_bad": "Both bad."}[verdict]
    return [
        gr.skip(),
        plate("left", battle, verdict, titles["left"]),
        plate("right", battle, verdict, titles["right"]),
        gr.skip(),
        gr.skip(),
        _message(f"{thanks} Your vote is counted, thank you.", "reveal"),
        *(gr.update(interactive=False, visible=False) for _ in VERDICTS),
        gr.skip(),
        gr.skip(),
        gr.update(visible=True),
        gr.skip(),
    ]


def build_arena(ring: Ring) -> ArenaTab:
    """Lays out the tab and wires it."""
    with gr.Row(elem_id="arena-ask"):
        persona = gr.Dropdown(
            [("Surprise me", SURPRISE)], value=SURPRISE, label="Base against", elem_id="rival", min_width=200
        )
        prompt = gr.Textbox(
            label="Prompt",
            placeholder="What should both answer?",
            lines=1,
            max_lines=5,
            max_length=MAX_CHARACTERS,
            scale=4,
            min_width=280,
            elem_id="prompt",
        )
        start = gr.Button("Start battle", variant="primary", scale=0, min_width=140, elem_id="start")
    prompts = gr.Dataset(components=["textbox"], samples=[], label="Suggestions", elem_id="suggestions", visible=False)
    earlier = gr.HTML(visible=False, elem_id="recorded")
    with gr.Row(elem_id="answers", equal_height=True):
        plates, texts = zip(*(_side(side) for side in ("left", "right")), strict=True)
    message = gr.HTML(_message("Two answers: one is the base's, one a persona's. You judge blind."), elem_id="verdict")
    with gr.Row(elem_id="votes"):
        buttons = tuple(
            gr.Button(label, interactive=False, min_width=120, elem_id=f"vote-{verdict}")
            for verdict, label in VERDICTS.items()
        )
        following = gr.Button("Next battle", variant="primary", visible=False, elem_id="next")
    stage = Stage(earlier, plates, texts, message, buttons, prompt, start, following, gr.State(None))
    tab = ArenaTab(persona, prompts)
    _wire(ring, tab, stage)
    return tab


def _side(side: str) -> tuple[gr.HTML, gr.Markdown]:
    with gr.Column(min_width=320, elem_classes="answer"):
        heading = gr.HTML(plate(side))
        text = gr.Markdown(elem_id=f"answer-{side}", line_breaks=True, latex_delimiters=[], min_height=110)
    return heading, text


def _wire(ring: Ring, tab: ArenaTab, stage: Stage) -> None:
    async def battle(prompt: str, choice: str | None, request: gr.Request) -> AsyncIterator[list[Any]]:
        async with aclosing(fight(ring, prompt, choice, request.session_hash or "")) as views:
            async for view in views:
                yield show(view)

    async def vote(verdict: str, ticket: Ticket | None, request: gr.Request) -> list[Any]:
        try:
            fought = await asyncio.to_thread(settle, ring, verdict, ticket, request.session_hash or "")
        except VoteError as error:
            gr.Warning(str(error))
        except SQLAlchemyError:
            gr.Warning("Your vote could not be saved. Please try again.")
        else:
            return unmask(fought, verdict, await ring.backend.look())
        return [gr.skip() for _ in stage.outputs]

    async def suggest(choice: str | None, before: str) -> str:
        pool = suggestions(await ring.backend.look(), choice)
        fresh = [prompt for prompt in pool if prompt != before] or pool
        return secrets.choice(fresh) if fresh else before

    async def choose(choice: str | None) -> Any:
        return refresh(await ring.backend.look(), choice)[1]

    asked = [stage.prompt, tab.persona]
    gr.on([stage.start.click, stage.prompt.submit], battle, asked, stage.outputs, **QUIET)
    suggested = stage.following.click(suggest, [tab.persona, stage.prompt], stage.prompt, queue=False, **QUIET)
    suggested.then(battle, asked, stage.outputs, **QUIET)
    tab.prompts.click(lambda sample: sample[0], tab.prompts, stage.prompt, queue=False, api_visibility="private")
    tab.persona.input(choose, tab.persona, tab.prompts, queue=False, **QUIET)
    for verdict, button in zip(VERDICTS, stage.buttons, strict=True):
        button.click(_voter(vote, verdict), stage.ticket, stage.outputs, **QUIET)


def _voter(vote: Any, verdict: str) -> Any:
    """A handler that casts one verdict (Gradio reads signatures, so not a partial)."""

    async def cast(ticket: Ticket | None, request: gr.Request) -> list[Any]:
        return await vote(verdict, ticket, request)

    return cast


def _message(text: str, kind: str = "") -> str:
    return f'<div class="note {kind}" role="status">{text}</div>'
