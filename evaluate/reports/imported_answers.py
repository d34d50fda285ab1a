"""Answers of other systems (Claude, ChatGPT, Gemini, ...), collected elsewhere, from JSONL, CSV and the like."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from understudy.data.files import READERS, read_records
from understudy.data.records import DataRecord, shown
from understudy.errors import ExamplesError

PROMPT = ("prompt",)
ANSWER = ("answer", "response", "output", "completion")
SYSTEM = ("system", "model")
SAMPLE = ("sample",)
"""Names that a column may have, in any case."""
UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Control characters but tab and line end, and what UTF-8 and XML have no place for."""


class PromptToShow(BaseModel):
    """A prompt that a report shows, with its topic if there is one."""

    model_config = ConfigDict(frozen=True)

    prompt: str
    topic: str | None = None


class ImportedAnswers(BaseModel):
    """One system's answers. A prompt has as many answers as were sampled."""

    model_config = ConfigDict(frozen=True)

    system: str
    file: str
    """Name of the file."""
    answers: tuple[tuple[str, ...], ...]
    """By prompt, in the order of the prompts that were matched; empty where it gave none."""
    unanswered: tuple[str, ...]
    """Prompts without an answer."""
    unmatched: tuple[str, ...]
    """Prompts of the file that are not among those to match."""


@dataclass(frozen=True)
class _AnswerRow:
    origin: str
    prompt: str
    answer: str
    system: str
    sample: int | None


def read_imported(path: Path, name: str, prompts: Sequence[str]) -> list[ImportedAnswers]:
    """The answers in a file to these prompts, one record a system, in the order of their first rows.

    The file has the columns `prompt` and `answer` (or `response`, `output`, `completion`), and may have `system` (or
    `model`) where several systems are in it, and `sample` (a whole number) where prompts were asked several times.
    With one system in it, `name` is its name; with several, the column says theirs. Prompts match whatever their case
    and white space. A blank answer is none.

    Raises:
        ExamplesError: the file cannot be read, a column is missing or twice there, or a row holds what is no answer;
            the message names file, row and remedy.
    """
    rows = [_row(record) for record in read_records(path)]
    systems = list(dict.fromkeys(row.system for row in rows))
    if len(systems) > 1:
        _require_named(rows)
    return [
        _matched([row for row in rows if row.system == system], system if len(systems) > 1 else name, path, prompts)
        for system in systems
    ]


class OtherSystems:
    """Answers of other systems by prompt, for battles: the first of each system, whatever the prompt's white space."""

    def __init__(self, answers: dict[str, dict[str, str]] | None = None, prompts: Sequence[str] = ()) -> None:
        self._answers = answers or {}
        self.prompts = tuple(prompts)
        """As they were asked, each once."""

    def answers(self, prompt: str) -> dict[str, str]:
        """Returns what each system answered to that prompt."""
        return self._answers.get(prompt_key(prompt), {})


def read_other_systems(place: Path) -> OtherSystems:
    """Every answer in a file, or in the files of a folder; a file without the column `system` is the system's name.

    Raises:
        ExamplesError: as `read_imported`, or there is no such file.
    """
    files = sorted(path for path in place.iterdir() if path.suffix.lower() in READERS) if place.is_dir() else [place]
    answers: dict[str, dict[str, str]] = {}
    prompts: dict[str, str] = {}
    for file in files:
        for row in (_row(record) for record in read_records(file)):
            if row.answer.strip():
                key = prompt_key(row.prompt)
                prompts.setdefault(key, row.prompt)
                answers.setdefault(key, {}).setdefault(row.system or file.stem, row.answer)
    return OtherSystems(answers, list(prompts.values()))


def read_prompts(path: Path) -> list[PromptToShow]:
    """The prompts in a file with the column `prompt` and perhaps `topic`; later repetitions are left out.

    Raises:
        ExamplesError: the file cannot be read, or a row has no prompt; the message names file, row and remedy.
    """
    found: dict[str, PromptToShow] = {}
    for record in read_records(path):
        prompt = _text(record, PROMPT)
        if not prompt.strip():
            raise ExamplesError(f"{record.origin}: the prompt is empty; write it, or remove the row")
        topic = _optional(record, ("topic",))
        found.setdefault(prompt_key(prompt), PromptToShow(prompt=prompt, topic=topic or None))
    return list(found.values())


def prompt_key(prompt: str) -> str:
    """Returns a key that ignores case and white space."""
    return " ".join(prompt.casefold().split())


def clean(text: str) -> str:
    """Replaces what no document can hold (surrogates, control characters) with U+FFFD."""
    return UNWRITABLE.sub("\ufffd", text)


def _row(record: DataRecord) -> _AnswerRow:
    prompt = clean(_text(record, PROMPT))
    if not prompt.strip():
        raise ExamplesError(f"{record.origin}: the prompt is empty; write what the system was asked, or remove the row")
    return _AnswerRow(
        origin=record.origin,
        prompt=prompt,
        answer=clean(_text(record, ANSWER).replace("\r\n", "\n")),
        system=clean(_optional(record, SYSTEM)),
        sample=_sample(record),
    )


def _columns(record: DataRecord, names: Sequence[str]) -> list[str]:
    return [column for column in record.row if str(column).strip().casefold() in names]


def _text(record: DataRecord, names: Sequence[str]) -> str:
    columns = _columns(record, names)
    if not columns:
        found = ", ".join(map(shown, record.row)) or "none"
        others = f" (or {', '.join(names[1:])})" if names[1:] else ""
        raise ExamplesError(f"{record.origin}: no column {names[0]}{others}; found {found}; rename the one that is it")
    if len(columns) > 1:
        raise ExamplesError(f"{record.origin}: {' and '.join(map(shown, columns))} mean the same; keep one column")
    value = record.row[columns[0]]
    if value is None:
        raise ExamplesError(f"{record.origin}: {shown(columns[0])} is null; write it, or remove the row")
    if not isinstance(value, str):
        raise ExamplesError(f"{record.origin}: {shown(columns[0])} is no text; put it in double quotes")
    return value


def _optional(record: DataRecord, names: Sequence[str]) -> str:
    columns = _columns(record, names)
    return (_text(record, names) if columns and record.row[columns[0]] is not None else "").strip()


def _sample(record: DataRecord) -> int | None:
    columns = _columns(record, SAMPLE)
    value = record.row[columns[0]] if columns else None
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ExamplesError(f"{record.origin}: sample must be a whole number such as 1; found {shown(value)!r}")


def _require_named(rows: Sequence[_AnswerRow]) -> None:
    for row in rows:
        if not row.system:
            raise ExamplesError(f"{row.origin}: no system, but other rows name theirs; write which one answered")


def _matched(rows: Sequence[_AnswerRow], system: str, path: Path, prompts: Sequence[str]) -> ImportedAnswers:
    by_prompt: dict[str, list[_AnswerRow]] = {}
    for row in rows:
        by_prompt.setdefault(prompt_key(row.prompt), []).append(row)
    ordered = {key: tuple(_in_order(found)) for key, found in by_prompt.items()}
    keys = [prompt_key(prompt) for prompt in prompts]
    return ImportedAnswers(
        system=system,
        file=shown(path.name),
        answers=tuple(ordered.get(key, ()) for key in keys),
        unanswered=tuple(prompt for prompt, key in zip(prompts, keys, strict=True) if not ordered.get(key)),
        unmatched=tuple(found[0].prompt for key, found in by_prompt.items() if key not in keys),
    )


def _in_order(rows: Sequence[_AnswerRow]) -> Iterator[str]:
    """Yields the answers to one prompt by their number, without blank ones."""
    first: dict[int | None, str] = {}
    for row in rows:
        if row.sample in first:
            at = "without a number" if row.sample is None else f"numbered {row.sample}"
            raise ExamplesError(
                f"{row.origin}: a second answer {at} to the prompt of {first[row.sample]}; number them in a column "
                "sample, or remove one"
            )
        first[row.sample] = row.origin
    for row in sorted(rows, key=lambda one: -1 if one.sample is None else one.sample):
        if row.answer.strip():
            yield row.answer
