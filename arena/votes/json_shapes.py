r"""Shapes of JSON values as regular expressions, so that rows that look like earlier ones are not parsed again.

A shape is learned from parsed values: which keys an object has, in their order, and what lists hold. Plain values are
always alike. The pattern of a shape matches only what is JSON, and no object in which a key stands twice; a value that
it does not match may still be JSON, so it says nothing against one. Nothing in a pattern is tried twice.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

DEEPEST = 12
"""Levels of lists and objects that are learned."""
MOST_KINDS = 24
"""Different sequences of keys that are learned in one place."""
TEXT, ESCAPE = r'[^"\\\x00-\x1f]*+', r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
WHOLE = r"-?+(?!0[0-9])[0-9]{1,400}+"
"""Python refuses numbers of very many digits."""
PLAIN = {
    "text": f'"{TEXT}"',
    "escaped": f'"{TEXT}(?:{ESCAPE}{TEXT})*+"',
    "whole": WHOLE,
    "number": rf"{WHOLE}(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+",
    "word": "true|false|null|NaN|-?+Infinity",
}
"""Patterns of values that are neither list nor object."""


@dataclass(frozen=True)
class RowForm:
    """How rows of a file are written; both are patterns."""

    space: str
    """White space that may be anywhere in a row."""
    end: str
    """What follows a row."""


@dataclass(frozen=True)
class Spaces:
    """Patterns of the white space in a row."""

    colon: str
    """Behind a colon."""
    comma: str
    """Behind a comma."""
    other: str
    """Wherever else it may be."""


STYLES = (Spaces(" ", " ", ""), Spaces("", "", ""))
"""How writers of JSON usually do it; those patterns are quick."""


class Shape:
    """What was seen in one place of the rows."""

    def __init__(self, level: int = 0) -> None:
        self._level = level
        self._plain: set[str] = set()
        self._objects: dict[tuple[str, ...], list[Shape]] = {}
        self._items: Shape | None = None

    def learn(self, value: object, text: str) -> bool:
        """Takes up the shape of a value, which is in that text; whether there was anything new."""
        if self._level >= DEEPEST:
            return False
        if isinstance(value, list):
            new = self._items is None
            self._items = self._items or Shape(self._level + 1)
            for item in value:
                new |= self._items.learn(item, text)
            return new
        if not isinstance(value, dict):
            kind = _kind(value, text)
            new = kind not in self._plain
            self._plain.add(kind)
            return new
        names = tuple(value)
        new = names not in self._objects
        if new and len(self._objects) >= MOST_KINDS:
            return False
        parts = self._objects.setdefault(names, [Shape(self._level + 1) for _ in names])
        for part, one in zip(parts, value.values(), strict=True):
            new |= part.learn(one, text)
        return new

    def pattern(self, spaces: Spaces) -> str:
        """A pattern of the values."""
        plain = self._plain - {"whole"} if "number" in self._plain else self._plain
        kinds = [pattern for kind, pattern in PLAIN.items() if kind in plain]
        gap = spaces.other
        if self._items is not None:
            item = self._items.pattern(spaces)
            kinds.append(rf"\[{gap}(?:{item}{gap}(?:,{spaces.comma}{item}{gap})*+)?+\]")
        for names, parts in self._objects.items():
            values = {name: part.pattern(spaces) for name, part in zip(names, parts, strict=True)}
            kinds.append(object_pattern(values, spaces))
        return f"(?>{'|'.join(kinds)})" if kinds else "(?!)"


def object_pattern(values: Mapping[str, str], spaces: Spaces) -> str:
    """A pattern of the object with these keys, in this order, and a pattern of each one's value."""
    gap = spaces.other
    parts = (f"{_key(name)}{gap}:{spaces.colon}{value}{gap}" for name, value in values.items())
    return rf"\{{{gap}{f',{spaces.comma}'.join(parts)}\}}"


def _kind(value: object, text: str) -> str:
    if isinstance(value, str):
        return "text" if f'"{value}"' in text else "escaped"
    if value is None or isinstance(value, bool) or value in (math.inf, -math.inf) or value != value:
        return "word"
    return "whole" if isinstance(value, int) else "number"


def _key(name: str) -> str:
    """Either way in which writers of JSON put a key down."""
    ways = dict.fromkeys(re.escape(json.dumps(name, ensure_ascii=escaped)) for escaped in (False, True))
    return f"(?>{'|'.join(ways)})" if len(ways) > 1 else next(iter(ways))


class RowShape:
    """Rows with the same keys in the same order."""

    def __init__(self, names: tuple[str, ...], wanted: Callable[[str], bool], form: RowForm) -> None:
        self.names = names
        self.wanted = tuple(name for name in names if wanted(name))
        """Those whose values are taken."""
        self._parts = {name: Shape() for name in names}
        self._form = form
        self.row = self._rows = re.compile("(?!)")
        """Matches one row and what follows it."""

    def learn(self, row: Mapping[str, object], text: str) -> bool:
        """Takes up the shapes of a row's values; whether there was anything new. `text` is the row, with its end."""
        new = self.row is self._rows
        for name, part in self._parts.items():
            new |= part.learn(row[name], text)
        if new:
            any_space = Spaces(*[self._form.space] * 3)
            pattern = next((one for one in map(self._pattern, STYLES) if re.match(one, text)), self._pattern(any_space))
            self.row = re.compile(pattern)
            self._rows = re.compile(rf"{pattern}()|((?s:.+))")
        return new

    def _pattern(self, spaces: Spaces) -> str:
        values = {name: part.pattern(spaces) for name, part in self._parts.items()}
        values |= {name: f"({values[name]})" for name in self.wanted}
        return self._form.space + object_pattern(values, spaces) + self._form.space + self._form.end

    def found(self, text: str, start: int, end: int) -> tuple[list[tuple[str, ...]], int]:
        """The JSON of the wanted values of row after row, and more behind it, and the place where the rows end."""
        rows = self._rows.findall(text, start, end)
        rest = rows.pop()[-1] if rows and rows[-1][-1] else ""
        return rows, end - len(rest)

    def written(self, row: Mapping[str, object]) -> tuple[str, ...]:
        """One row as `found` has it."""
        return (*(json.dumps(row[name]) for name in self.wanted), "", "")
