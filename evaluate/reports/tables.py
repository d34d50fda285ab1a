"""The tables of a report that hold what its runs were trained with, and what that cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluate.reports.records import Report
from evaluate.reports.wording import DASH


@dataclass(frozen=True)
class Grid:
    """A table of texts."""

    names: tuple[str, ...]
    """Of its columns."""
    lines: tuple[tuple[str, tuple[str, ...]], ...]
    """Name and cells of each line."""


def training_took(report: Report) -> Grid:
    """What the training of each run cost, a line a run; no lines where nobody wrote that down."""
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
    """Settings, data and versions, a column a run."""
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
