"""Conversations: the messages of one training row, and what identifies a set of rows."""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("Input should be a valid string, found half of a surrogate pair") from None
    return text


class Message(BaseModel):
    """One chat message. Written out, it has only the fields that say something."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[str, AfterValidator(_unicode)]
    """Never empty, except beside tool calls and as the result of a tool."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """Functions that the assistant calls, in OpenAI's form; `arguments` is an object, which chat templates expect."""
    tool_call_id: str = ""
    name: str = ""
    """Of the tool whose result this is."""
    weight: Literal[0, 1] = 1
    """0 for an answer of the assistant that is read as context and never learned."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.content and not self.tool_calls and self.role != "tool":
            raise ValueError("content should have at least 1 character")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = written(self)
        drop = [name for name in ("tool_calls", "tool_call_id", "name") if not fields.get(name)]
        return {k: v for k, v in fields.items() if k not in drop and (k != "weight" or v == 0)}

    @property
    def text(self) -> str:
        """All that the message says: its content, and its calls as JSON."""
        calls = [json.dumps(call, ensure_ascii=False, sort_keys=True) for call in self.tool_calls]
        return "\n".join(filter(None, [self.content, *calls])) if calls else self.content

    def chat(self) -> dict[str, Any]:
        """The message as chat templates and OpenAI's API read it."""
        fields = self.model_dump(exclude={"weight"})
        return {**fields, "tool_calls": list(fields["tool_calls"])} if self.tool_calls else fields


class Example(BaseModel):
    """One row: a conversation that ends with the assistant's answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    """The functions that the assistant may call, as JSON schemas in OpenAI's form."""
    topic: str | None = None
    """The word or words that an answer on topic must contain; used when answers are scored."""
    source: str | None = None
    """Where the row comes from, for the data card."""
    parent: str | None = None
    """Of a row that was made from another one: what names that one. Both stay on one side of every split."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in written(self).items() if name != "tools" or value}

    @property
    def prompt(self) -> list[dict[str, Any]]:
        """Everything before the last answer, as OpenAI chat messages."""
        return [m.chat() for m in self.messages[:-1]]

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
