"""Rows of a votes file that repeat an earlier row exactly: counted and told, never left out."""

from collections.abc import Iterable, Sequence

import numpy as np

from arena.votes.vote_chunks import Chunk
from arena.votes.vote_values import objects, taken

TELLING = ("voter", "order", "left_length", "right_length", "left_text", "right_text")
"""Columns that tell votes apart; without any, equal rows are what one expects."""
IDS = ("id", "uuid", "prompt", "question", "instruction")
FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""An odd number with bits all over: a product with it is a hash of 64 bits."""


def tells_votes_apart(columns: dict[str, str], names: Sequence[str]) -> bool:
    """Whether equal rows are suspicious in a file with these columns."""
    ids = (name.casefold() for name in names)
    return any(name in columns for name in TELLING) or any(name in IDS or name.endswith("_id") for name in ids)


def suspects(row: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """Rows whose votes have the same values in all columns as those of another one."""
    key = np.zeros(len(row), np.uint64)
    for column in columns:
        wide = column.astype(np.float64 if column.dtype.kind == "f" else np.int64)
        key = (key ^ np.ascontiguousarray(wide).view(np.uint64)) * FACTOR
        key ^= key >> np.uint64(29)
    order = np.argsort(key, kind="stable")
    same = key[order][1:] == key[order][:-1]
    alike = np.zeros(len(row), bool)
    alike[order[1:]] |= same
    alike[order[:-1]] |= same
    return np.unique(row[alike])


def count_repeats(chunks: Iterable[Chunk], rows: np.ndarray) -> int:
    """How many of these rows of the file equal, in every column, an earlier one of them."""
    seen: set[tuple[str, ...]] = set()
    repeats = 0
    for chunk in chunks:
        here = rows[(rows >= chunk.first) & (rows < chunk.first + chunk.size)] - chunk.first
        if not len(here):
            continue
        columns = [objects(taken(chunk.columns[name], here)) for name in sorted(chunk.columns)]
        for values in zip(*columns, strict=True):
            known = len(seen)
            seen.add(tuple(map(repr, values)))
            repeats += len(seen) == known
    return repeats
