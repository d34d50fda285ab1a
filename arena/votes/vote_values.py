"""Columns of a votes file, as pyarrow or Python holds them, and what is common to reading both."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class JsonTexts:
    """Values as JSON has them, without repeated keys; parsed when they are needed."""

    texts: list[str]

    def __len__(self) -> int:
        return len(self.texts)


WORDS = ("true", "false", "null")
Values: TypeAlias = "list[Any] | pa.Array | JsonTexts"


class BadVoteError(ValueError):
    """A row that cannot be understood; the message says why, `row` is its number in its chunk."""

    def __init__(self, row: int, text: str) -> None:
        super().__init__(text)
        self.row = row


def each(values: Values) -> Iterable:
    """The values as Python's objects, one by one."""
    if isinstance(values, JsonTexts):
        return map(parsed, values.texts)
    return values if isinstance(values, list) else values.to_pylist()


def objects(values: Values) -> list:
    """The values as Python's objects."""
    return list(each(values))


def parsed(text: str) -> object:
    """The value of a JSON text without white space around it."""
    if text[0] == '"' and "\\" not in text:
        return text[1:-1]
    if text[0] in '"[{' or text in WORDS:
        return json.loads(text)
    return int(text) if text.removeprefix("-").isdigit() else float(text)


def taken(values: Values, rows: np.ndarray) -> Values:
    """The values of those rows."""
    if isinstance(values, list):
        return [values[row] for row in rows]
    if len(rows) == len(values):
        return values
    return JsonTexts([values.texts[row] for row in rows]) if isinstance(values, JsonTexts) else values.take(rows)


def compact(values: Values) -> Values:
    """The same values in less memory, where they are JSON and all numbers, or all texts without escapes."""
    if not isinstance(values, JsonTexts):
        return values
    try:
        import pyarrow as pa
    except ImportError:
        return values
    for of_kind, kind in ((_is_whole, pa.int64()), (_is_decimal, pa.float64()), (_is_plain_text, pa.string())):
        if all(map(of_kind, values.texts)):
            return pa.array(objects(values), kind)
    return values


def _is_whole(text: str) -> bool:
    return len(text) < 18 and text.removeprefix("-").isdigit()


def _is_decimal(text: str) -> bool:
    return "." in text and text[0] in "-0123456789"


def _is_plain_text(text: str) -> bool:
    return text[0] == '"' and "\\" not in text


def is_empty(value: object) -> bool:
    """Whether there is no value: null, NaN, or a text without a character."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def encode(values: Values) -> tuple[np.ndarray, list]:
    """Each value's code, and the distinct values that codes are positions of."""
    if isinstance(values, list):
        return _encoded(values)
    if isinstance(values, JsonTexts):
        return _encoded_texts(values.texts)
    import pyarrow as pa

    if pa.types.is_nested(values.type):
        return _encoded(values.to_pylist())
    plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    found = plain.dictionary_encode(null_encoding="encode")
    return found.indices.to_numpy(zero_copy_only=False), found.dictionary.to_pylist()


def _encoded(values: list) -> tuple[np.ndarray, list]:
    places: dict[object, int] = {}
    distinct = []
    codes = np.empty(len(values), np.int64)
    for row, value in enumerate(values):
        plain = value if isinstance(value, str) else (type(value).__name__, repr(value))
        code = places.setdefault(plain, len(distinct))
        if code == len(distinct):
            distinct.append(value)
        codes[row] = code
    return codes, distinct


class _Places(dict[str, int]):
    """Each text's place among the different ones."""

    def __missing__(self, text: str) -> int:
        place = self[text] = len(self)
        return place


def _encoded_texts(texts: list[str]) -> tuple[np.ndarray, list]:
    places = _Places()
    codes = np.fromiter(map(places.__getitem__, texts), np.int64, len(texts))
    return codes, list(map(parsed, places))
