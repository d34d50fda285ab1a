"""Loads examples from any source that we read, and tells everything that is wrong with its rows."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from understudy.data.files import scan_records
from understudy.data.forms.convert import to_example
from understudy.data.forms.schemas import Detection, detect_schema
from understudy.data.messages import Example
from understudy.data.records import DataRecord, RowError, RowProblem, shown
from understudy.errors import ExamplesError

NOTES = frozenset(["duplicate", "conflict"])
"""Kinds of problems that do not make a row bad."""


@dataclass(frozen=True)
class LoadedData:
    """The examples of a source, and what there is to know about its rows."""

    examples: tuple[Example, ...]
    schema: str
    """Name of the schema, or the names where rows differ, most frequent first."""
    origins: tuple[str, ...]
    """Where each example stands, in the order of `examples`."""
    problems: tuple[RowProblem, ...]
    """Bad rows in the order of the source, then duplicates and conflicts."""
    counts: Mapping[str, int]
    """`rows` read, `examples` kept, `bad` rows, `duplicates`, `conflicts` (prompts with several different answers),
    and `emptied`: nulls in optional columns, which count as empty."""
    detected: str = ""
    """How the schema was recognised, in words."""
    columns_used: tuple[str, ...] = ()
    columns_ignored: tuple[str, ...] = ()

    @property
    def bad(self) -> list[RowProblem]:
        """The problems that make a row bad."""
        return [p for p in self.problems if p.kind not in NOTES]


def load_data(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    on_bad: Literal["refuse", "skip"] = "refuse",
    limit: int | None = None,
    seed: int = 0,
) -> LoadedData:
    """Load the examples of a file, a folder or a Hub data set (`hub:ORG/NAME[@REVISION][:SPLIT]`).

    `columns` says which column is which, where the names do not (see `detect_schema`). With `on_bad="skip"`, bad rows
    and exact duplicates are left out and listed in `problems`; otherwise duplicates are only listed. `limit` keeps that
    many examples, drawn with `seed`, in their order; `problems` and the other counts are about the whole source.

    Raises:
        ExamplesError: the source cannot be read, no schema fits, `on_bad` is "refuse" and rows are bad (the first is
            named, and how many there are), no row is left, or `limit` is less than 1.
    """
    if limit is not None and limit < 1:
        raise ExamplesError(f"limit: found {limit}; keep 1 example or more")
    loaded = read_data(source, columns=columns)
    if on_bad == "refuse":
        require_good(loaded)
    else:
        again = {p.origin for p in loaded.problems if p.kind == "duplicate"}
        loaded = _keep(loaded, [n for n, origin in enumerate(loaded.origins) if origin not in again])
    if not loaded.examples:
        raise ExamplesError(
            f"{shown(source)}: none of {loaded.counts['rows']:,} rows can be used; {loaded.problems[0]}"
        )
    if limit is not None and limit < len(loaded.examples):
        drawn = random.Random(seed).sample(range(len(loaded.examples)), limit)
        loaded = _keep(loaded, sorted(drawn))
    return loaded


def load_examples(path: Path) -> list[Example]:
    """Read a recipe's rows from a file of any kind that `load_data` reads; nothing is left out silently.

    In a `.jsonl` file, which people write by hand, a row of our own form (`{"messages": [...]}` or
    `{"prompt": str, "completion": str}`) may have no unknown columns: a misspelt one would be lost. In other files and
    forms such columns are ignored.

    Raises:
        ExamplesError: the file is missing, empty, or a row is malformed (file, line and remedy are named).
    """
    if path.suffix.lower() != ".jsonl":
        return list(load_data(path).examples)
    return list(require_good(read_data(path, strict=True)).examples)


def require_good(loaded: LoadedData) -> LoadedData:
    """Return the same data unless a row is bad.

    Raises:
        ExamplesError: a row is bad; the first is named, and how many there are.
    """
    bad = loaded.bad
    if bad:
        more = f" ({len(bad):,} bad rows in all)" if len(bad) > 1 else ""
        raise ExamplesError(f"{bad[0]}{more}")
    return loaded


def read_data(source: str | Path, *, columns: Mapping[str, str] | None = None, strict: bool = False) -> LoadedData:
    """Read all examples of a source and all problems of its rows; only what cannot be read at all is refused.

    With `strict`, rows of our own forms (messages; prompt and completion) are bad when they have unknown columns.

    Raises:
        ExamplesError: the source cannot be read, or no schema fits.
    """
    items = list(scan_records(source))
    records = [item for item in items if isinstance(item, DataRecord)]
    if not records:
        problems = tuple(item for item in items if isinstance(item, RowProblem))
        return LoadedData((), "unknown", (), problems, _counts(items, [], problems, 0), "no row can be read")
    detection = detect_schema(records, columns)
    read = _Reading()
    for item in items:
        if isinstance(item, RowProblem):
            read.problems.append(item)
        else:
            read.add(item, detection, strict=strict)
    read.problems += [*_duplicates(read), *_conflicts(read)]
    return LoadedData(
        examples=tuple(read.examples),
        schema=detection.name,
        origins=tuple(read.origins),
        problems=tuple(read.problems),
        counts=_counts(items, read.examples, read.problems, read.emptied),
        detected=detection.how,
        columns_used=detection.used,
        columns_ignored=detection.ignored,
    )


def normalised(text: str) -> str:
    """The text with every run of white space as one space, and none at the ends."""
    return " ".join(text.split())


@dataclass
class _Reading:
    examples: list[Example] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    emptied: int = 0

    def add(self, record: DataRecord, detection: Detection, *, strict: bool) -> None:
        schema = detection.schema_of(record.row)
        if schema is None:
            text = f"none of this row's columns belongs to {detection.name}; correct or remove it"
            self.problems.append(RowProblem(origin=record.origin, kind="no_schema", text=text))
            return
        try:
            converted = to_example(record.row, schema, strict=strict and schema.ours)
        except RowError as refused:
            self.problems.append(RowProblem(origin=record.origin, kind=refused.kind, text=str(refused)))
            return
        self.examples.append(converted.example)
        self.origins.append(record.origin)
        self.emptied += len(converted.emptied)


def _keep(loaded: LoadedData, numbers: list[int]) -> LoadedData:
    return replace(
        loaded,
        examples=tuple(loaded.examples[n] for n in numbers),
        origins=tuple(loaded.origins[n] for n in numbers),
        counts={**loaded.counts, "examples": len(numbers)},
    )


def _counts(items: list, examples: list, problems: Iterable[RowProblem], emptied: int) -> dict[str, int]:
    kinds = Counter(problem.kind for problem in problems)
    return {
        "rows": len(items),
        "examples": len(examples),
        "bad": sum(count for kind, count in kinds.items() if kind not in NOTES),
        "duplicates": kinds["duplicate"],
        "conflicts": kinds["conflict"],
        "emptied": emptied,
    }


def _key(example: Example) -> tuple[str, ...]:
    told = tuple(f"{m.role}: {normalised(m.text)}" for m in example.messages)
    return (f"tools: {example.tools}", *told) if example.tools else told


def _duplicates(read: _Reading) -> list[RowProblem]:
    first: dict[tuple[str, ...], str] = {}
    found = []
    for example, origin in zip(read.examples, read.origins, strict=True):
        other = first.setdefault(_key(example), origin)
        if other != origin:
            found.append(RowProblem(origin=origin, kind="duplicate", text=f"the same row as {other}; remove one"))
    return found


def _conflicts(read: _Reading) -> list[RowProblem]:
    answers: dict[tuple[str, ...], dict[str, str]] = {}
    for example, origin in zip(read.examples, read.origins, strict=True):
        *prompt, answer = _key(example)
        answers.setdefault(tuple(prompt), {}).setdefault(answer, origin)
    found = []
    for different in answers.values():
        if len(different) > 1:
            first, second, *_ = different.values()
            text = f"{len(different)} different answers to this prompt, another at {second}; see that both are meant"
            found.append(RowProblem(origin=first, kind="conflict", text=text))
    return found
