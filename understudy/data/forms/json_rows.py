"""JSON of one row or one file, in which a key that stands twice is an error and never silently the last one."""

import json
from collections.abc import Iterable
from typing import Any


class RepeatedKeyError(ValueError):
    """An object has a key twice."""


class RepeatedKeys(dict[str, Any]):
    """An object of a file in which a key stands twice; the last value is kept, so that the rest can be read."""

    twice: str = ""
    """The first such key."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON (JSONDecodeError), or an object has a key twice (RepeatedKeyError).
        RecursionError: it is nested too deeply.
    """
    value = parse_marked(text)
    twice = repeated_key(value)
    if twice:
        raise RepeatedKeyError(f"the key {twice!r} stands twice in one object")
    return value


def parse_marked(text: str) -> Any:
    """As `parse_json`, but objects with a key twice become RepeatedKeys, to be found by `repeated_key`."""
    return json.loads(text, object_pairs_hook=_object)


def repeated_key(value: object) -> str:
    """The first key that stands twice in one object, however deep; empty when there is none."""
    pending: list[object] = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, RepeatedKeys):
            return one.twice
        if isinstance(one, dict):
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
    return ""


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    listed = list(pairs)
    made = dict(listed)
    if len(made) == len(listed):
        return made
    seen: set[str] = set()
    marked = RepeatedKeys(made)
    marked.twice = next(name for name, _ in listed if name in seen or seen.add(name))
    return marked
