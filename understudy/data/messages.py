"""Conversations: the messages of one training row, and what identifies a set of rows."""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
    parent: str | None = None
    """Of a row that was made from another one: what names that one. Both stay on one side of every split."""

    @property
    def prompt(self) -> list[dict[str, str]]:
        """Everything before the last answer, as OpenAI chat messages."""
        return [m.model_dump() for m in self.messages[:-1]]

    @property
    def answer(self) -> str:
        """The last assistant message."""
        return self.messages[-1].content


def fingerprint(examples: list[Example]) -> str:
    """SHA-256 (hex) of the rows' content, independent of spacing in the file."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(example.model_dump_json().encode() + b"\n")
    return digest.hexdigest()
