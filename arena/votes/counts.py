"""Votes as counts: one grouped query over the database, and the cells from which every score is computed.

A cell is (left, right, verdict, category, length lean in steps of 1/20). The mean lean of each cell is kept, so that
the steps cost no accuracy that matters. Which voter is in which cell is kept besides, because the votes of one voter
are not independent.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from sqlalchemy import ColumnElement, Engine, Float, Integer, Select, case, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from arena.votes.votes import COUNTS, IS_SUSPECT, IS_WITHDRAWN, VERDICTS, select_votes
from understudy.errors import MeasurementError
from understudy.registry.adapters import SHORT
from understudy.registry.database import one_moment
from understudy.registry.tables import BattleRow, VoteRow, WithdrawalRow, now

LEFT, RIGHT, TIE, BOTH_BAD = range(4)
"""Codes of `arena.votes.votes.VERDICTS`, in their order."""
UNCATEGORISED = ""
"""The category of a vote that has none."""
STEPS = 20
"""Steps of the lean from 0 to 1."""
NO_LEAN = 63
"""Code of "lengths not known"."""
MOST = {"contestants": 4096, "categories": 1024}
"""How many there is room for."""
OVERLAP = timedelta(minutes=1)
"""How far back a refresh looks again, for votes that another process writes with an earlier time."""
PORTION = 20_000
"""Groups that are in memory as rows at a time."""
FEW_KEYS = 1 << 23
"""Keys up to this number are told apart by a table of all of them."""


class CountedVote(NamedTuple):
    """One vote, or several alike, and what the figures need to know of its battle."""

    left: str
    right: str
    verdict: str
    category: str = UNCATEGORISED
    voter: str = ""
    """Anything that tells voters apart; "" when the voter is not known."""
    lean: float = math.nan
    """(length of left - length of right) / (sum of both), -1 to 1; NaN when a length is not known."""
    times: int = 1
    """How many such votes there are."""


@dataclass(frozen=True)
class VoteTable:
    """Votes in columns. Contestants, categories and voters are codes: positions in the tuples of names."""

    contestants: tuple[str, ...]
    categories: tuple[str, ...]
    voters: tuple[str, ...]
    left: np.ndarray
    right: np.ndarray
    verdict: np.ndarray
    """Codes of `VERDICTS`."""
    category: np.ndarray
    voter: np.ndarray
    """-1 when the voter is not known."""
    lean: np.ndarray
    """Mean over the row's votes; NaN when lengths are not known."""
    step: np.ndarray
    """The lean of each of the row's votes in steps, as `steps_of` has it."""
    times: np.ndarray
    """Votes that the row stands for; negative for votes that are to be subtracted."""

    @property
    def votes(self) -> int:
        return int(self.times.sum())

    @classmethod
    def of(cls, votes: Iterable[CountedVote]) -> "VoteTable":
        """The table of these votes, in their order."""
        return Codebook().table(list(zip(*votes, strict=True)) or [()] * len(CountedVote._fields))


@dataclass(frozen=True)
class Codebook:
    """Names and their codes. Codes never change, so tables of one codebook can be put one after the other."""

    contestants: dict[str, int] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)
    voters: dict[str, int] = field(default_factory=dict)

    def table(self, columns: Sequence[Sequence[Any]]) -> VoteTable:
        """Votes in columns, each as in `CountedVote`, as a table."""
        left, right, verdict, category, voter, lean, times = columns
        return self._named(
            left=_codes(left, self.contestants),
            right=_codes(right, self.contestants),
            verdict=np.array([_VERDICT_CODES[one] for one in verdict], np.int64),
            category=_codes(category, self.categories),
            voter=np.array([self.voters.setdefault(one, len(self.voters)) if one else -1 for one in voter], np.int64),
            lean=(leans := np.array(lean, float)),
            step=steps_of(leans),
            times=np.array(times, np.int64),
        )

    def joined(self, tables: Sequence[VoteTable]) -> VoteTable:
        """Tables of this codebook as one."""
        return self._named(**{name: np.concatenate([getattr(one, name) for one in tables]) for name in COLUMNS})

    def _named(self, **columns: np.ndarray) -> VoteTable:
        return VoteTable(tuple(self.contestants), tuple(self.categories), tuple(self.voters), **columns)


COLUMNS = ("left", "right", "verdict", "category", "voter", "lean", "step", "times")
_VERDICT_CODES = {name: code for code, name in enumerate(VERDICTS)}


def _codes(values: Sequence[str], codes: dict[str, int]) -> np.ndarray:
    return np.array([codes.setdefault(value, len(codes)) for value in values], np.int64)


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


def count_cells(table: VoteTable) -> Cells:
    """Adds up the rows of each cell; cells, voters and names without votes are left out.

    Raises:
        MeasurementError: there are more contestants or categories than `MOST`.
    """
    for what, most in MOST.items():
        if len(getattr(table, what)) > most:
            raise MeasurementError(f"more than {most} {what}; is another column meant?")
    key = table.left.astype(np.int64) * len(table.contestants) + table.right
    key = key * max(1, len(table.categories)) + table.category
    first, cell = distinct((key << 8) | (table.step << 2) | table.verdict)
    lean = np.where(table.step == NO_LEAN, 0.0, table.lean)
    size, named = len(first), table.voter >= 0
    count = np.bincount(cell, table.times, size)
    total_lean = np.bincount(cell, table.times * lean, size)
    lone = np.bincount(cell[~named], table.times[~named], size)
    shape = (len(table.voters), size)
    voters = csr_array((table.times[named].astype(float), (table.voter[named], cell[named])), shape=shape)
    voters.eliminate_zeros()
    there = np.flatnonzero(count)
    row, voted = first[there], np.flatnonzero(np.diff(voters.indptr))
    contestants, left, right = _used(table.contestants, table.left[row], table.right[row])
    categories, category = _used(table.categories, table.category[row])
    return Cells(
        contestants=contestants,
        categories=categories,
        left=left,
        right=right,
        category=category,
        step=table.step[row],
        verdict=table.verdict[row],
        lean=np.where(table.step[row] == NO_LEAN, np.nan, total_lean[there] / count[there]),
        count=count[there],
        lone=lone[there],
        voters=voters[voted][:, there],
        known_voters=len(voted),
    )


class ArenaCounts:
    """The counts of all votes in the database. A refresh reads what is new since the last vote that it knows.

    Votes and withdrawals older than `OVERLAP` are read once and kept; younger ones are read at every refresh. Where
    the sums are not the numbers in the database (an export was restored, or votes were deleted), all are read again.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._start_over()
        self._state: tuple[int, int, datetime | None] = (0, 0, None)
        self._cells = count_cells(self._settled)

    def refresh(self) -> Cells:
        """The cells with every vote that is in the database now."""
        with one_moment(self._engine) as db:
            state = _state(db)
            if state == self._state:
                return self._cells
            *expected, last = state
            table = self._read(db, last)
            if [table.times.clip(min=0).sum(), -table.times.clip(max=0).sum()] != expected:
                self._start_over()
                table = self._read(db, last)
        self._state, self._cells = state, count_cells(table)
        return self._cells

    def _start_over(self) -> None:
        self._codebook = Codebook()
        self._settled = VoteTable.of([])
        self._until: datetime | None = None

    def _read(self, db: Session, last: datetime | None) -> VoteTable:
        """All votes, the withdrawn ones with their opposite; `last` is the time of the last one."""
        until = min(last or now(), now()) - OVERLAP
        if self._until is None or until > self._until:
            self._settled = self._codebook.joined([self._settled, *self._changes(db, self._until, until)])
            self._until = until
        return self._codebook.joined([self._settled, *self._changes(db, self._until, None)])

    def _changes(self, db: Session, after: datetime | None, until: datetime | None) -> Iterator[VoteTable]:
        """Votes of that time, and the votes that were withdrawn in that time, to be subtracted."""
        query = grouped_votes()
        withdrawn = query.join(WithdrawalRow, WithdrawalRow.battle == VoteRow.battle)
        for rows, at, sign in ((query, VoteRow.at, 1), (withdrawn, WithdrawalRow.at, -1)):
            if after is not None:
                rows = rows.where(at > after)
            if until is not None:
                rows = rows.where(at <= until)
            for portion in db.execute(rows.execution_options(yield_per=PORTION)).partitions():
                *columns, step = zip(*portion, strict=True)
                table = self._codebook.table(columns)
                yield replace(table, step=np.array(step), times=sign * table.times)


def grouped_votes() -> "Select[*tuple[Any, ...]]":
    """Votes that are not suspect by cell and voter, each group as in `CountedVote` and with its step."""
    left, right = (func.length(text, type_=Integer) for text in (BattleRow.left_text, BattleRow.right_text))
    both = left + right
    lean = case((both > 0, cast(left - right, Float) / both), else_=0.0)
    step = case((both > 0, (4 * STEPS * left + both) // (2 * both)), else_=STEPS)
    plain = (VoteRow.verdict, BattleRow.category, VoteRow.session)
    return (
        select(
            _named(BattleRow.left, BattleRow.left_revision).label("one"),
            _named(BattleRow.right, BattleRow.right_revision).label("other"),
            *plain,
            func.avg(lean),
            func.count(),
            step.label("step"),
        )
        .join(BattleRow, BattleRow.id == VoteRow.battle)
        .where(VoteRow.suspect == "")
        .group_by("one", "other", *plain, "step")
    )


def arena_votes(engine: Engine) -> VoteTable:
    """All votes of the database that count, oldest first, one a row."""
    return VoteTable.of(
        CountedVote(*vote.contestants, vote.verdict, vote.category, vote.voter, lean(*vote.lengths))
        for vote in select_votes(engine, COUNTS)
    )


def lean(left: float | None, right: float | None) -> float:
    """How much longer the left answer is, -1 to 1: (left - right) / (left + right), whatever the unit.

    NaN when a length is not known; 0 when both answers are empty.
    """
    if left is None or right is None:
        return math.nan
    return (left - right) / (left + right) if left + right else 0.0


def steps_of(lean: np.ndarray) -> np.ndarray:
    """Leans in steps of 1/20, 0 to 40; `NO_LEAN` where the lean is not known."""
    known = ~np.isnan(lean)
    return np.where(known, np.rint((np.where(known, lean, 0.0) + 1) * STEPS), NO_LEAN).astype(np.int64)


def distinct(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One position of each distinct key, and for every key the number of its own (`np.unique`, without its sort)."""
    if not len(key) or key.max() > FEW_KEYS:
        return np.unique(key, return_index=True, return_inverse=True)[1:]
    first = np.full(key.max() + 1, -1, np.int32)
    first[key] = np.arange(len(key), dtype=np.int32)
    there = first >= 0
    return first[there], (np.cumsum(there, dtype=np.int32) - 1)[key]


def _state(db: Session) -> tuple[int, int, datetime | None]:
    """The number of votes, of those how many were withdrawn, and the time of the last vote; no suspect votes.

    Suspect votes are few and have an index of their own, so they are subtracted.
    """
    counts = [
        select(func.count()).select_from(VoteRow),
        select(func.count()).select_from(WithdrawalRow),
        select(func.count()).where(IS_SUSPECT),
        select(func.count()).where(IS_SUSPECT, IS_WITHDRAWN),
    ]
    votes, withdrawn, suspect, both = (db.scalar(query) or 0 for query in counts)
    return votes - suspect, withdrawn - both, db.scalar(select(func.max(VoteRow.at)))


def _named(contestant: InstrumentedAttribute[str], revision: InstrumentedAttribute[str | None]) -> ColumnElement[str]:
    """The contestant as `arena.votes.votes.Vote.contestants` names it."""
    pinned = contestant + "@" + func.substr(func.coalesce(revision, ""), 1, SHORT)
    return case((BattleRow.left != BattleRow.right, contestant), else_=pinned)


def _used(names: tuple[str, ...], *codes: np.ndarray) -> tuple[tuple[str, ...], *tuple[np.ndarray, ...]]:
    """The names that occur in the codes, and the codes by position among them."""
    used = np.zeros(len(names), bool)
    for column in codes:
        used[column] = True
    place = np.cumsum(used) - 1
    return tuple(name for name, there in zip(names, used, strict=True) if there), *(place[column] for column in codes)
