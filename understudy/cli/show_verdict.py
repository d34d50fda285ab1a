"""What `understudy verify` shows: the report card as a table, and the verdict."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.table import Table

from understudy.cli.console import out
from understudy.registry.adapters import short

if TYPE_CHECKING:
    from evaluate.measures import Measures
    from evaluate.report_card import ReportCard
    from evaluate.verdict import Verdict
    from understudy.statistics.intervals import Estimate
    from understudy.workflows.evaluation.verify import Verified

CONTESTANTS = {"data": "the data", "few-shot": "base with examples", "described": "base with the description"}
DASH = "-"
LEGEND = (
    "sound: in style and makes sense; accuracy: the share of other references that are less like the answer than its "
    "own (50% is chance), details: the same with the prompt's words masked; surprise: nats a token above the data's "
    "own answers; made up: words that do not exist; docs/training.md has the rest"
)
Format = Callable[["Estimate | None"], str]


def show_verdict(found: "Verified") -> None:
    """Prints the report card, what is measured of the adapter only, the verdict, and where the files are."""
    card = found.card
    out.print(_table(card))
    out.print(LEGEND, style="dim")
    for line in _of_adapter(card):
        out.print(line)
    _print_verdict(found.verdict)
    out.print(f"{found.folder / 'proof.json'} ({found.record.seconds:.0f} s asking, {card.engine})", style="dim")


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
    """Returns the rows; labels are short, so that the table fits a terminal (docs/training.md defines each)."""

    def row(label: str, figure: "Callable[[Measures], Estimate | None]", form: Format) -> tuple[str, list[str]]:
        return label, [form(figure(one)) for one in card.contestants.values()]

    helpful = [_share(card.helpful) if name == "adapter" else DASH for name in card.contestants]
    return [
        row("sound", lambda one: one.sound, _share),
        row("in style", lambda one: one.in_style, _share),
        ("helpful", helpful),
        row("accuracy", lambda one: one.accuracy.meaning, _share),
        row("details", lambda one: one.accuracy.details, _share),
        row("chrF", lambda one: one.accuracy.chrf, _share),
        row("surprise", lambda one: one.fluency.excess, _one_decimal),
        row("made up", lambda one: one.fluency.made_up, _fine_share),
        row("ends", lambda one: one.stopped, _share),
        row("on topic", lambda one: one.on_topic, _share),
        row("echoes", lambda one: one.echoes, _share),
        row("no answer", lambda one: one.degenerate, _share),
        row("words", lambda one: one.words, _whole),
        row("loss", lambda one: one.loss, _number),
    ]


def _of_adapter(card: "ReportCard") -> list[str]:
    """Returns a line for each figure that is measured of the adapter only."""
    own, data = card.diversity.answers, card.diversity.training
    lines = [
        f"style classifier right on unseen prompts: {_share(card.style_accuracy)}",
        f"held-out answers that it finds more or less likely than the base does: {_share(card.acts)}",
        f"copied from training answers: {_share(card.copied)}",
        f"training rows known word for word: {_share(card.memorised)}",
        f"different word pairs: {own.distinct_2:.0%} of the answers', {data.distinct_2:.0%} of the examples'",
        f"loss on training rows: {card.training_loss:.2f}; on neutral text: {card.forgetting.value:+.2f} nats a token",
    ]
    if card.general is not None:
        g = card.general
        lines.append(
            f"general questions ({g.known} of {g.asked} that the base answers correctly): {_share(g.adapter)} "
            f"still correct when a plain answer is asked for, {_share(g.adapter_voiced)} when not "
            f"(base: {_share(g.base_voiced)})"
        )
    if card.parity is not None:
        lines.append(f"served base against trained-on base: {card.parity:+.3f} nats")
    for name, code in card.code.items():
        shown = f"{_share(code.parses)} parse, {_share(code.runs)} run, chrF {code.chrf.value:.0f}"
        lines.append(f"code of {CONTESTANTS.get(name, name)}: {shown}")
    return lines


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


def _share(estimate: "Estimate | None") -> str:
    """Formats a share and its interval in percent."""
    if estimate is None:
        return DASH
    return f"{estimate.value:.0%} ({100 * estimate.low:.0f}–{100 * estimate.high:.0f})"


def _number(estimate: "Estimate | None") -> str:
    """Formats a figure and its interval."""
    return f"{estimate.value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})" if estimate else DASH


def _one_decimal(estimate: "Estimate | None") -> str:
    return f"{estimate.value:+.1f} ({estimate.low:+.1f}–{estimate.high:+.1f})" if estimate else DASH


def _whole(estimate: "Estimate | None") -> str:
    return f"{estimate.value:.0f} ({estimate.low:.0f}–{estimate.high:.0f})" if estimate else DASH


def _fine_share(estimate: "Estimate | None") -> str:
    return f"{estimate.value:.1%} ({100 * estimate.low:.1f}–{100 * estimate.high:.1f})" if estimate else DASH
