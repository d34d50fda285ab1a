"""Inspection: what is in training data, counted before anything is trained."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, computed_field

from understudy.data.contamination import Contamination, measure_overlap
from understudy.data.lint import FindingKind, findings
from understudy.data.load import NOTES, LoadedData, read_data
from understudy.data.messages import Example
from understudy.data.records import ProblemKind, RowProblem, shown
from understudy.errors import BaseModelError

SHOWN = 5
"""Origins listed per finding."""


class Frozen(BaseModel):
    """A record that does not change."""

    model_config = ConfigDict(frozen=True)


class Distribution(Frozen):
    """How a number is spread over the rows; median and p95 are values that occur (nearest rank)."""

    min: int
    median: int
    p95: int
    max: int


class ProblemGroup(Frozen):
    """The problems of one kind."""

    kind: ProblemKind
    count: int
    bad: bool
    """Whether such a row cannot be trained on."""
    first: tuple[RowProblem, ...]


class LintFinding(Frozen):
    """Rows that somebody should look at; never what they say."""

    kind: FindingKind
    count: int
    origins: tuple[str, ...]


class SystemPrompts(Frozen):
    """How far the rows agree about a system prompt."""

    rows: int
    """Rows that have one."""
    distinct: int


class Tokens(Frozen):
    """Length of whole rows (prompt and answer, as the chat template writes them) in tokens."""

    tokenizer: str
    spread: Distribution
    max_length: int | None
    too_long: int
    """Rows longer than `max_length`; training refuses them."""
    origins: tuple[str, ...]
    """The first few of them."""


class Inspection(Frozen):
    """What is in a source. Counts of rows by their content are about the rows that can be used."""

    source: str
    rows: int
    usable: int
    """Rows that are not bad; duplicates are among them."""
    schema_name: str
    detected: str
    """How the schema was recognised."""
    columns_used: tuple[str, ...]
    columns_ignored: tuple[str, ...]
    problems: tuple[ProblemGroup, ...]
    """Most frequent kind first."""
    duplicates: int
    """Rows that say the same as an earlier one but for white space."""
    conflicts: int
    """Prompts with several different answers."""
    emptied: int
    """Nulls in optional columns, which count as empty."""
    turns: dict[int, int]
    """Answers per row, and how many rows have that many."""
    system_prompts: SystemPrompts
    prompt_characters: Distribution | None
    """Everything before the last answer, per row; None when no row can be used."""
    answer_characters: Distribution | None
    findings: tuple[LintFinding, ...]
    overlap: Contamination | None
    """None when no held-out file was given."""
    tokens: Tokens | None
    """None when no tokenizer was given, or no row can be used."""

    @computed_field
    @property
    def bad(self) -> int:
        """Rows that keep the data from being trained on as it is."""
        return sum(group.count for group in self.problems if group.bad)

    @computed_field
    @property
    def trainable(self) -> bool:
        """Whether all rows can be trained on as they are."""
        return self.usable > 0 and not self.bad and not (self.tokens and self.tokens.too_long)


def inspect_data(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    heldout: str | Path | None = None,
    tokenizer: str | Path | None = None,
    max_length: int | None = None,
) -> Inspection:
    """Reads a source as `load_data` does, keeps what is good, and counts what is in it. Nothing is refused or changed.

    `heldout` is compared with the data and read in the same way. With `tokenizer`, the folder (or Hub id) of a base
    with its tokenizer, rows are counted in tokens, and those longer than `max_length` are named.

    Raises:
        ExamplesError: the source or the held-out file cannot be read at all, or no schema fits.
        BaseModelError: there is no tokenizer in that folder.
    """
    loaded = read_data(source, columns=columns)
    examples = loaded.examples
    return Inspection(
        source=shown(source),
        rows=loaded.counts["rows"],
        usable=len(examples),
        schema_name=loaded.schema,
        detected=loaded.detected,
        columns_used=loaded.columns_used,
        columns_ignored=loaded.columns_ignored,
        problems=_groups(loaded.problems),
        duplicates=loaded.counts["duplicates"],
        conflicts=loaded.counts["conflicts"],
        emptied=loaded.counts["emptied"],
        turns=dict(sorted(Counter(_answers(example) for example in examples).items())),
        system_prompts=_system_prompts(examples),
        prompt_characters=_spread([sum(len(m.content) for m in e.messages[:-1]) for e in examples]),
        answer_characters=_spread([len(e.answer) for e in examples]),
        findings=_findings(loaded),
        overlap=_overlap(examples, heldout, columns),
        tokens=_tokens(loaded, str(tokenizer), max_length) if tokenizer and examples else None,
    )


def _groups(problems: Sequence[RowProblem]) -> tuple[ProblemGroup, ...]:
    by_kind: dict[ProblemKind, list[RowProblem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    groups = [
        ProblemGroup(kind=kind, count=len(found), bad=kind not in NOTES, first=tuple(found[:SHOWN]))
        for kind, found in by_kind.items()
    ]
    return tuple(sorted(groups, key=lambda group: (not group.bad, -group.count)))


def _answers(example: Example) -> int:
    return sum(message.role == "assistant" for message in example.messages)


def _system_prompts(examples: Sequence[Example]) -> SystemPrompts:
    prompts = [e.messages[0].content for e in examples if e.messages[0].role == "system"]
    return SystemPrompts(rows=len(prompts), distinct=len(set(prompts)))


def _spread(values: Sequence[int]) -> Distribution | None:
    return _spread_of(values) if values else None


def _spread_of(values: Sequence[int]) -> Distribution:
    ranked = sorted(values)
    return Distribution(min=ranked[0], median=_at(ranked, 50), p95=_at(ranked, 95), max=ranked[-1])


def _at(ranked: Sequence[int], percent: int) -> int:
    """The nearest-rank percentile: the smallest value that at least `percent` of the values do not exceed."""
    return ranked[max(-(-len(ranked) * percent // 100), 1) - 1]


def _findings(loaded: LoadedData) -> tuple[LintFinding, ...]:
    origins: dict[FindingKind, list[str]] = {}
    for example, origin in zip(loaded.examples, loaded.origins, strict=True):
        for kind in findings(example):
            origins.setdefault(kind, []).append(origin)
    return tuple(LintFinding(kind=k, count=len(found), origins=tuple(found[:SHOWN])) for k, found in origins.items())


def _overlap(
    examples: Sequence[Example], heldout: str | Path | None, columns: Mapping[str, str] | None
) -> Contamination | None:
    if heldout is None:
        return None
    other = read_data(heldout, columns=columns)
    return measure_overlap(examples, other.examples, other.origins)


def _tokens(loaded: LoadedData, location: str, max_length: int | None) -> Tokens:
    lengths = _lengths(loaded, location)
    long = [o for o, n in zip(loaded.origins, lengths, strict=True) if max_length is not None and n > max_length]
    return Tokens(
        tokenizer=location,
        spread=_spread_of(lengths),
        max_length=max_length,
        too_long=len(long),
        origins=tuple(long[:SHOWN]),
    )


def _lengths(loaded: LoadedData, location: str) -> list[int]:
    from jinja2 import TemplateError
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(location, model_max_length=sys.maxsize)
    except (OSError, ValueError) as error:
        reason = shown(str(error).strip().split("\n")[0][:160])
        raise BaseModelError(f"{location}: no tokenizer that we can load there ({reason}); give another base") from None
    lengths = []
    for example, origin in zip(loaded.examples, loaded.origins, strict=True):
        messages = [message.model_dump() for message in example.messages]
        try:
            if tokenizer.chat_template:
                tokens = tokenizer.apply_chat_template(messages, return_dict=False)
            else:
                tokens = tokenizer("\n".join(message["content"] for message in messages))["input_ids"]
        except TemplateError as error:
            reason = f"{location}: its chat template refuses {origin} ({shown(error)})"
            raise BaseModelError(f"{reason}; change the row or the base") from None
        lengths.append(len(tokens))
    return lengths
