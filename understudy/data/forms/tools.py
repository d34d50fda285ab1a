"""Tools: functions that a row offers and calls, brought into the one form that chat templates read."""

import json
from collections.abc import Mapping
from typing import Any

from understudy.data.forms.json_rows import RepeatedKeyError, parse_json
from understudy.data.forms.values import found_there, is_nothing
from understudy.data.records import RowError


def offered_tools(value: object, column: str) -> list[dict[str, Any]]:
    """The functions of a `tools` column, each as `{"type": "function", "function": {...}}`; a list or JSON text.

    Raises:
        RowError: it is no list of functions with names.
    """
    if is_nothing(value):
        return []
    listed = _parsed(value, column)
    if not isinstance(listed, list | tuple):
        raise RowError("wrong_type", f"{column} must be a list of functions, found {found_there(listed)}")
    return [_offered(one, f"{column}.{number}") for number, one in enumerate(listed)]


def called_tools(value: object, at: str) -> list[dict[str, Any]]:
    """The calls of an answer, in OpenAI's form but with `arguments` as an object, which chat templates expect.

    Raises:
        RowError: a call has no name, or arguments that are no object.
    """
    calls = _parsed(value, at)
    listed = list(calls) if isinstance(calls, list | tuple) else [calls]
    if not listed:
        raise RowError("wrong_type", f"{at} must be a call with name and arguments, found {found_there(calls)}")
    return [_called(call, at) for call in listed]


def _offered(one: object, at: str) -> dict[str, Any]:
    function = one.get("function", one) if isinstance(one, Mapping) else one
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError("wrong_type", f"{at} must be a function with a name, found {found_there(function)}")
    return {"type": "function", "function": _without_nulls({k: v for k, v in function.items() if k != "type"})}


def _called(call: object, at: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else call
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError("wrong_type", f"{at} must be a call with name and arguments, found {found_there(function)}")
    arguments = function.get("arguments", function.get("parameters"))
    arguments = {} if is_nothing(arguments) else _parsed(arguments, f"{at}.arguments")
    if not isinstance(arguments, Mapping):
        raise RowError("wrong_type", f"{at}.arguments must be an object, found {found_there(arguments)}")
    made: dict[str, Any] = {
        "type": "function",
        "function": {"name": function["name"], "arguments": _without_nulls(arguments)},
    }
    return {"id": str(call["id"]), **made} if isinstance(call, Mapping) and call.get("id") else made


def _parsed(value: object, at: str) -> object:
    """JSON text as what it says, everything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except RepeatedKeyError as error:
        raise RowError("repeated_key", f"{at}: {error}; keep the one that is meant") from None
    except (json.JSONDecodeError, ValueError, RecursionError):
        raise RowError("wrong_type", f"{at} must be JSON, found text that is none") from None


def _without_nulls(value: Any) -> Any:
    """The value without the nulls that Parquet and Arrow put where a row lacks another row's key."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list | tuple) else value
