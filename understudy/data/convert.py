"""Conversion: one row of a known schema becomes an example, or is refused with the kind of problem."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from understudy.data.messages import Example
from understudy.data.records import ProblemKind, shown
from understudy.data.schemas import Schema
from understudy.errors import ExamplesError

PLACEHOLDERS = frozenset(
    ["null", "none", "nan", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "<n/a>", "<null>", "<none>", "noinput"]
) | {"<noinput>", "no input", "<no input>"}
"""Words (in any case) that programs write where there is nothing; as a whole text they count as a null."""

ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant"}
"""Names of the speakers in ShareGPT data, where they differ from ours."""


class RowError(ExamplesError):
    """One row cannot be an example."""

    def __init__(self, kind: ProblemKind, text: str) -> None:
        super().__init__(text)
        self.kind: ProblemKind = kind


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
    unknown = [name for name in row if name not in schema.columns] if strict else []
    if unknown:
        text = f"{shown(unknown[0])}: Extra inputs are not permitted; see the row format in README.md"
        raise RowError("unknown_column", text)
    emptied = [name for name in (schema.context, schema.system) if name and name in row and is_null(row[name])]
    messages = _turns(row.get(schema.turns), schema.turns, emptied) if schema.turns else _pair(row, schema)
    carried: dict[str, object] = {}
    for field, column in schema.carried:
        value = row.get(column)
        if column in row and is_null(value):
            emptied.append(column)
        elif strict or isinstance(value, str):
            carried[field] = value
    example = _validated({"messages": messages, **carried})
    _check_turns(example)
    return Converted(example, tuple(emptied))


def is_null(value: object) -> bool:
    """Whether a value says that there is none: None, NaN, or a placeholder such as "null" or "N/A"."""
    if isinstance(value, str):
        return value.strip().casefold() in PLACEHOLDERS
    return value is None or (isinstance(value, float) and value != value)


def _pair(row: Mapping[str, object], schema: Schema) -> list[dict[str, str]]:
    prompt = _required(row.get(schema.prompt), schema.prompt, "empty")
    completion = _required(row.get(schema.completion), schema.completion, "blank_answer")
    context = _optional(row, schema.context)
    system = _optional(row, schema.system)
    messages = [{"role": "system", "content": system}] if system else []
    asked = f"{prompt}\n\n{context}" if context else prompt
    return [*messages, {"role": "user", "content": asked}, {"role": "assistant", "content": completion}]


def _required(value: object, name: str, if_blank: ProblemKind) -> str:
    kind: ProblemKind = "null" if is_null(value) else "wrong_type" if not isinstance(value, str) else if_blank
    if isinstance(value, str) and value.strip() and kind != "null":
        return value
    raise RowError(kind, f"{shown(name)} must be text that is not empty, found {_found(value)}")


def _optional(row: Mapping[str, object], column: str, prefix: str = "") -> str:
    """The text of a column that may be missing, null or blank; `prefix` names what `row` is part of."""
    value = row.get(column) if column else None
    if is_null(value):
        return ""
    if not isinstance(value, str):
        raise RowError("wrong_type", f"{prefix}{shown(column)} must be text or nothing, found {_found(value)}")
    return value if value.strip() else ""


def _found(value: object) -> str:
    if isinstance(value, str) and value.strip():
        return f"the placeholder {shown(value.strip())!r}" if is_null(value) else "text"
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)[:30]
    names = {list: "a list", tuple: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _turns(value: object, column: str, emptied: list[str]) -> list[dict[str, object]]:
    if not isinstance(value, list):
        kind: ProblemKind = "null" if is_null(value) else "wrong_type"
        shape = "role and content" if column == "messages" else "from and value, or role and content"
        raise RowError(kind, f"{shown(column)} must be a list of objects with {shape}, found {_found(value)}")
    messages = []
    for number, entry in enumerate(value):
        at = f"{shown(column)}.{number}"
        if not isinstance(entry, dict):
            raise RowError("wrong_type", f"{at} must be an object with role and content, found {_found(entry)}")
        message = _message(entry, at, last=number == len(value) - 1)
        if message is None:
            emptied.append(at)
        else:
            messages.append(message)
    return messages


def _message(entry: dict, at: str, *, last: bool) -> dict[str, object] | None:
    """One message in our words, or None for a system message without text."""
    who, what = ("from", "value") if "from" in entry and "role" not in entry else ("role", "content")
    more = [name for name in entry if name not in (who, what) and entry[name] is not None]
    if more:
        raise RowError("wrong_type", f"{at}.{shown(more[0])}: Extra inputs are not permitted; only {who} and {what}")
    name = entry.get(who)
    role = ROLES.get(name, name) if isinstance(name, str) else name
    if role not in ("system", "user", "assistant"):
        also = " (ShareGPT: system, human or gpt)" if who == "from" else ""
        raise RowError("wrong_type", f"{at}.{who}: Input should be 'system', 'user' or 'assistant'{also}")
    if role == "system":
        content = _optional(entry, what, f"{at}.")
        return {"role": role, "content": content} if content else None
    text = entry.get(what)
    if last and role == "assistant" and isinstance(text, str) and not text.strip():
        raise RowError("blank_answer", f"{at}: the assistant's answer is blank; write it or remove the row")
    return {"role": role, "content": _required(text, f"{at}.{what}", "empty")}


def _validated(fields: dict[str, object]) -> Example:
    try:
        return Example.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise RowError("wrong_type", f"{at}: {first['msg']}; see the row format in README.md") from None


def _check_turns(example: Example) -> None:
    roles = [m.role for m in example.messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    expected = ["user", "assistant"] * (len(turns) // 2)
    if not turns or turns != expected:
        found = ", ".join(roles[:8]) or "nothing"
        raise RowError(
            "bad_turns",
            "messages must be an optional system, then user and assistant in turn, "
            f"ending with the assistant; found {found}{', …' if len(roles) > 8 else ''}",
        )
