"""Preferences: which answers people wanted, as rows that a trainer reads, each with the votes behind it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from understudy.data.files import scan_records
from understudy.data.forms.preference_rows import in_our_form
from understudy.data.messages import Message
from understudy.data.records import DataRecord, RowError, RowProblem
from understudy.errors import ExamplesError

Split = Literal["train", "heldout"]
Form = Literal["dpo", "kto"]
HELDOUT = 0.2
"""Share of the prompts that are kept for measuring."""
SHARES = 2**64


class PreferenceVote(BaseModel):
    """One vote, as far as it may leave the house: nothing in it tells who cast it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    battle: str
    at: datetime
    side: Literal["left", "right"] | None = None
    """Where the answer stood that was chosen (of a label: the answer itself)."""
    replay: bool = False
    """Whether the answers were those of an earlier battle, shown again."""
    sampling: dict[str, Any] = {}


class _PreferenceRow(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: tuple[Message, ...] = Field(min_length=1)
    split: Split | None = None
    """None in a file that somebody else made: then the prompt decides (`split_of`)."""
    votes: tuple[PreferenceVote, ...] = ()
    """Those that were followed."""
    outvoted: int = 0
    """Votes on the same answers that said the opposite."""

    @field_validator("prompt", mode="before")
    @classmethod
    def _as_chat(cls, prompt: object) -> object:
        return _messages(prompt, "user")

    @property
    def side(self) -> Split:
        """Whether it is trained on or kept for measuring."""
        return self.split or split_of(self.prompt)


class PreferencePair(_PreferenceRow):
    """A prompt, the answer people preferred and the one they did not: for DPO and reward models."""

    chosen: tuple[Message, ...] = Field(min_length=1)
    rejected: tuple[Message, ...] = Field(min_length=1)
    chosen_by: str = ""
    """Contestant, with `@` and its revision where it has one."""
    rejected_by: str = ""

    @field_validator("chosen", "rejected", mode="before")
    @classmethod
    def _as_answer(cls, answer: object) -> object:
        return _messages(answer, "assistant")


class Label(_PreferenceRow):
    """A prompt, an answer, and whether people wanted it: for KTO."""

    completion: tuple[Message, ...] = Field(min_length=1)
    label: bool
    by: str = ""

    @field_validator("completion", mode="before")
    @classmethod
    def _as_answer(cls, answer: object) -> object:
        return _messages(answer, "assistant")


def split_of(prompt: Sequence[Message], heldout: float = HELDOUT) -> Split:
    """The side of a prompt, the same wherever and whenever it is asked; case and spacing do not matter."""
    text = "\0".join(f"{m.role}:{' '.join(m.content.split()).casefold()}" for m in prompt)
    place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return "heldout" if place < heldout * SHARES else "train"


def labels_of(pairs: Iterable[PreferencePair]) -> list[Label]:
    """Each pair as a wanted and an unwanted answer."""
    made = []
    for pair in pairs:
        known = {"prompt": pair.prompt, "split": pair.split, "votes": pair.votes, "outvoted": pair.outvoted}
        made.append(Label(completion=pair.chosen, label=True, by=pair.chosen_by, **known))
        made.append(Label(completion=pair.rejected, label=False, by=pair.rejected_by, **known))
    return made


def fingerprint(rows: Iterable[PreferencePair | Label]) -> str:
    """SHA-256 (hex) of what the rows teach and of the side they are on."""
    digest = hashlib.sha256()
    for row in rows:
        content = row.model_dump(mode="json", exclude={"votes", "outvoted", "split"})
        digest.update(json.dumps({**content, "split": row.side}, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def write_preferences(rows: Iterable[PreferencePair | Label], path: Path) -> None:
    """One row a line, in the form that TRL reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")


def read_preferences(path: Path) -> list[PreferencePair] | list[Label]:
    """The rows of a file, pairs or labels, in any form that TRL reads (`understudy.data.forms.preference_rows`).

    Raises:
        ExamplesError: the file is missing or empty, or a row is neither; file and line are named.
    """
    try:
        items = list(scan_records(path))
    except ExamplesError as error:
        if error.code != "empty":
            raise
        text = f"{path}: empty; write rows with prompt, chosen and rejected, one JSON object a line"
        raise ExamplesError(text) from None
    bad = next((item for item in items if isinstance(item, RowProblem)), None)
    if bad:
        raise ExamplesError(f"{bad.origin}: row: Invalid JSON: {bad.text}" if bad.kind == "not_json" else str(bad))
    records = [item for item in items if isinstance(item, DataRecord)]
    labelled = any({"completion", "label"} <= record.row.keys() for record in records)
    kind = Label if labelled or "completion" in records[0].row else PreferencePair
    return [_row(kind, record) for record in records]  # pyright: ignore[reportReturnType]


def _row(kind: type[PreferencePair] | type[Label], record: DataRecord) -> PreferencePair | Label:
    try:
        return kind.model_validate_json(json.dumps(in_our_form(record.row, labelled=kind is Label)))
    except RowError as error:
        raise ExamplesError(f"{record.origin}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"]) or "row"
        wanted = "prompt, completion and label" if kind is Label else "prompt, chosen and rejected"
        raise ExamplesError(f"{record.origin}: {at}: {first['msg']}; a row has {wanted}") from None


def _messages(value: object, role: str) -> object:
    return ({"role": role, "content": value},) if isinstance(value, str) else value
