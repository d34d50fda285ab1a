"""Votes as counts: everything the leaderboard needs, in a size that does not grow with the votes.

A cell is (left, right, verdict, category, length lean in steps of 1/20); every score is computed from the cells. The
mean lean of each cell is kept, so that the steps cost no accuracy that matters. Which voter is in which cell is kept
besides, because the votes of one voter are not independent.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from arena.votes.table import VoteTable
from understudy.errors import MeasurementError

STEPS = 20
"""Steps of the lean from 0 to 1."""
NO_LEAN = 63
"""Code of "lengths not known"."""
_BITS = {"left": 12, "right": 12, "category": 10, "step": 6, "verdict": 2}
MOST_CONTESTANTS = 1 << _BITS["left"]
MOST_CATEGORIES = 1 << _BITS["category"]
_VOTER_SHIFT = 31


@dataclass(frozen=True)
class Cells:
    """One entry a cell; names by position in `contestants` and `categories`."""

    contestants: tuple[str, ...]
    categories: tuple[str, ...]
    left: np.ndarray
    right: np.ndarray
    category: np.ndarray
    step: np.ndarray
    verdict: np.ndarray
    lean: np.ndarray
    """Mean over the cell's votes; NaN when lengths are not known."""
    count: np.ndarray
    lone: np.ndarray
    """Those of `count` whose voter is not known: each is a voter of its own."""
    voters: csr_array
    """Votes by voter (row) and cell (column), of the voters that are known."""
    known_voters: int


class VoteCounts:
    """Adds up votes. Adding is cheap, and so is reading the cells, however many votes there were before."""

    def __init__(self) -> None:
        self._contestants: dict[str, int] = {}
        self._categories: dict[str, int] = {}
        self._voters: dict[str, int] = {}
        self._cell_of: dict[int, int] = {}
        self._keys = np.empty(0, np.int64)
        self._sums = np.empty((3, 0))
        self._incidence = (np.empty(0, np.int64), np.empty(0))

    @property
    def votes(self) -> int:
        return int(self._sums[0].sum())

    def add(self, votes: VoteTable) -> None:
        """Counts these votes, too.

        Raises:
            MeasurementError: more contestants (4096) or categories (1024) than there is room for; nothing is counted.
        """
        if len(votes):
            self._add(votes, 1.0)

    def _add(self, votes: VoteTable, times: float) -> None:
        contestants, categories, voters = self._admit(votes)
        known = ~np.isnan(votes.lean)
        step = np.full(len(votes), NO_LEAN)
        step[known] = np.rint((votes.lean[known] + 1) * STEPS).astype(np.int64)
        key = _pack(contestants[votes.left], contestants[votes.right], categories[votes.category], step, votes.verdict)
        lean = np.where(known, votes.lean, 0.0)
        lone = (votes.voter < 0).astype(float)
        cell = self._add_cells(key, np.full(len(votes), times), times * lean, times * lone)
        named = votes.voter >= 0
        self._add_voters(voters[votes.voter[named]], cell[named], np.full(int(named.sum()), times))

    def _forget_empty(self) -> None:
        """Cells without votes, and whoever is in no other, are as if they had never been."""
        there = self._sums[0] > 0
        left, right, category, step, verdict = _unpack(self._keys[there])
        names, sorts = list(self._contestants), list(self._categories)
        self._contestants = _kept(self._contestants, np.concatenate([left, right]))
        self._categories = _kept(self._categories, category)
        of_name = np.array([self._contestants.get(name, -1) for name in names], np.int64)
        of_sort = np.array([self._categories.get(name, -1) for name in sorts], np.int64)
        self._keys = _pack(of_name[left], of_name[right], of_sort[category], step, verdict)
        self._sums = self._sums[:, there]
        self._cell_of = {key: at for at, key in enumerate(self._keys.tolist())}
        place = np.cumsum(there) - 1
        keys, times = self._incidence
        used = times > 0
        voter, cell = keys[used] >> _VOTER_SHIFT, keys[used] & ((1 << _VOTER_SHIFT) - 1)
        before = list(self._voters)
        self._voters = _kept(self._voters, voter)
        renamed = np.array([self._voters.get(name, -1) for name in before], np.int64)
        self._incidence = ((renamed[voter] << _VOTER_SHIFT) | place[cell], times[used])

    def merge(self, other: "VoteCounts") -> None:
        """Counts what the other has counted, too. Voters of one name are one voter.

        Raises:
            MeasurementError: as `add`.
        """
        cells = other.cells()
        if not len(cells.count):
            return
        contestants, categories, voters = self._admit(other)
        left, right = contestants[cells.left], contestants[cells.right]
        key = _pack(left, right, categories[cells.category], cells.step, cells.verdict)
        cell = self._add_cells(key, cells.count, other._sums[1], cells.lone)
        incidence = cells.voters.tocoo()
        rows, columns = incidence.coords
        self._add_voters(voters[rows], cell[columns], incidence.data)

    def remove(self, votes: VoteTable) -> None:
        """Counts these no more; they must have been counted."""
        if len(votes):
            self._add(votes, -1.0)
            self._forget_empty()

    def cells(self) -> Cells:
        """What has been counted so far."""
        left, right, category, step, verdict = _unpack(self._keys)
        count, lean, lone = self._sums
        keys, times = self._incidence
        shape = (len(self._voters), len(self._keys))
        return Cells(
            contestants=tuple(self._contestants),
            categories=tuple(self._categories),
            left=left,
            right=right,
            category=category,
            step=step,
            verdict=verdict,
            lean=np.where(step == NO_LEAN, np.nan, lean / count),
            count=count.copy(),
            lone=lone.copy(),
            known_voters=len(self._voters),
            voters=csr_array((times, (keys >> _VOTER_SHIFT, keys & ((1 << _VOTER_SHIFT) - 1))), shape=shape),
        )

    def state(self) -> dict[str, np.ndarray]:
        """Everything, for `restored`."""
        names = [list(self._contestants), list(self._categories), list(self._voters)]
        keys, times = self._incidence
        return {
            "names": np.frombuffer(json.dumps(names).encode(), np.uint8),
            "keys": self._keys,
            "sums": self._sums,
            "steps": np.diff(keys, prepend=0),
            "times": times.astype(np.float32),
        }

    @classmethod
    def restored(cls, state: Mapping[str, np.ndarray]) -> "VoteCounts":
        """The counts of which this is the `state`."""
        counts = cls()
        names = json.loads(state["names"].tobytes())
        counts._contestants, counts._categories, counts._voters = ({n: i for i, n in enumerate(each)} for each in names)
        counts._keys, counts._sums = state["keys"], state["sums"]
        counts._cell_of = {key: at for at, key in enumerate(counts._keys.tolist())}
        counts._incidence = np.cumsum(state["steps"]), state["times"].astype(float)
        return counts

    def _admit(self, votes: "VoteTable | VoteCounts") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Our codes of their contestants, categories and voters."""
        if isinstance(votes, VoteCounts):
            names = (votes._contestants, votes._categories, votes._voters)
        else:
            names = (votes.contestants, votes.categories, votes.voters)
        for known, new, most, what in (
            (self._contestants, names[0], MOST_CONTESTANTS, "contestants"),
            (self._categories, names[1], MOST_CATEGORIES, "categories"),
        ):
            if len(known.keys() | set(new)) > most:
                raise MeasurementError(f"more than {most} {what}; is another column meant?")
        return (
            _register(self._contestants, names[0]),
            _register(self._categories, names[1]),
            _register(self._voters, names[2]),
        )

    def _add_cells(self, key: np.ndarray, count: np.ndarray, lean: np.ndarray, lone: np.ndarray) -> np.ndarray:
        """Adds to the cells of these keys; each one's position."""
        keys, inverse = np.unique(key, return_inverse=True)
        fresh = [one for one in keys.tolist() if one not in self._cell_of]
        self._cell_of.update(zip(fresh, range(len(self._cell_of), len(self._cell_of) + len(fresh)), strict=True))
        self._keys = np.concatenate([self._keys, np.array(fresh, np.int64)])
        self._sums = np.concatenate([self._sums, np.zeros((3, len(fresh)))], axis=1)
        position = np.array([self._cell_of[one] for one in keys.tolist()])
        for total, values in zip(self._sums, (count, lean, lone), strict=True):
            total[position] += np.bincount(inverse, values, len(keys))
        return position[inverse]

    def _add_voters(self, voter: np.ndarray, cell: np.ndarray, times: np.ndarray) -> None:
        keys, inverse = np.unique((voter << _VOTER_SHIFT) | cell, return_inverse=True)
        added = np.bincount(inverse, times, len(keys)) if len(keys) else np.empty(0)
        old, counts = self._incidence
        at = np.searchsorted(old, keys)
        there = np.zeros(len(keys), bool)
        there[at < len(old)] = old[at[at < len(old)]] == keys[at < len(old)]
        counts[at[there]] += added[there]
        self._incidence = (np.insert(old, at[~there], keys[~there]), np.insert(counts, at[~there], added[~there]))


def _kept(names: dict[str, int], codes: np.ndarray) -> dict[str, int]:
    """Those of `names` whose code is among `codes`, in their order, with new codes."""
    used = set(np.unique(codes).tolist())
    return {name: at for at, name in enumerate(name for name, code in names.items() if code in used)}


def _register(known: dict[str, int], names: "tuple[str, ...] | dict[str, int]") -> np.ndarray:
    for name in names:
        known.setdefault(name, len(known))
    return np.array([known[name] for name in names], dtype=np.int64)


def _pack(*fields: np.ndarray) -> np.ndarray:
    key = np.zeros(len(fields[0]), np.int64)
    for values, bits in zip(fields, _BITS.values(), strict=True):
        key = (key << bits) | values
    return key


def _unpack(key: np.ndarray) -> list[np.ndarray]:
    fields: list[np.ndarray] = []
    for bits in reversed(_BITS.values()):
        fields.append(key & ((1 << bits) - 1))
        key = key >> bits
    return fields[::-1]
