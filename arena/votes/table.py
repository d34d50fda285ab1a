"""Votes in columns, from wherever they come, ready to be counted."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from arena.votes.votes import VERDICTS

LEFT, RIGHT, TIE, BOTH_BAD = range(4)
"""Codes of `arena.votes.votes.VERDICTS`, in their order."""
UNCATEGORISED = ""
"""The category of a vote that has none."""


class CountedVote(NamedTuple):
    """One vote and what the figures need to know of its battle."""

    left: str
    right: str
    verdict: str
    category: str = UNCATEGORISED
    voter: str = ""
    """Whoever voted, in whatever form tells voters apart; "" when nobody knows."""
    lean: float = math.nan
    """(length of left - length of right) / (sum of both), -1 to 1; NaN when a length is not known."""


@dataclass(frozen=True)
class VoteTable:
    """Votes, oldest first. Contestants, categories and voters are codes: positions in the tuples of names."""

    contestants: tuple[str, ...]
    categories: tuple[str, ...]
    voters: tuple[str, ...]
    left: np.ndarray
    right: np.ndarray
    verdict: np.ndarray
    """Codes of `VERDICTS`."""
    category: np.ndarray
    voter: np.ndarray
    """-1 when nobody knows."""
    lean: np.ndarray

    def __len__(self) -> int:
        return len(self.left)

    @classmethod
    def of(cls, votes: Iterable[CountedVote]) -> "VoteTable":
        """The table of these votes, in their order."""
        columns: list[tuple] = list(zip(*votes, strict=True)) or [()] * len(CountedVote._fields)
        left, right, verdict, category, voter, lean = columns
        return cls.of_columns(left, right, verdict, category, voter, np.array(lean, dtype=float))

    @classmethod
    def of_columns(
        cls,
        left: Sequence[str],
        right: Sequence[str],
        verdict: Sequence[str],
        category: Sequence[str],
        voter: Sequence[str],
        lean: np.ndarray,
    ) -> "VoteTable":
        """The table of votes that are in columns already; each is as in `CountedVote`."""
        contestants = {name: code for code, name in enumerate(dict.fromkeys((*left, *right)))}
        categories = {name: code for code, name in enumerate(dict.fromkeys(category))}
        voters = {name: code for code, name in enumerate(dict.fromkeys(filter(None, voter)))}
        verdicts = {name: code for code, name in enumerate(VERDICTS)}
        return cls(
            contestants=tuple(contestants),
            categories=tuple(categories),
            voters=tuple(voters),
            left=_codes(left, contestants),
            right=_codes(right, contestants),
            verdict=_codes(verdict, verdicts),
            category=_codes(category, categories),
            voter=_codes(voter, {**voters, "": -1}),
            lean=lean,
        )

    def only(self, rows: Sequence[int]) -> "VoteTable":
        """These rows of it."""
        columns = ("left", "right", "verdict", "category", "voter", "lean")
        chosen = np.array(rows, dtype=np.int64)
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})


def lean(left: float | None, right: float | None) -> float:
    """How much longer the left answer is, -1 to 1: (left - right) / (left + right), whatever the unit.

    NaN when a length is not known; 0 when both answers are empty.
    """
    if left is None or right is None:
        return math.nan
    return (left - right) / (left + right) if left + right else 0.0


def leans(left: Sequence[float | None], right: Sequence[float | None]) -> np.ndarray:
    """`lean` of many."""
    one, other = np.array(left, dtype=float), np.array(right, dtype=float)
    both = one + other
    return np.where(both == 0, 0.0, (one - other) / np.where(both == 0, 1.0, both))


def _codes(values: Sequence[str], codes: dict[str, int]) -> np.ndarray:
    return np.fromiter((codes[value] for value in values), dtype=np.int64, count=len(values))
