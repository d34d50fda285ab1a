"""Turns: one entry of a list of messages becomes a message, whatever words its makers use for roles and fields."""

from collections.abc import Mapping
from typing import Any

from understudy.data.forms.tools import called_tools
from understudy.data.forms.values import found_there, optional_text, required_text
from understudy.data.records import RowError, shown

ROLES = {
    **{"human": "user", "developer": "system"},
    **dict.fromkeys(["gpt", "chatgpt", "model", "bot", "function_call", "tool_call"], "assistant"),
    **dict.fromkeys(["function", "observation", "tool_response", "function_response"], "tool"),
}
"""Names of the speakers in ShareGPT data and in OpenAI's older form, where they differ from ours."""

CALLS = ("function_call", "tool_call")
"""Speakers whose text is a call of a function in JSON."""

WEIGHTS = ("weight", "train", "training", "loss")
"""Flags that say whether an answer is learned: OpenAI's, axolotl's and ms-swift's."""

TEXT_PARTS = ("text", "input_text", "output_text", None)


def turns_of(value: object, column: str, emptied: list[str]) -> list[dict[str, Any]]:
    """The messages of a list; system messages without text are left out, and their places appended to `emptied`.

    Raises:
        RowError: it is no list of messages that we read.
    """
    if not isinstance(value, list | tuple):
        shape = "role and content" if column == "messages" else "from and value, or role and content"
        kind = "null" if value is None or found_there(value).startswith("the placeholder") else "wrong_type"
        raise RowError(kind, f"{shown(column)} must be a list of objects with {shape}, found {found_there(value)}")
    messages = []
    for number, entry in enumerate(value):
        at = f"{shown(column)}.{number}"
        if not isinstance(entry, dict):
            raise RowError("wrong_type", f"{at} must be an object with role and content, found {found_there(entry)}")
        message = _message(entry, at, last=number == len(value) - 1)
        if message is None:
            emptied.append(at)
        else:
            messages.append(message)
    return messages


def text_of(content: object, at: str) -> object:
    """The text of a list of parts, joined by line ends as the engine joins them; anything else as it is.

    Raises:
        RowError: a part is no text.
    """
    if not isinstance(content, list | tuple) or not content:
        return content
    texts = []
    for number, part in enumerate(content):
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, dict):
            raise RowError("wrong_type", f"{at}.{number} must be a part with text, found {found_there(part)}")
        there = {name for name, value in part.items() if value is not None} - {"type"}
        if part.get("type") not in TEXT_PARTS or there != {"text"} or not isinstance(part["text"], str):
            kind = shown(part.get("type") or ", ".join(sorted(map(str, there))) or "part without text")
            raise RowError("not_text", f"{at}.{number}: found {kind}; a model learns from text only, remove the row")
        texts.append(part["text"])
    return "\n".join(texts)


def _message(entry: Mapping[str, Any], at: str, *, last: bool) -> dict[str, Any] | None:
    """One message in our words, or None for a system message without text."""
    who, what = ("from", "value") if "from" in entry and "role" not in entry else ("role", "content")
    name = entry.get(who)
    role = ROLES.get(name, name) if isinstance(name, str) else name
    if role not in ("system", "user", "assistant", "tool"):
        also = " (ShareGPT: system, human or gpt)" if who == "from" else ""
        raise RowError("wrong_type", f"{at}.{who}: Input should be 'system', 'user' or 'assistant'{also}")
    assert isinstance(role, str)
    _require_known(entry, at, role, who, what)
    content = text_of(entry.get(what), f"{at}.{what}")
    if role == "system":
        text = optional_text(content, f"{at}.{what}")
        return {"role": role, "content": text} if text else None
    if role == "tool":
        more = {key: str(entry[key]) for key in ("tool_call_id", "name") if entry.get(key)}
        return {"role": role, "content": _tool_result(content, f"{at}.{what}"), **more}
    message: dict[str, Any] = {"role": role, "weight": _weight(entry, at, role)}
    calls = entry.get("tool_calls") or entry.get("function_call") if role == "assistant" else None
    if name in CALLS:
        return {**message, "content": "", "tool_calls": called_tools(content, f"{at}.{what}")}
    if calls:
        message["tool_calls"] = called_tools(calls, f"{at}.tool_calls")
        return {**message, "content": optional_text(content, f"{at}.{what}")}
    if last and role == "assistant" and isinstance(content, str) and not content.strip():
        raise RowError("blank_answer", f"{at}: the assistant's answer is blank; write it or remove the row")
    return {**message, "content": required_text(content, f"{at}.{what}", "empty")}


def _require_known(entry: Mapping[str, Any], at: str, role: str, who: str, what: str) -> None:
    """Refuse a field that we would drop although it may mean something."""
    known = {"assistant": ("tool_calls", "function_call"), "tool": ("tool_call_id", "name")}.get(role, ())
    empty = (None, [], "")
    more = [key for key in entry if key not in (who, what, *WEIGHTS, *known) and entry[key] not in empty]
    if more:
        raise RowError("wrong_type", f"{at}.{shown(more[0])}: Extra inputs are not permitted; only {who} and {what}")


def _weight(entry: Mapping[str, Any], at: str, role: str) -> int:
    """1 for what is learned, 0 for what is not."""
    given = {name: entry[name] for name in WEIGHTS if entry.get(name) is not None}
    for name, value in given.items():
        if value not in (0, 1) or isinstance(value, str):
            raise RowError("wrong_type", f"{at}.{name} must be 0 or 1, found {found_there(value)}")
        if role != "assistant" and value:
            text = f"{at}.{name} is {value!r} on a {role} turn; only answers are learned, set it to 0"
            raise RowError("wrong_type", text)
    if len({bool(value) for value in given.values()}) > 1:
        raise RowError("wrong_type", f"{at}: {' and '.join(given)} contradict each other; keep one")
    return int(all(given.values())) if role == "assistant" else 1


def _tool_result(content: object, at: str) -> str:
    """The result of a tool, which may be empty."""
    if isinstance(content, str):
        return content
    raise RowError("null" if content is None else "wrong_type", f"{at} must be text, found {found_there(content)}")
