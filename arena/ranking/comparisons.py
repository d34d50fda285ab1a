"""Decisive votes and ties between chosen contestants, as the rows that a rating is fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from arena.votes.counts import BOTH_BAD, NO_LEAN, Cells, distinct

OUTCOMES = 3
"""Left won, right won, tie: columns of `Comparisons.outcomes`. "Both bad" prefers nobody and is counted apart."""

MOST_NUMBERS = 8_000_000
"""Rows times contestants."""


@dataclass(frozen=True)
class Comparisons:
    """Rows of (left, right, lean) with how often each outcome was seen."""

    contestants: tuple[str, ...]
    left: np.ndarray
    right: np.ndarray
    lean: np.ndarray
    """0 in every row unless lengths were asked for."""
    outcomes: np.ndarray
    row: np.ndarray
    """Each cell's row, -1 for a cell that takes no part."""
    cells: Cells

    @property
    def votes(self) -> int:
        return int(self.outcomes.sum())

    @property
    def groups(self) -> np.ndarray:
        """For each contestant, the number of its group: contestants that chains of votes connect."""
        size = len(self.contestants)
        edges = coo_array((np.ones(len(self.left)), (self.left, self.right)), shape=(size, size))
        return connected_components(edges, directed=False)[1]

    def recounted(self, count: np.ndarray) -> np.ndarray:
        """The outcomes if each cell had been seen `count` times (bootstrap)."""
        used = self.row >= 0
        place = self.row[used] * OUTCOMES + self.cells.verdict[used]
        return np.bincount(place, count[used], len(self.left) * OUTCOMES).reshape(-1, OUTCOMES)


def compare(
    cells: Cells, contestants: Sequence[str], *, category: str | None = None, lengths: bool = False
) -> Comparisons:
    """The votes between `contestants` (all others are left out), in one category or in all.

    With `lengths`, votes on answers of unknown length are left out, and rows have their lean: the mean over votes of
    about the same lean, in coarser steps where there are so many contestants that the rows would not fit in memory.
    """
    codes = np.full(len(cells.contestants), -1)
    for code, name in enumerate(contestants):
        codes[cells.contestants.index(name)] = code
    left, right = codes[cells.left], codes[cells.right]
    used = (left >= 0) & (right >= 0) & (left != right) & (cells.verdict != BOTH_BAD)
    if category is not None:
        used &= np.array([name == category for name in cells.categories])[cells.category]
    if lengths:
        used &= cells.step != NO_LEAN
    size = len(contestants)
    key = (left * size + right)[used]
    if lengths:
        key = _with_lean(key, cells.step[used], size)
    first, inverse = distinct(key)
    rows = len(first)
    row = np.full(len(cells.count), -1)
    row[used] = inverse
    count = cells.count[used]
    lean = np.zeros(rows)
    if lengths:
        lean = np.bincount(inverse, cells.lean[used] * count, rows) / np.bincount(inverse, count, rows)
    outcomes = np.bincount(inverse * OUTCOMES + cells.verdict[used], count, rows * OUTCOMES)
    return Comparisons(
        contestants=tuple(contestants),
        left=left[used][first],
        right=right[used][first],
        lean=lean,
        outcomes=outcomes.reshape(-1, OUTCOMES),
        row=row,
        cells=cells,
    )


def _with_lean(pair: np.ndarray, step: np.ndarray, size: int) -> np.ndarray:
    width = 1
    while True:
        key = pair * (NO_LEAN + 1) + step // width
        if width > NO_LEAN or len(distinct(key)[0]) * size <= MOST_NUMBERS:
            return key
        width *= 2
