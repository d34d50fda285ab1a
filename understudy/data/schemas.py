"""Schemas: which column means what in well-known kinds of data, and which kind a file is."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from understudy.data.messages import Example
from understudy.data.records import DataRecord, shown
from understudy.errors import ExamplesError

CARRIED = tuple(name for name in Example.model_fields if name != "messages")
"""Columns that go into an example beside its messages."""

COLUMNS_SHOWN = 20


@dataclass(frozen=True)
class Schema:
    """Which column means what. Either `turns` is named, or `prompt` and `completion`."""

    label: str = ""
    turns: str = ""
    """Column with a list of messages."""
    prompt: str = ""
    context: str = ""
    """Column with text that belongs to the prompt; may be missing or empty."""
    completion: str = ""
    system: str = ""
    """Column with a system prompt; may be missing or empty."""
    carried: tuple[tuple[str, str], ...] = tuple((name, name) for name in CARRIED)
    """Fields of an example beside its messages, each with its column; the column may be missing or empty."""
    ours: bool = False
    """One of the two that README.md teaches."""

    @property
    def required(self) -> frozenset[str]:
        return frozenset(filter(None, (self.turns, self.prompt, self.completion)))

    @property
    def columns(self) -> tuple[str, ...]:
        names = (self.system, self.turns, self.prompt, self.context, self.completion)
        return (*filter(None, names), *(column for _, column in self.carried))

    def name_for(self, present: Iterable[str]) -> str:
        """The schema's name by the columns that are there: `instruction/output` where nobody has an `input`."""
        there = set(present)
        pair = (self.prompt, self.context if self.context in there else "", self.completion)
        return self.label or "/".join(filter(None, pair))


SCHEMAS = (
    Schema(label="messages", turns="messages", ours=True),
    Schema(label="ShareGPT", turns="conversations"),
    Schema(prompt="prompt", completion="completion", ours=True),
    Schema(prompt="instruction", context="input", completion="output"),
    Schema(prompt="instruction", context="context", completion="response"),
    Schema(prompt="question", completion="answer"),
)
KNOWN = "messages; conversations (ShareGPT); prompt, completion; instruction, [input,] output (Alpaca); \
instruction, [context,] response (Dolly); question, answer"


@dataclass(frozen=True)
class Detection:
    """The schema of a file, or the schemas where rows differ."""

    name: str
    how: str
    """Why we think so, in words."""
    used: tuple[str, ...]
    ignored: tuple[str, ...]
    by_columns: Mapping[frozenset[str], Schema | None]

    def schema_of(self, row: Mapping[str, object]) -> Schema | None:
        """The schema of a row, or None if no schema fits it."""
        return self.by_columns[frozenset(row)]


def detect_schema(records: Sequence[DataRecord], columns: Mapping[str, str] | None = None) -> Detection:
    """The schema of `records`, from the names of their columns; `columns` wins over what the names suggest.

    `columns` says which column is which: `{"prompt": "text_in", "completion": "text_out"}`; it may also name
    `context`, `system` and what else an example has (`topic`, `source`); or `messages` instead of the pair.
    A row that fits no schema by itself gets the file's, if it has a column of it: something is missing in that row.

    Raises:
        ExamplesError: no schema fits any row, or `columns` names what is not there.
    """
    counts = Counter(frozenset(record.row) for record in records)
    present = dict.fromkeys(name for record in records for name in record.row)
    if columns:
        given = _from_mapping(columns, present, records[0].origin)
        how = "columns given: " + ", ".join(f"{name} = {shown(column)}" for name, column in columns.items())
        chosen: dict[frozenset[str], Schema | None] = dict.fromkeys(counts, given)
    else:
        chosen, how = _by_names(counts, present, records[0].origin)
    rows = Counter[Schema]()
    for names, count in counts.items():
        schema = chosen[names]
        if schema:
            rows[schema] += count
    known = {column for schema in rows for column in schema.columns}
    return Detection(
        name=" and ".join(schema.name_for(present) for schema, _ in rows.most_common()),
        how=how,
        used=tuple(shown(name) for name in present if name in known),
        ignored=tuple(shown(name) for name in present if name not in known),
        by_columns=chosen,
    )


def _by_names(
    counts: Counter[frozenset[str]], present: Iterable[str], origin: str
) -> tuple[dict[frozenset[str], Schema | None], str]:
    chosen = {names: next((s for s in SCHEMAS if s.required <= names), None) for names in counts}
    if not any(chosen.values()):
        chosen = {names: _incomplete(names) for names in counts}
    if not any(chosen.values()):
        found = ", ".join(shown(name) for name in list(present)[:COLUMNS_SHOWN]) or "no columns"
        raise ExamplesError(
            f"{origin}: messages: Field required, or the columns of another schema; found {found}; we know {KNOWN}; "
            "for others say which is which, as in --columns prompt=NAME,completion=NAME (in CSV, line 1 names them)"
        )
    votes = Counter[Schema]()
    for names, count in counts.items():
        schema = chosen[names]
        if schema:
            votes[schema] += count
    main, fitting = votes.most_common(1)[0]
    total = counts.total()
    share = f"all {total:,} rows" if fitting == total else f"{fitting:,} of {total:,} rows"
    need = ", ".join(name for name in main.columns if name in main.required)
    filled = {n: s or (main if n & main.required else None) for n, s in chosen.items()}
    return filled, f"{share} have {need}"


def _incomplete(names: frozenset[str]) -> Schema | None:
    """The schema that a row is clearly meant to have although it lacks a column of it."""
    return next((s for s in SCHEMAS if names & s.required and names <= set(s.columns)), None)


def _from_mapping(columns: Mapping[str, str], present: Iterable[str], origin: str) -> Schema:
    there = set(present)
    found = ", ".join(shown(name) for name in list(present)[:COLUMNS_SHOWN])
    names = {"context" if name == "input" else name: column for name, column in columns.items()}
    fields = {"turns" if name == "messages" else name: column for name, column in names.items()}
    known = ("prompt", "completion", "context", "system", "messages", *CARRIED)
    unknown = [shown(name) for name in names if name not in known]
    if unknown:
        raise ExamplesError(f"columns: {unknown[0]} is no part of an example; the parts are {', '.join(known)}")
    if "turns" in fields:
        mixed = [name for name in ("prompt", "completion", "context", "system") if name in fields]
        if mixed:
            raise ExamplesError(f"columns: give messages or {mixed[0]}, not both")
    else:
        fields = {"prompt": "prompt", "completion": "completion"} | fields
    missing = [shown(column) for column in fields.values() if column not in there]
    if missing:
        raise ExamplesError(f"{origin}: columns: there is no column {missing[0]}; found {found}")
    return Schema(
        label="columns given",
        turns=fields.get("turns", ""),
        prompt=fields.get("prompt", ""),
        context=fields.get("context", ""),
        completion=fields.get("completion", ""),
        system=fields.get("system", ""),
        carried=tuple((name, fields.get(name, name)) for name in CARRIED),
    )
