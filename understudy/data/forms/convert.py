"""Conversion: one row of a known schema becomes an example, or is refused with the kind of problem."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from understudy.data.forms.json_rows import RepeatedKeyError, parse_json
from understudy.data.forms.meaning import require_all_used, require_text_only, require_wanted
from understudy.data.forms.schemas import Schema
from understudy.data.forms.tools import offered_tools
from understudy.data.forms.turns import text_of, turns_of
from understudy.data.forms.values import found_there, is_nothing, is_null, optional_text, required_text
from understudy.data.messages import Example
from understudy.data.records import RowError, shown

ORDER = re.compile(r"s?(?:u(?:[ac]t+)*(?:a|c$))+")
"""A system message or none, then turns: the user, any number of calls with their results, the answer. A call
may stand at the end."""


@dataclass(frozen=True)
class Converted:
    """An example, and the optional columns of its row whose null became empty."""

    example: Example
    emptied: tuple[str, ...] = ()


def to_example(row: Mapping[str, object], schema: Schema, *, strict: bool = False) -> Converted:
    """The example that a row of that schema is.

    A null is None, NaN, or a word such as "N/A" that programs write for it. Where text is required it makes the row
    bad; in an optional column, or as a system message, it counts as empty. `strict` refuses unknown columns.

    Raises:
        RowError: the row cannot be an example; it has the kind of problem and its text.
    """
    require_wanted(row, schema)
    emptied = [name for name in (*schema.contexts, *schema.systems) if name in row and is_null(row[name])]
    messages = turns_of(row.get(schema.turns), schema.turns, emptied) if schema.turns else _pair(row, schema, emptied)
    messages = _with_system(row, schema, _with_history(row, schema, messages, emptied))
    carried: dict[str, object] = {"tools": offered_tools(row.get(schema.tools), schema.tools)} if schema.tools else {}
    for field, column in schema.carried:
        value = row.get(column)
        if column in row and is_null(value):
            emptied.append(column)
        elif strict or isinstance(value, str):
            carried[field] = value
    example = _validated({"messages": messages, **carried})
    _check_turns(example)
    texts = [message.content for message in example.messages]
    require_text_only(row, texts)
    require_all_used(row, schema, texts)
    unknown = [name for name in row if name not in schema.columns] if strict else []
    if unknown:
        text = f"{shown(unknown[0])}: Extra inputs are not permitted; see the row format in README.md"
        raise RowError("unknown_column", text)
    return Converted(example, tuple(emptied))


def _pair(row: Mapping[str, object], schema: Schema, emptied: list[str]) -> list[dict[str, Any]]:
    """The messages of prompt and completion, each a text or (TRL's conversational form) a list of messages."""
    prompt, completion = row.get(schema.prompt), row.get(schema.completion)
    before = turns_of(prompt, schema.prompt, emptied) if _chat(prompt) else None
    answer = turns_of(completion, schema.completion, emptied) if _chat(completion) else None
    if before is None:
        asked = required_text(prompt, schema.prompt, "empty")
        texts = [optional_text(row.get(name), name) for name in schema.contexts]
        before = [{"role": "user", "content": "\n\n".join(filter(None, [asked, *texts]))}]
    elif any(not is_nothing(row.get(name)) for name in schema.contexts):
        named = next(name for name in schema.contexts if not is_nothing(row.get(name)))
        raise RowError("wrong_type", f"{named} beside a {schema.prompt} of messages; put it into one of them")
    if answer is None:
        answer = [{"role": "assistant", "content": required_text(completion, schema.completion, "blank_answer")}]
    return [*({**message, "weight": 0} if message["role"] == "assistant" else message for message in before), *answer]


def _chat(value: object) -> bool:
    """Whether a value is a list of messages."""
    if not isinstance(value, list | tuple) or not value:
        return False
    return all(isinstance(message, dict) and {"role", "from"} & message.keys() for message in value)


def _with_history(
    row: Mapping[str, object], schema: Schema, messages: list[dict[str, Any]], emptied: list[str]
) -> list[dict[str, Any]]:
    """The messages after those of the history column, whose answers are learned, too, as LLaMA-Factory does."""
    value = row.get(schema.history) if schema.history else None
    if is_nothing(value):
        return messages
    at = shown(schema.history)
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except RepeatedKeyError as error:
            raise RowError("repeated_key", f"{at}: {error}; keep the one that is meant") from None
        except (ValueError, RecursionError):
            raise RowError("wrong_type", f"{at} must be a list of pairs, found text that is no JSON") from None
    if not isinstance(value, list | tuple):
        raise RowError("wrong_type", f"{at} must be a list of pairs, found {found_there(value)}")
    if _chat(value):
        earlier = turns_of(value, at, emptied)
    else:
        earlier = [message for n, pair in enumerate(value) for message in _earlier(pair, f"{at}.{n}")]
    first = 1 if messages[:1] and messages[0]["role"] == "system" else 0
    return [*messages[:first], *earlier, *messages[first:]]


def _earlier(pair: object, at: str) -> list[dict[str, Any]]:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise RowError("wrong_type", f"{at} must be a pair of prompt and answer, found {found_there(pair)}")
    asked, answered = (required_text(text_of(side, at), f"{at}.{n}", "empty") for n, side in enumerate(pair))
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _with_system(row: Mapping[str, object], schema: Schema, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages after the system prompt of the row's own column.

    Raises:
        RowError: there are two that differ.
    """
    found = {name: optional_text(text_of(row.get(name), name), name) for name in schema.systems if name in row}
    inside = messages[0]["content"] if messages and messages[0]["role"] == "system" else ""
    different = list(dict.fromkeys(filter(None, [*found.values(), inside])))
    if len(different) > 1:
        names = [*(name for name, text in found.items() if text), *(["the first message"] if inside else [])]
        raise RowError("bad_turns", f"{' and '.join(names)} are two different system prompts; keep one")
    if inside or not different:
        return messages
    return [{"role": "system", "content": different[0]}, *messages]


def _validated(fields: dict[str, object]) -> Example:
    try:
        return Example.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise RowError("wrong_type", f"{at}: {first['msg']}; see the row format in README.md") from None


def _check_turns(example: Example) -> None:
    signs = {"system": "s", "user": "u", "tool": "t", "assistant": "a"}
    order = "".join("c" if message.tool_calls else signs[message.role] for message in example.messages)
    if not ORDER.fullmatch(order):
        roles = [m.role for m in example.messages]
        found = ", ".join(roles[:8]) or "nothing"
        also = " (results of tools after a call)" if "tool" in roles or "c" in order else ""
        raise RowError(
            "bad_turns",
            f"messages must be an optional system, then user and assistant in turn{also}, "
            f"ending with the assistant; found {found}{', …' if len(roles) > 8 else ''}",
        )
    if not any(message.role == "assistant" and message.weight for message in example.messages):
        raise RowError("bad_turns", "every answer has weight 0, so nothing is learned; remove the row")
    try:
        json.dumps(example.tools, allow_nan=False, ensure_ascii=False).encode()
        "".join(json.dumps(m.tool_calls, allow_nan=False, ensure_ascii=False) for m in example.messages).encode()
    except ValueError:
        raise RowError("wrong_type", "a tool holds NaN or half a character, which is not JSON; correct it") from None
