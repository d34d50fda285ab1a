"""The arena: two answers to one prompt, nobody knows whose, one vote, then the names."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr
from sqlalchemy.exc import SQLAlchemyError

from arena.battles.store import Battle, BattleTicket
from arena.votes.votes import REASONS, VERDICTS, VoteError, find_vote
from space.arena.battle import MAX_CHARACTERS, ArenaServices, BattleView, fight, settle, suggestions
from space.arena.html import differences, hint, link, message, names_of, plate, recalled, recorded
from space.arena.matchmaking import KINDS
from space.events import QUIET
from space.i18n import ENGLISH, language_of, reword, say, t
from space.status import GatewayStatus

SURPRISE = ""
"""Choice of the picker that leaves the persona to chance."""
ANYONE = ""
"""Choice of the rival that leaves the pair to chance."""
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
  document.addEventListener('click', (event) => {
    if (innerWidth > 700 || !event.target.closest('#start, #next, #votes button')) return;
    setTimeout(() => document.getElementById('answers')?.scrollIntoView({behavior: 'smooth', block: 'start'}), 200);
  });
}"""
"""Votes by keyboard while nobody types; what a key does is what its button does. On a phone the answers, and after the
vote the names over them, come into view."""


@dataclass(frozen=True)
class ArenaTab:
    """What the page must refresh when personas come, go or change, and what other tabs reach for."""

    persona: gr.Dropdown
    prompts: gr.Dataset
    against: gr.Dropdown
    prompt: gr.Textbox
    recalled: gr.HTML
    """A battle that a link asked for."""
    reasons: gr.CheckboxGroup
    message: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        return [self.persona, self.prompts]


def refresh(snapshot: GatewayStatus, chosen: str | None, language: str = ENGLISH) -> list[Any]:
    """Updates for `ArenaTab.outputs`."""
    names = {one.name for one in snapshot.personas}
    choices = [(say("arena_surprise", language), SURPRISE), *((one.title, one.name) for one in snapshot.personas)]
    chosen = chosen if chosen in names else SURPRISE
    return [gr.update(choices=choices, value=chosen), _offer(suggestions(snapshot, chosen))]


def rivals(ring: ArenaServices, language: str = ENGLISH) -> list[tuple[str, str]]:
    """Choices of the rival."""
    kinds = [kind for kind in KINDS if kind != "imported" or ring.guests.prompts]
    return [(say("arena_anyone", language), ANYONE), *((say(f"arena_rival_{kind}", language), kind) for kind in kinds)]


def chips(language: str = ENGLISH) -> list[tuple[str, str]]:
    """Choices of the reasons."""
    return [(say(f"arena_chip_{reason}", language), reason) for reason in REASONS]


def _offer(prompts: list[str]) -> Any:
    return gr.update(samples=[[prompt] for prompt in prompts], visible=bool(prompts))


@dataclass(frozen=True)
class BattleWidgets:
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


def show(view: BattleView, language: str = ENGLISH) -> list[Any]:
    """Updates for `Stage.outputs` while a battle runs and when it ends."""
    said = reword(view.message, language)
    return [
        gr.update(value=recorded(view.recorded, language), visible=bool(view.recorded)),
        plate("left", language=language),
        plate("right", language=language),
        view.left,
        view.right,
        message(f"{said} {hint(language)}" if view.ticket else said, view.kind),
        gr.update(value="", visible=False),
        gr.update(value=[], visible=view.ticket is not None),
        *(gr.update(interactive=view.ticket is not None, visible=view.kind != "trouble") for _ in VERDICTS),
        gr.update(interactive=not view.busy),
        gr.update(interactive=not view.busy),
        gr.update(visible=view.kind == "trouble" and not view.busy),
        view.ticket,
    ]


def unmask(battle: Battle, verdict: str, snapshot: GatewayStatus, language: str = ENGLISH) -> list[Any]:
    """Updates for `Stage.outputs` after the vote."""
    titles = names_of(battle, snapshot)
    thanks = say(f"arena_thanks_{verdict}", language)
    return [
        gr.skip(),
        plate("left", battle, verdict, titles[battle.left], language=language),
        plate("right", battle, verdict, titles[battle.right], language=language),
        gr.skip(),
        gr.skip(),
        message(f"{thanks} {link(battle.id, language)}", "reveal"),
        gr.update(value=differences(battle, language), visible=True),
        gr.update(visible=False),
        *(gr.update(interactive=False, visible=False) for _ in VERDICTS),
        gr.skip(),
        gr.skip(),
        gr.update(visible=True),
        gr.skip(),
    ]


def intro(language: str = ENGLISH) -> str:
    """What the arena says before the first battle."""
    return message(say("arena_intro", language))


async def recall(ring: ArenaServices, request: gr.Request) -> Any:
    """What `?battle=…` in the address asks for, as an update of `ArenaTab.recalled`; None when it asks for nothing."""
    asked, language = str(request.query_params.get("battle") or ""), language_of(request)
    if not asked:
        return None
    try:
        vote = await asyncio.to_thread(find_vote, ring.store.engine, asked)
        battle = await asyncio.to_thread(ring.store.get, asked) if vote else None
    except SQLAlchemyError:
        return gr.update(value=message(say("recalled_trouble", language), "trouble"), visible=True)
    if vote is None or battle is None:
        return gr.update(value=message(say("recalled_none", language), "trouble"), visible=True)
    names = names_of(battle, await ring.backend.look())
    return gr.update(value=recalled(battle, vote, names, language), visible=True)


def open_page(app: gr.Blocks, ring: ArenaServices, tab: ArenaTab, tabs: gr.Tabs) -> None:
    """What the arena does when a page is opened: keys, and the battle that a link asks for."""

    async def opened(request: gr.Request) -> list[Any]:
        language = language_of(request)
        asked = await recall(ring, request)
        shown = [gr.skip(), gr.skip()] if asked is None else [gr.update(selected="arena"), asked]
        return [*shown, gr.update(choices=rivals(ring, language)), gr.update(choices=chips(language)), intro(language)]

    app.load(None, None, None, js=KEYS)
    app.load(opened, None, [tabs, tab.recalled, tab.against, tab.reasons, tab.message], queue=False, **QUIET)


def build_arena(ring: ArenaServices) -> ArenaTab:
    """Lays out the tab and wires it."""
    again = gr.HTML(visible=False, elem_id="recalled")
    persona, against, prompt, start = _ask(ring)
    prompts = gr.Dataset(
        components=["textbox"], samples=[], label=t("arena_suggestions"), elem_id="suggestions", visible=False
    )
    earlier = gr.HTML(visible=False, elem_id="recorded")
    with gr.Row(elem_id="answers", equal_height=True):
        plates, texts = zip(*(_side(side) for side in ("left", "right")), strict=True)
    verdict = gr.HTML(intro(), elem_id="verdict")
    difference = gr.HTML(visible=False, elem_id="difference")
    reasons = gr.CheckboxGroup(
        chips(),
        label=t("arena_why"),
        visible=False,
        elem_id="reasons",
    )
    with gr.Row(elem_id="votes"):
        buttons = tuple(
            gr.Button(t(f"arena_{verdict}"), interactive=False, min_width=120, elem_id=f"vote-{verdict}")
            for verdict in VERDICTS
        )
        following = gr.Button(t("arena_next"), variant="primary", visible=False, elem_id="next")
    under = (verdict, difference, reasons)
    stage = BattleWidgets(earlier, plates, texts, *under, buttons, prompt, start, following, gr.State(None))
    tab = ArenaTab(persona, prompts, against, prompt, again, reasons, verdict)
    _wire(ring, tab, stage)
    return tab


def _ask(ring: ArenaServices) -> tuple[gr.Dropdown, gr.Dropdown, gr.Textbox, gr.Button]:
    with gr.Row(elem_id="arena-ask"):
        persona = gr.Dropdown(
            [(say("arena_surprise"), SURPRISE)], value=SURPRISE, label=t("arena_stage"), elem_id="rival", min_width=210
        )
        against = gr.Dropdown(rivals(ring), value=ANYONE, label=t("arena_against"), elem_id="against", min_width=210)
        prompt = gr.Textbox(
            label=t("arena_prompt"),
            placeholder=t("arena_placeholder"),
            lines=1,
            max_lines=5,
            max_length=MAX_CHARACTERS,
            scale=4,
            min_width=280,
            elem_id="prompt",
        )
        start = gr.Button(t("arena_start"), variant="primary", scale=0, min_width=140, elem_id="start")
    return persona, against, prompt, start


def _side(side: str) -> tuple[gr.HTML, gr.Markdown]:
    with gr.Column(min_width=320, elem_classes="answer"):
        heading = gr.HTML(plate(side))
        text = gr.Markdown(elem_id=f"answer-{side}", line_breaks=True, latex_delimiters=[], min_height=110)
    return heading, text


def _wire(ring: ArenaServices, tab: ArenaTab, stage: BattleWidgets) -> None:
    async def battle(
        prompt: str, choice: str | None, against: str | None, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        voter = ring.voters.name(request)
        if wait := ring.voters.start(request):
            busy = say("arena_too_many", language_of(request), seconds=f"{wait:.0f}")
            yield show(BattleView(message=busy, kind="trouble"), language_of(request))
            return
        async with aclosing(fight(ring, prompt, choice, voter, against)) as views:
            async for view in views:
                yield show(view, language_of(request))

    async def vote(
        verdict: str, ticket: BattleTicket | None, reasons: list[str] | None, request: gr.Request
    ) -> list[Any]:
        try:
            voter = ring.voters.name(request)
            fought = await asyncio.to_thread(settle, ring, verdict, ticket, voter, reasons or ())
        except VoteError as error:
            gr.Warning(reword(str(error), language_of(request)))
        except SQLAlchemyError:
            gr.Warning(say("arena_unsaved", language_of(request)))
        else:
            return unmask(fought, verdict, await ring.backend.look(), language_of(request))
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

    async def cast(ticket: BattleTicket | None, reasons: list[str] | None, request: gr.Request) -> list[Any]:
        return await vote(verdict, ticket, reasons, request)

    return cast
