"""Examples: the rows a persona is taught from, read from JSONL with errors that name file and line."""

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from understudy.errors import ExamplesError


class Message(BaseModel):
    """One chat message."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class Example(BaseModel):
    """One row: a conversation that ends with the assistant's answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...]
    topic: str | None = None
    """The word or words that an answer on topic must contain; used when answers are scored."""
    source: str | None = None
    """Where the row comes from, for the data card."""

    @property
    def prompt(self) -> list[dict[str, str]]:
        """Everything before the last answer, as OpenAI chat messages."""
        return [m.model_dump() for m in self.messages[:-1]]

    @property
    def answer(self) -> str:
        """The last assistant message."""
        return self.messages[-1].content


def load_examples(path: Path) -> list[Example]:
    """Reads a JSONL file of examples.

    A row is `{"messages": [...]}` or `{"prompt": str, "completion": str}`; blank lines are skipped.

    Raises:
        ExamplesError: the file is missing, empty, or a row is malformed (file, line and remedy are named).
    """
    if not path.is_file():
        raise ExamplesError(f"{path}: no such file; a recipe needs its examples there, one JSON object a line")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ExamplesError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None
    rows = [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise ExamplesError(f'{path}: no examples in it; add rows like {{"prompt": "...", "completion": "..."}}')
    return rows


def fingerprint(examples: list[Example]) -> str:
    """SHA-256 (hex) of the rows' content, independent of spacing in the file."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(example.model_dump_json().encode() + b"\n")
    return digest.hexdigest()


def _parse(line: str, where: str) -> Example:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ExamplesError(f"{where}: not JSON ({error.msg}, column {error.colno}); one object a line") from None
    if not isinstance(row, dict):
        raise ExamplesError(f"{where}: found a JSON {type(row).__name__}; a row must be an object")
    if "prompt" in row or "completion" in row:
        row = _from_pair(row, where)
    try:
        example = Example.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise ExamplesError(f"{where}: {at}: {first['msg']}; see the row format in README.md") from None
    return _check_turns(example, where)


def _from_pair(row: dict, where: str) -> dict:
    prompt, completion = row.pop("prompt", None), row.pop("completion", None)
    for name, value in (("prompt", prompt), ("completion", completion)):
        if not isinstance(value, str) or not value.strip():
            raise ExamplesError(f"{where}: {name} must be text that is not empty, found {value!r}")
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
    return {"messages": messages, **row}


def _check_turns(example: Example, where: str) -> Example:
    roles = [m.role for m in example.messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    expected = ["user", "assistant"] * (len(turns) // 2)
    if not turns or turns != expected:
        found = ", ".join(roles) or "nothing"
        raise ExamplesError(
            f"{where}: messages must be an optional system, then user and assistant in turn, "
            f"ending with the assistant; found {found}"
        )
    if not example.answer.strip():
        raise ExamplesError(f"{where}: the assistant's answer is blank; write it or remove the row")
    return example
