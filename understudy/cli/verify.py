"""`understudy verify`: what people see of an evaluation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from understudy.cli.base_choice import choose_base
from understudy.cli.console import prepare, status, steps
from understudy.config.recipe import load_recipe
from understudy.config.settings import Settings
from understudy.registry.adapters import short

if TYPE_CHECKING:
    from evaluate.measures import Measures
    from evaluate.report_card import ReportCard
    from evaluate.verdict import Verdict
    from understudy.statistics.intervals import Estimate
    from understudy.workflows.evaluation_engine import Where

out = Console(highlight=False, soft_wrap=True)
WHO = {"data": "the data", "few-shot": "base with examples", "described": "base with the description"}
DASH = "-"
LEGEND = (
    "sound: in style and makes sense; accuracy: the share of other references that are less like the answer than its "
    "own (50% is chance), details: the same with the prompt's words masked; surprise: nats a token above the data's "
    "own answers; made up: words that do not exist; docs/training.md has the rest"
)
Write = Callable[["Estimate | None"], str]


def verify_recipe(
    settings: Settings,
    name: str,
    adapter: Path | None,
    *,
    engine: "Where",
    judge: str | None,
    judge_url: str | None,
    json_output: bool,
) -> bool:
    """Evaluates an adapter of a recipe (by default the one trained last), and shows what was found.

    Returns whether it passed.
    """
    prepare()
    recipe = load_recipe(name, settings.recipes_dir)
    with status("loading libraries"):
        from train.light import import_lightly

        import_lightly()
        from evaluate.verified_runs import proof_file
        from understudy.workflows.helpfulness import Judge, helpfulness
        from understudy.workflows.verify import verify
    asked = Judge(judge, judge_url, settings.judge_key) if judge else None
    with steps(f"verifying {recipe.name}") as on_step:
        found = verify(
            settings,
            recipe,
            adapter,
            choose_base=lambda: choose_base(settings, recipe, None),
            where=engine,
            helpfulness=lambda record: helpfulness(settings, record, asked),
            say=on_step.say,
            on_progress=lambda done, known: on_step(done, known, None),
        )
    card, verdict = found.card, found.verdict
    if json_output:
        print(json.dumps(proof_file(card)))
        return verdict.passed
    out.print(_table(card))
    out.print(LEGEND, style="dim")
    for line in _alone(card):
        out.print(line)
    _print_verdict(verdict)
    out.print(f"{found.folder / 'proof.json'} ({found.record.seconds:.0f} s asking, {card.engine})", style="dim")
    return verdict.passed


def _table(card: "ReportCard") -> Table:
    names = {
        "base": "base",
        "described": "+ voice",
        "few-shot": f"+ {card.contestants['few-shot'].shots} shots",
        "adapter": "full fine-tune" if card.method == "full" else "adapter",
    }
    title = f"{card.recipe}@{short(card.revision)} on {card.base}: {card.prompts} prompts, {card.examples} examples"
    table = Table(
        "", *(names[name] for name in card.contestants), title=title, box=None, padding=(0, 1, 0, 0), pad_edge=False
    )
    for column in table.columns:
        column.no_wrap = True
    for label, cells in _rows(card):
        table.add_row(label, *cells)
    return table


def _rows(card: "ReportCard") -> list[tuple[str, list[str]]]:
    """Labels are short, so that the table fits a terminal; docs/training.md defines each."""

    def row(label: str, figure: "Callable[[Measures], Estimate | None]", write: Write) -> tuple[str, list[str]]:
        return label, [write(figure(one)) for one in card.contestants.values()]

    helpful = [shown_share(card.helpful) if name == "adapter" else DASH for name in card.contestants]
    return [
        row("sound", lambda one: one.sound, shown_share),
        row("in style", lambda one: one.in_style, shown_share),
        ("helpful", helpful),
        row("accuracy", lambda one: one.accuracy.meaning, shown_share),
        row("details", lambda one: one.accuracy.details, shown_share),
        row("chrF", lambda one: one.accuracy.chrf, shown_share),
        row("surprise", lambda one: one.fluency.excess, _shown_coarsely),
        row("made up", lambda one: one.fluency.made_up, _shown_finely),
        row("ends", lambda one: one.stopped, shown_share),
        row("on topic", lambda one: one.on_topic, shown_share),
        row("echoes", lambda one: one.echoes, shown_share),
        row("no answer", lambda one: one.degenerate, shown_share),
        row("words", lambda one: one.words, _shown_roughly),
        row("loss", lambda one: one.loss, shown_number),
    ]


def _alone(card: "ReportCard") -> list[str]:
    """What is measured of the adapter only."""
    own, data = card.diversity.answers, card.diversity.training
    said = [
        f"style classifier right on unseen prompts: {shown_share(card.style_accuracy)}",
        f"data's answers whose likelihood is not the base's: {shown_share(card.acts)}",
        f"copied from training answers: {shown_share(card.copied)}",
        f"training rows known word for word: {shown_share(card.memorised)}",
        f"different word pairs: {own.distinct_2:.0%} of the answers', {data.distinct_2:.0%} of the examples'",
        f"loss on training rows: {card.training_loss:.2f}; on neutral text: {card.forgetting.value:+.2f} nats a token",
    ]
    if card.general is not None:
        g = card.general
        said.append(
            f"general questions ({g.known} of {g.asked} that the base answers correctly): {shown_share(g.adapter)} "
            f"still correct when a plain answer is asked for, {shown_share(g.adapter_voiced)} when not "
            f"(base: {shown_share(g.base_voiced)})"
        )
    if card.parity is not None:
        said.append(f"served base against trained-on base: {card.parity:+.3f} nats")
    for name, code in card.code.items():
        shown = f"{shown_share(code.parses)} parse, {shown_share(code.runs)} run, chrF {code.chrf.value:.0f}"
        said.append(f"code of {WHO.get(name, name)}: {shown}")
    return said


def _print_verdict(verdict: "Verdict") -> None:
    for line in verdict.rivals:
        out.print(line, style="bold")
    for line in verdict.open:
        out.print(line, style="dim")
    for line in verdict.worse:
        out.print(f"got worse: {line}", style="yellow")
    for line in verdict.reasons:
        out.print(f"refused: {line}", style="red")
    if verdict.passed:
        out.print("passed", style="green")


def shown_share(estimate: "Estimate | None") -> str:
    """A share with its interval, in percent."""
    if estimate is None:
        return DASH
    return f"{estimate.value:.0%} ({100 * estimate.low:.0f}–{100 * estimate.high:.0f})"


def shown_number(estimate: "Estimate | None") -> str:
    """A figure with its interval."""
    return f"{estimate.value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})" if estimate else DASH


def _shown_coarsely(estimate: "Estimate | None") -> str:
    return f"{estimate.value:+.1f} ({estimate.low:+.1f}–{estimate.high:+.1f})" if estimate else DASH


def _shown_roughly(estimate: "Estimate | None") -> str:
    return f"{estimate.value:.0f} ({estimate.low:.0f}–{estimate.high:.0f})" if estimate else DASH


def _shown_finely(estimate: "Estimate | None") -> str:
    return f"{estimate.value:.1%} ({100 * estimate.low:.1f}–{100 * estimate.high:.1f})" if estimate else DASH
