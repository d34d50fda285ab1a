"""Schemas: which column means what in well-known kinds of data, and which kind a file is."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from understudy.data.messages import Example
from understudy.data.records import DataRecord, shown
from understudy.errors import ExamplesError

CARRIED = tuple(name for name in Example.model_fields if name not in ("messages", "tools"))
"""Columns that go into an example beside its messages."""

COLUMNS_SHOWN = 20


@dataclass(frozen=True)
class Schema:
    """Which column means what. Either `turns` is named, or `prompt` and `completion`; all others may be missing."""

    label: str = ""
    turns: str = ""
    """Column with a list of messages."""
    prompt: str = ""
    """Text, or the messages before the answer."""
    contexts: tuple[str, ...] = ()
    """Columns with text that belongs to the prompt."""
    completion: str = ""
    """Text, or a list of messages."""
    systems: tuple[str, ...] = ("system", "system_prompt")
    """Columns with a system prompt."""
    history: str = "history"
    """Column with earlier turns: pairs of prompt and answer, or messages."""
    tools: str = "tools"
    """Column with the functions that the assistant may call."""
    carried: tuple[tuple[str, str], ...] = tuple((name, name) for name in CARRIED)
    """Fields of an example beside its messages, each with its column; the column may be missing or empty."""
    ours: bool = False
    """One of the two that README.md teaches."""
    given: bool = False
    """Whether a person said which column is which, so that all others are left out on purpose."""

    @property
    def required(self) -> frozenset[str]:
        return frozenset(filter(None, (self.turns, self.prompt, self.completion)))

    @property
    def columns(self) -> tuple[str, ...]:
        names = (*self.systems, self.history, self.turns, self.prompt, *self.contexts, self.completion, self.tools)
        return (*filter(None, names), *(column for _, column in self.carried))

    def name_for(self, present: Iterable[str]) -> str:
        """The schema's name by the columns that are there: `instruction/output` where nobody has an `input`."""
        there = set(present)
        contexts = [name for name in self.contexts if name in there]
        return self.label or "/".join((self.prompt, *contexts, self.completion))


CONTEXTS = ("input", "context")
SCHEMAS = (
    Schema(label="messages", turns="messages", ours=True),
    Schema(label="ShareGPT", turns="conversations"),
    Schema(prompt="prompt", contexts=CONTEXTS, completion="completion", ours=True),
    Schema(prompt="instruction", contexts=CONTEXTS, completion="output"),
    Schema(prompt="instruction", contexts=CONTEXTS, completion="response"),
    Schema(prompt="question", contexts=CONTEXTS, completion="answer"),
    Schema(prompt="question", contexts=CONTEXTS, completion="response"),
    Schema(prompt="query", contexts=CONTEXTS, completion="response"),
    Schema(prompt="prompt", contexts=CONTEXTS, completion="response"),
)
INPUT_OUTPUT = Schema(prompt="input", contexts=("context",), completion="output")
"""Only for files without instructions: elsewhere such a row has lost its own."""

KNOWN = "messages; conversations (ShareGPT); prompt, completion; instruction, [input,] output (Alpaca); \
instruction, [context,] response (Dolly); question, answer; question, query or prompt, response; input, output"


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
    there = set(present)
    known = SCHEMAS if "instruction" in there else (*SCHEMAS, INPUT_OUTPUT)
    chosen = {names: next((s for s in known if s.required <= names), None) for names in counts}
    complete = any(chosen.values())
    if not complete:
        chosen = {names: _incomplete(names, known) for names in counts}
    if not any(chosen.values()):
        found = ", ".join(shown(name) for name in list(present)[:COLUMNS_SHOWN]) or "no columns"
        if {"chosen", "rejected"} <= there:
            raise ExamplesError(
                f"{origin}: these are pairs of answers for learning from preferences, not examples; found {found}; "
                "use `understudy train RECIPE --method dpo --preferences FILE`, or --columns completion=chosen"
            )
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
    need = ", ".join(name for name in main.columns if name in main.required)
    if not complete:
        lost = ", ".join(name for name in main.columns if name in main.required - there)
        how = f"no row has all of {need}" + (f"; there is no column {lost}" if lost else "")
        return chosen, how
    share = f"all {total:,} rows" if fitting == total else f"{fitting:,} of {total:,} rows"
    filled = {n: s or (main if n & main.required else None) for n, s in chosen.items()}
    return filled, f"{share} have {need}"


def _incomplete(names: frozenset[str], known: Sequence[Schema]) -> Schema | None:
    """The schema that a row is clearly meant to have although it lacks a column of it."""
    return next((s for s in known if names & s.required and names <= set(s.columns)), None)


def _from_mapping(columns: Mapping[str, str], present: Iterable[str], origin: str) -> Schema:
    there = set(present)
    found = ", ".join(shown(name) for name in list(present)[:COLUMNS_SHOWN])
    names = {"context" if name == "input" else name: column for name, column in columns.items()}
    fields = {"turns" if name == "messages" else name: column for name, column in names.items()}
    known = ("prompt", "completion", "context", "system", "messages", "history", "tools", *CARRIED)
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
        contexts=tuple(filter(None, [fields.get("context")])),
        completion=fields.get("completion", ""),
        systems=tuple(filter(None, [fields.get("system")])),
        history=fields.get("history", ""),
        tools=fields.get("tools", ""),
        given=True,
        carried=tuple((name, fields.get(name, name)) for name in CARRIED),
    )
