"""The tables about what was trained: further figures, settings and data, and what the training cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluate.report_card import ReportCard
from evaluate.reports.records import Further, Report, Scale
from evaluate.reports.wording import DASH
from understudy.statistics.intervals import Estimate


@dataclass(frozen=True)
class Grid:
    """A table of texts."""

    names: tuple[str, ...]
    """Of its columns."""
    lines: tuple[tuple[str, tuple[str, ...]], ...]
    """Name and cells of each line."""


def further(cards: Sequence[ReportCard]) -> tuple[Further, ...]:
    """Returns the figures that only trained contestants have, leaving out those that no run has."""

    def figures(name: str, scale: Scale, how: str, figure: Callable[[ReportCard], Estimate | float | None]) -> Further:
        return Further(name=name, scale=scale, how=how, figures=tuple(map(figure, cards)))

    rows = (
        figures("Loss below the base's", "number", "Mean difference by prompt.", lambda card: card.against_base),
        figures(
            "Loss on training rows",
            "number",
            "Far below the loss on held-out rows: it has learnt the rows rather than the voice.",
            lambda card: card.training_loss,
        ),
        figures(
            "Known by heart",
            "share",
            "Share of training prompts answered word for word as in their rows.",
            lambda card: card.memorised,
        ),
        figures(
            "Acts where it is served",
            "share",
            "Share of the data's answers that it finds more or less likely than the base does.",
            lambda card: card.acts,
        ),
        figures(
            "Different word pairs",
            "share",
            "Distinct pairs of words over all pairs, in its answers.",
            lambda card: card.diversity.answers.distinct_2,
        ),
        figures(
            "Different word pairs, training answers",
            "share",
            "The same for as many training answers, for comparison.",
            lambda card: card.diversity.training.distinct_2,
        ),
        figures(
            "Loss added on neutral text",
            "number",
            "On texts that no model wrote, in nats per token: what was forgotten.",
            lambda card: card.forgetting,
        ),
        figures(
            "General questions still correct",
            "share",
            "Of those that the base answers correctly, when a plain answer is asked for.",
            lambda card: card.general and card.general.adapter,
        ),
        figures(
            "The same, as people ask the persona",
            "share",
            "Without a system prompt: it may answer in its voice only.",
            lambda card: card.general and card.general.adapter_voiced,
        ),
        figures(
            "The same, base",
            "share",
            "Without a system prompt.",
            lambda card: card.general and card.general.base_voiced,
        ),
        figures(
            "Loss added by serving",
            "number",
            "Loss on the base as it is served, less that on the base as it was quantised in training.",
            lambda card: card.parity,
        ),
        figures(
            "Style classifier right",
            "share",
            "Cross-validated on prompts it did not see; if the low end is not above 50%, its scores say nothing.",
            lambda card: card.style_accuracy,
        ),
    )
    return tuple(row for row in rows if any(figure is not None for figure in row.figures))


def training_took(report: Report) -> Grid:
    """Returns what each run's training cost, one line per run; no lines if no run recorded it."""
    facts = [run.facts for run in report.runs]
    columns = (
        ("Seconds", [_amount(one.seconds) for one in facts]),
        ("Steps", [_amount(one.steps) for one in facts]),
        ("Tokens per second", [_amount(one.tokens_per_second) for one in facts]),
        ("Peak memory, MiB", [_amount(one.peak_memory_mib) for one in facts]),
        ("Training rows", [_amount(one.rows) for one in facts]),
    )
    kept = [(name, cells) for name, cells in columns if set(cells) != {DASH}]
    lines = ((run.name, tuple(cells[i] for _, cells in kept)) for i, run in enumerate(report.runs))
    return Grid(tuple(name for name, _ in kept), tuple(lines) if kept else ())


def training_settings(report: Report) -> Grid:
    """Returns settings, data and versions, one column per run."""
    facts = [run.facts for run in report.runs]
    lines = [
        ("run", [one.id for one in facts]),
        ("revision", [verdict.revision for verdict in report.verdicts]),
        ("base", [verdict.base for verdict in report.verdicts]),
        ("base revision", [one.base_revision for one in facts]),
        ("training rows", [one.rows for one in facts]),
        ("SHA-256 of the rows", [one.examples_sha256 for one in facts]),
        *_each("", [one.training for one in facts]),
        *_each("version of ", [one.versions for one in facts]),
    ]
    written = [(name, tuple(_setting(value) for value in values)) for name, values in lines]
    return Grid(
        tuple(run.name for run in report.runs),
        tuple((name, values) for name, values in written if set(values) != {DASH}),
    )


def _each(before: str, mappings: Sequence[Mapping[str, object]]) -> list[tuple[str, list[object]]]:
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    return [(before + name.replace("_", " "), [mapping.get(name) for mapping in mappings]) for name in names]


def _setting(value: object) -> str:
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _amount(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:,.1f}" if value < 100 and value != int(value) else f"{value:,.0f}"
