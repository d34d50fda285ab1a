"""Records of reading data: a row, what is wrong with one, and the prefix that names data sets of the Hub."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from understudy.errors import ExamplesError

ProblemKind = Literal[
    "not_json",
    "repeated_key",
    "uneven",
    "wrong_type",
    "no_schema",
    "unknown_column",
    "unused_column",
    "unwanted",
    "not_text",
    "null",
    "empty",
    "blank_answer",
    "bad_turns",
    "duplicate",
    "conflict",
]
"""What can be wrong with a row. `duplicate` and `conflict` are worth knowing; each of the others makes the row bad."""

HUB = "hub:"
"""A source that begins so is a data set of the Hub, any other is a path."""


class RowProblem(BaseModel):
    """One thing to know about one row."""

    model_config = ConfigDict(frozen=True)

    origin: str
    """`file:line`, or `file row N` where a format has no lines."""
    kind: ProblemKind
    text: str
    """What was found and what to do, never the row's own text."""

    def __str__(self) -> str:
        return f"{self.origin}: {self.text}"


class RowError(ExamplesError):
    """One row cannot be an example."""

    def __init__(self, kind: ProblemKind, text: str) -> None:
        super().__init__(text)
        self.kind: ProblemKind = kind


@dataclass(frozen=True, slots=True)
class DataRecord:
    """One row as it stands in the file."""

    origin: str
    row: dict[str, object]


def shown(text: object) -> str:
    """The text in one printable line; characters that cannot be printed become their escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
