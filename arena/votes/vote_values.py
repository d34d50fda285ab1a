"""Columns of a votes file, as pyarrow or Python holds them, and what is common to reading both."""

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

Values: TypeAlias = "list[Any] | pa.Array"


class BadVoteError(ValueError):
    """A row that cannot be understood; the message says why, `row` is its number in its chunk."""

    def __init__(self, row: int, text: str) -> None:
        super().__init__(text)
        self.row = row


def objects(values: Values) -> list:
    """The values as Python's objects."""
    return values if isinstance(values, list) else values.to_pylist()


def taken(values: Values, rows: np.ndarray) -> Values:
    """The values of those rows."""
    if isinstance(values, list):
        return [values[row] for row in rows]
    return values if len(rows) == len(values) else values.take(rows)


def is_empty(value: object) -> bool:
    """Whether there is no value: null, NaN, or a text without a character."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def encode(values: Values) -> tuple[np.ndarray, list]:
    """Each value's code, and the distinct values that codes are positions of."""
    if isinstance(values, list):
        return _encoded(values)
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
