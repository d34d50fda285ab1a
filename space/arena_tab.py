"""The arena: two answers to one prompt, nobody knows whose, one vote, then the names."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from sqlalchemy.exc import SQLAlchemyError

from arena.battles import Battle, Ticket
from arena.votes import VoteError, find_vote
from space.arena_html import CHIPS, HINT, differences, link, message, plate, recalled, recorded
from space.banner import BASE, Snapshot
from space.battle import MAX_CHARACTERS, Ring, View, fight, settle, suggestions
from space.events import QUIET

SURPRISE = ""
"""Choice of the picker that leaves the persona to chance."""
ANYONE = ""
"""Choice of the rival that leaves the pair to chance."""
RIVALS = {
    ANYONE: "Anyone",
    "base": "The base",
    "persona": "Another persona",
    "revision": "Its other revision",
    "shots": "The base with examples",
    "imported": "Another system",
}
VERDICTS = {"left": "A is better", "right": "B is better", "tie": "Tie", "both_bad": "Both are bad"}
KEYS = """() => {
  if (window.arenaKeys) return;
  window.arenaKeys = true;
  const verdicts = {arrowleft: 'left', a: 'left', arrowright: 'right', b: 'right', t: 'tie', n: 'both_bad'};
  const typing = 'input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable=true], '
    + '[role=listbox], [role=tablist]';
  const press = (id) => {
    const button = document.getElementById(id);
    if (!button || button.offsetParent === null || button.disabled) return false;
    button.click();
    return true;
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest('#prompt textarea') && event.key === 'Enter' && !event.shiftKey) {
      setTimeout(() => event.target.blur(), 0);
      return;
    }
    if (event.target.closest(typing)) return;
    const key = event.key.toLowerCase();
    const done = (verdicts[key] && press('vote-' + verdicts[key])) || (key === 'n' && press('next'));
    if (done) event.preventDefault();
  });
}"""
"""Votes by keyboard while nobody types; what a key does is what its button does."""


@dataclass(frozen=True)
class ArenaTab:
    """What the page must refresh when personas come, go or change, and what other tabs reach for."""

    persona: gr.Dropdown
    prompts: gr.Dataset
    against: gr.Dropdown
    prompt: gr.Textbox
    recalled: gr.HTML
    """A battle that a link asked for."""

    @property
    def outputs(self) -> list[Any]:
        return [self.persona, self.prompts]


def refresh(snapshot: Snapshot, chosen: str | None) -> list[Any]:
    """Updates for `ArenaTab.outputs`."""
    names = {one.name for one in snapshot.personas}
    choices = [("Surprise me", SURPRISE), *((one.title, one.name) for one in snapshot.personas)]
    chosen = chosen if chosen in names else SURPRISE
    return [gr.update(choices=choices, value=chosen), _offer(suggestions(snapshot, chosen))]


def _offer(prompts: list[str]) -> Any:
    return gr.update(samples=[[prompt] for prompt in prompts], visible=bool(prompts))


@dataclass(frozen=True)
class Stage:
    """The parts of the tab that a battle changes."""

    recorded: gr.HTML
    """Above the answers: the prompt of a battle that was recorded earlier."""
    plates: tuple[gr.HTML, gr.HTML]
    texts: tuple[gr.Markdown, gr.Markdown]
    message: gr.HTML
    difference: gr.HTML
    """After the vote: which words differ."""
    reasons: gr.CheckboxGroup
    buttons: tuple[gr.Button, ...]
    prompt: gr.Textbox
    start: gr.Button
    following: gr.Button
    ticket: gr.State

    @property
    def outputs(self) -> list[Any]:
        under = [self.message, self.difference, self.reasons]
        controls = [self.prompt, self.start, self.following]
        return [self.recorded, *self.plates, *self.texts, *under, *self.buttons, *controls, self.ticket]


def show(view: View) -> list[Any]:
    """Updates for `Stage.outputs` while a battle runs and when it ends."""
    return [
        gr.update(value=recorded(view.recorded), visible=bool(view.recorded)),
        plate("left"),
        plate("right"),
        view.left,
        view.right,
        message(f"{view.message} {HINT}" if view.ticket else view.message, view.kind),
        gr.update(value="", visible=False),
        gr.update(value=[], visible=view.ticket is not None),
        *(gr.update(interactive=view.ticket is not None, visible=view.kind != "trouble") for _ in VERDICTS),
        gr.update(interactive=not view.busy),
        gr.update(interactive=not view.busy),
        gr.update(visible=view.kind == "trouble" and not view.busy),
        view.ticket,
    ]


def unmask(battle: Battle, verdict: str, snapshot: Snapshot) -> list[Any]:
    """Updates for `Stage.outputs` after the vote."""
    titles = names_of(battle, snapshot)
    thanks = {"left": "You chose A.", "right": "You chose B.", "tie": "A tie.", "both_bad": "Both bad."}[verdict]
    return [
        gr.skip(),
        plate("left", battle, verdict, titles[battle.left]),
        plate("right", battle, verdict, titles[battle.right]),
        gr.skip(),
        gr.skip(),
        message(f"{thanks} Your vote is counted, thank you. {link(battle.id)}", "reveal"),
        gr.update(value=differences(battle), visible=True),
        gr.update(visible=False),
        *(gr.update(interactive=False, visible=False) for _ in VERDICTS),
        gr.skip(),
        gr.skip(),
        gr.update(visible=True),
        gr.skip(),
    ]


def names_of(battle: Battle, snapshot: Snapshot) -> dict[str, str]:
    """What people call both contestants."""
    known = {one.name: one.title for one in (BASE, *snapshot.contestants)}
    return {name: title_of(name, known) for name in (battle.left, battle.right)}


def title_of(name: str, known: dict[str, str]) -> str:
    """What people call a contestant, given the titles of the base and of the live personas."""
    if name in known:
        return known[name]
    if name.startswith(f"{BASE.name}+"):
        persona = name.removeprefix(f"{BASE.name}+")
        return f"{known.get(BASE.name, BASE.title)} with examples of {known.get(persona, persona)}"
    return known.get(name.partition("@")[0], name.removesuffix(" (imported)"))


async def recall(ring: Ring, request: gr.Request) -> Any:
    """What `?battle=…` in the address asks for, as an update of `ArenaTab.recalled`; None when it asks for nothing."""
    asked = str(request.query_params.get("battle") or "")
    if not asked:
        return None
    try:
        vote = await asyncio.to_thread(find_vote, ring.store.engine, asked)
        battle = await asyncio.to_thread(ring.store.get, asked) if vote else None
    except SQLAlchemyError:
        return gr.update(value=message("That battle cannot be read right now.", "trouble"), visible=True)
    if vote is None or battle is None:
        return gr.update(value=message("There is no such battle, or no vote on it.", "trouble"), visible=True)
    return gr.update(value=recalled(battle, vote, names_of(battle, await ring.backend.look())), visible=True)


def open_page(app: gr.Blocks, ring: Ring, tab: ArenaTab, tabs: gr.Tabs) -> None:
    """What the arena does when a page is opened: keys, and the battle that a link asks for."""

    async def opened(request: gr.Request) -> list[Any]:
        asked = await recall(ring, request)
        return [gr.skip() if asked is None else gr.update(selected="arena"), gr.skip() if asked is None else asked]

    app.load(None, None, None, js=KEYS)
    app.load(opened, None, [tabs, tab.recalled], queue=False, **QUIET)


def build_arena(ring: Ring) -> ArenaTab:
    """Lays out the tab and wires it."""
    again = gr.HTML(visible=False, elem_id="recalled")
    persona, against, prompt, start = _ask(ring)
    prompts = gr.Dataset(components=["textbox"], samples=[], label="Suggestions", elem_id="suggestions", visible=False)
    earlier = gr.HTML(visible=False, elem_id="recorded")
    with gr.Row(elem_id="answers", equal_height=True):
        plates, texts = zip(*(_side(side) for side in ("left", "right")), strict=True)
    note = message("One prompt, two answers, no names: you judge blind, then you see who it was.")
    verdict = gr.HTML(note, elem_id="verdict")
    difference = gr.HTML(visible=False, elem_id="difference")
    reasons = gr.CheckboxGroup(
        [(label, reason) for reason, label in CHIPS.items()],
        label="Why? (optional, before you vote)",
        visible=False,
        elem_id="reasons",
    )
    with gr.Row(elem_id="votes"):
        buttons = tuple(
            gr.Button(label, interactive=False, min_width=120, elem_id=f"vote-{verdict}")
            for verdict, label in VERDICTS.items()
        )
        following = gr.Button("Next battle", variant="primary", visible=False, elem_id="next")
    under = (verdict, difference, reasons)
    stage = Stage(earlier, plates, texts, *under, buttons, prompt, start, following, gr.State(None))
    tab = ArenaTab(persona, prompts, against, prompt, again)
    _wire(ring, tab, stage)
    return tab


def _ask(ring: Ring) -> tuple[gr.Dropdown, gr.Dropdown, gr.Textbox, gr.Button]:
    rivals = [(title, kind) for kind, title in RIVALS.items() if kind != "imported" or ring.guests.prompts]
    with gr.Row(elem_id="arena-ask"):
        persona = gr.Dropdown(
            [("Surprise me", SURPRISE)], value=SURPRISE, label="On stage", elem_id="rival", min_width=210
        )
        against = gr.Dropdown(rivals, value=ANYONE, label="Against", elem_id="against", min_width=210)
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
    return persona, against, prompt, start


def _side(side: str) -> tuple[gr.HTML, gr.Markdown]:
    with gr.Column(min_width=320, elem_classes="answer"):
        heading = gr.HTML(plate(side))
        text = gr.Markdown(elem_id=f"answer-{side}", line_breaks=True, latex_delimiters=[], min_height=110)
    return heading, text


def _wire(ring: Ring, tab: ArenaTab, stage: Stage) -> None:
    async def battle(
        prompt: str, choice: str | None, against: str | None, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        voter = ring.voters.name(request)
        if wait := ring.voters.wait(voter):
            busy = f"That is a lot of battles for one minute. Please try again in {wait:.0f} s."
            yield show(View(message=busy, kind="trouble"))
            return
        async with aclosing(fight(ring, prompt, choice, voter, against)) as views:
            async for view in views:
                yield show(view)

    async def vote(verdict: str, ticket: Ticket | None, reasons: list[str] | None, request: gr.Request) -> list[Any]:
        try:
            voter = ring.voters.name(request)
            fought = await asyncio.to_thread(settle, ring, verdict, ticket, voter, reasons or ())
        except VoteError as error:
            gr.Warning(str(error))
        except SQLAlchemyError:
            gr.Warning("Your vote could not be saved. Please try again.")
        else:
            return unmask(fought, verdict, await ring.backend.look())
        return [gr.skip() for _ in stage.outputs]

    async def suggest(choice: str | None, against: str | None, before: str) -> str:
        pool = suggestions(await ring.backend.look(), choice, against, ring.guests)
        fresh = [prompt for prompt in pool if prompt != before] or pool
        return secrets.choice(fresh) if fresh else before

    async def choose(choice: str | None, against: str | None) -> Any:
        return _offer(suggestions(await ring.backend.look(), choice, against, ring.guests))

    choices = [tab.persona, tab.against]
    asked = [stage.prompt, *choices]
    gr.on([stage.start.click, stage.prompt.submit], battle, asked, stage.outputs, **QUIET)
    suggested = stage.following.click(suggest, [*choices, stage.prompt], stage.prompt, queue=False, **QUIET)
    suggested.then(battle, asked, stage.outputs, **QUIET)
    tab.prompts.click(lambda sample: sample[0], tab.prompts, stage.prompt, queue=False, api_visibility="private")
    gr.on([one.input for one in choices], choose, choices, tab.prompts, queue=False, **QUIET)
    for verdict, button in zip(VERDICTS, stage.buttons, strict=True):
        button.click(_voter(vote, verdict), [stage.ticket, stage.reasons], stage.outputs, **QUIET)


def _voter(vote: Any, verdict: str) -> Any:
    """A handler that casts one verdict (Gradio reads signatures, so not a partial)."""

    async def cast(ticket: Ticket | None, reasons: list[str] | None, request: gr.Request) -> list[Any]:
        return await vote(verdict, ticket, reasons, request)

    return cast
