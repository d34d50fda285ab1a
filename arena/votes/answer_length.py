"""How long an answer is, in characters, whatever form a file has it in: text, messages, parts, or JSON in a string."""

import ast
import json
from collections.abc import Sequence

ANSWERS = frozenset({"assistant", "gpt", "model", "bot", "chatbot", "ai"})
"""Roles whose turns are answers, in any case."""
ROLE, CONTENT = ("role", "from", "speaker"), ("content", "value", "text", "parts", "message")
OPENINGS = ("[", "{")


class NoTextError(ValueError):
    """A value in which there is no answer; the message says what it is."""


def answer_length(value: object) -> int | None:
    """Characters of the answer without white space around it; of a conversation, of its answers. None: no value.

    Raises:
        NoTextError: the value is no text, no list of messages, or a conversation without an answer.
    """
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, str):
        inner = _unpacked(value)
        return len(value.strip()) if inner is None else answer_length(inner)
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        return answer_length(value["messages"])
    if isinstance(value, dict):
        return _text(value)
    if isinstance(value, list | tuple):
        return _conversation(value)
    raise NoTextError("is neither a text nor a list of messages")


def _unpacked(text: str) -> object:
    """What the text holds as JSON, or as Python writes it: answers, messages or an escaped text; None: plain text."""
    plain = text.strip()
    if plain.startswith('"') and "\\" in plain:
        inner = _parsed(plain)
        return inner if isinstance(inner, str) else None
    if not plain.startswith(OPENINGS):
        return None
    inner = _parsed(plain)
    if isinstance(inner, dict):
        return inner if _is_turn(inner) or isinstance(inner.get("messages"), list) else None
    if isinstance(inner, list) and inner and all(one is None or isinstance(one, str) or _is_turn(one) for one in inner):
        return inner
    return None


def _parsed(text: str) -> object:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _is_turn(value: object) -> bool:
    """Whether this is a message, or a part of one."""
    if not isinstance(value, dict):
        return False
    return (any(name in value for name in ROLE) and _content(value) is not None) or isinstance(value.get("type"), str)


def _content(turn: dict) -> object:
    return next((turn[name] for name in CONTENT if turn.get(name) is not None), None)


def _conversation(turns: Sequence[object]) -> int:
    """Of messages, the answers; of anything else, every text."""
    pairs = [_role_and_content(turn) for turn in turns]
    if not any(role for role, _ in pairs):
        return sum(_text(content) for _, content in pairs)
    answers = [content for role, content in pairs if role.casefold() in ANSWERS]
    if not answers:
        raise NoTextError("has messages, but none of the role assistant")
    return sum(_text(content) for content in answers)


def _role_and_content(turn: object) -> tuple[str, object]:
    if isinstance(turn, dict):
        role = next((turn[name] for name in ROLE if isinstance(turn.get(name), str)), "")
        return role, _content(turn) if role else turn
    if isinstance(turn, list | tuple) and len(turn) == 2 and isinstance(turn[0], str) and _is_role(turn[0]):
        return turn[0], turn[1]
    return "", turn


def _is_role(name: str) -> bool:
    return name.casefold() in ANSWERS | {"user", "human", "system", "tool"}


def _text(content: object) -> int:
    """Characters of a content: a text, a list of parts, or one part; pictures and the like have none."""
    if content is None:
        return 0
    if isinstance(content, str):
        return len(content.strip())
    if isinstance(content, list | tuple):
        return sum(_text(part) for part in content)
    if isinstance(content, dict):
        return _text(_content(content))
    raise NoTextError(f"holds a {type(content).__name__} where text was expected")
