"""The arena tab: the parts of the page, and what refreshes them."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from arena.battles.store import Battle
from arena.votes.votes import REASONS, VERDICTS
from space.arena.battle import MAX_CHARACTERS, ArenaServices, BattleView, suggestions
from space.arena.html import differences, hint, link, message, plate, recorded, titles_of_battle
from space.arena.matchmaking import KINDS
from space.i18n import ENGLISH, say, t
from space.status import GatewayStatus

ANY_PERSONA = ""
"""Choice of the picker that leaves the persona to chance."""
ANY_RIVAL = ""
"""Choice of the rival that leaves the pair to chance."""


@dataclass(frozen=True)
class ArenaTab:
    """The parts of the tab."""

    recalled: gr.HTML
    """A battle that a link asked for."""
    persona: gr.Dropdown
    against: gr.Dropdown
    prompt: gr.Textbox
    start: gr.Button
    prompts: gr.Dataset
    recorded: gr.HTML
    """Above the answers: the prompt of a recorded battle."""
    plates: tuple[gr.HTML, gr.HTML]
    texts: tuple[gr.Markdown, gr.Markdown]
    message: gr.HTML
    difference: gr.HTML
    """After the vote: which words differ."""
    reasons: gr.CheckboxGroup
    buttons: tuple[gr.Button, ...]
    """One for each of `VERDICTS`."""
    next_battle: gr.Button
    ticket: gr.State

    @property
    def outputs(self) -> list[Any]:
        """What the page must refresh when personas come, go or change."""
        return [self.persona, self.prompts]

    @property
    def battle_outputs(self) -> list[Any]:
        """What a battle changes."""
        under = [self.message, self.difference, self.reasons]
        controls = [self.prompt, self.start, self.next_battle]
        return [self.recorded, *self.plates, *self.texts, *under, *self.buttons, *controls, self.ticket]


def refresh(status: GatewayStatus, chosen: str | None, language: str = ENGLISH) -> list[Any]:
    """Updates for `ArenaTab.outputs`."""
    names = {one.name for one in status.personas}
    choices = [(say("arena_surprise", language), ANY_PERSONA), *((one.title, one.name) for one in status.personas)]
    chosen = chosen if chosen in names else ANY_PERSONA
    return [gr.update(choices=choices, value=chosen), suggested(suggestions(status, chosen))]


def rivals(services: ArenaServices, language: str = ENGLISH) -> list[tuple[str, str]]:
    """Choices of the rival."""
    kinds = [kind for kind in KINDS if kind != "imported" or services.other_systems.prompts]
    return [(say("arena_anyone", language), ANY_RIVAL), *((say(f"arena_rival_{one}", language), one) for one in kinds)]


def chips(language: str = ENGLISH) -> list[tuple[str, str]]:
    """Choices of the reasons."""
    return [(say(f"arena_chip_{reason}", language), reason) for reason in REASONS]


def suggested(prompts: list[str]) -> Any:
    """An update of `ArenaTab.prompts`."""
    return gr.update(samples=[[prompt] for prompt in prompts], visible=bool(prompts))


def intro(language: str = ENGLISH) -> str:
    """What the arena says before the first battle."""
    return message(say("arena_intro", language))


def show(view: BattleView, language: str = ENGLISH) -> list[Any]:
    """Updates for `ArenaTab.battle_outputs` while a battle runs and when it ends."""
    text = view.message.html(language)
    return [
        gr.update(value=recorded(view.recorded, language), visible=bool(view.recorded)),
        plate("left", language=language),
        plate("right", language=language),
        view.left,
        view.right,
        message(f"{text} {hint(language)}" if view.ticket else text, view.kind),
        gr.update(value="", visible=False),
        gr.update(value=[], visible=view.ticket is not None),
        *(gr.update(interactive=view.ticket is not None, visible=view.kind != "trouble") for _ in VERDICTS),
        gr.update(interactive=not view.busy),
        gr.update(interactive=not view.busy),
        gr.update(visible=view.kind == "trouble" and not view.busy),
        view.ticket,
    ]


def reveal(battle: Battle, verdict: str, status: GatewayStatus, language: str = ENGLISH) -> list[Any]:
    """Updates for `ArenaTab.battle_outputs` after the vote."""
    titles = titles_of_battle(battle, status)
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


def lay_out(services: ArenaServices) -> ArenaTab:
    """Puts the parts on the page."""
    recalled = gr.HTML(visible=False, elem_id="recalled")
    persona, against, prompt, start = _question(services)
    prompts = gr.Dataset(
        components=["textbox"], samples=[], label=t("arena_suggestions"), elem_id="suggestions", visible=False
    )
    earlier = gr.HTML(visible=False, elem_id="recorded")
    with gr.Row(elem_id="answers", equal_height=True):
        plates, texts = zip(*(_side(side) for side in ("left", "right")), strict=True)
    verdict = gr.HTML(intro(), elem_id="verdict")
    difference = gr.HTML(visible=False, elem_id="difference")
    reasons = gr.CheckboxGroup(chips(), label=t("arena_why"), visible=False, elem_id="reasons")
    with gr.Row(elem_id="votes"):
        buttons = tuple(
            gr.Button(t(f"arena_{verdict}"), interactive=False, min_width=120, elem_id=f"vote-{verdict}")
            for verdict in VERDICTS
        )
        next_battle = gr.Button(t("arena_next"), variant="primary", visible=False, elem_id="next")
    return ArenaTab(
        recalled,
        persona,
        against,
        prompt,
        start,
        prompts,
        earlier,
        plates,
        texts,
        verdict,
        difference,
        reasons,
        buttons,
        next_battle,
        gr.State(None),
    )


def _question(services: ArenaServices) -> tuple[gr.Dropdown, gr.Dropdown, gr.Textbox, gr.Button]:
    with gr.Row(elem_id="arena-ask"):
        persona = gr.Dropdown(
            [(say("arena_surprise"), ANY_PERSONA)],
            value=ANY_PERSONA,
            label=t("arena_persona"),
            elem_id="rival",
            min_width=210,
        )
        against = gr.Dropdown(
            rivals(services), value=ANY_RIVAL, label=t("arena_against"), elem_id="against", min_width=210
        )
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
