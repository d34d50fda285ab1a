"""This installation's votes, counted from the database and kept up to date.

What was counted is kept in the database, too, with how far it was read, so that a start goes on from there.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, exists, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute, Session

from arena.votes.counts import VoteCounts
from arena.votes.kept_counts import Kept, Mark, keep_counts, kept_counts
from arena.votes.table import VoteTable, leans
from arena.votes.votes import IS_SUSPECT, counted
from understudy.registry.database import one_moment
from understudy.registry.tables import BattleRow, VoteRow, WithdrawalRow

log = logging.getLogger("arena.votes")

OVERLAP = timedelta(minutes=1)
"""How far back a refresh looks again, for votes that were written by another process with an earlier time."""
SHOWN = 12
"""Characters of a revision that tell it apart."""
PORTION = 20_000
"""Votes that are in memory at a time while they are counted."""
KEEP = 10_000, 1.02
"""Counts are kept from so many votes on, and again when they have grown by that factor."""


def arena_votes(engine: Engine) -> VoteTable:
    """All votes that count, oldest first."""
    with Session(engine) as db:
        return _table(db.execute(_query(counted())).tuples().all())


class ArenaCounts:
    """The counts of all votes in the database; only new votes and withdrawals are read again."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: Kept | None = None
        self._kept_votes = 0

    @property
    def counts(self) -> VoteCounts:
        """As of the last refresh."""
        return self._kept.counts if self._kept else VoteCounts()

    def refresh(self) -> VoteCounts:
        """The counts with every vote that is in the database now.

        Votes that came with an older time (a restored export) or that were deleted are noticed by their number, and
        then everything is counted anew.
        """
        with one_moment(self._engine) as db:
            found = self._kept or self._remembered(db)
            _read(db, found)
            if found.counts.votes != _there(db):
                found = Kept()
                _read(db, found)
        self._kept = found
        self._keep(found)
        return found.counts

    def _remembered(self, db: Session) -> Kept:
        found = kept_counts(db) or Kept()
        self._kept_votes = found.counts.votes
        return found

    def _keep(self, found: Kept) -> None:
        least, growth = KEEP
        if found.counts.votes < max(least, growth * self._kept_votes):
            return
        try:
            keep_counts(self._engine, found)
        except SQLAlchemyError as error:  # the next start takes longer, and that is all
            log.warning("what was counted is not kept: %s", type(error).__name__)
        self._kept_votes = found.counts.votes


def _there(db: Session) -> int:
    """Votes that count: all of them, less the few that do not, which have indices of their own."""
    votes, withdrawals = (select(func.count()).select_from(table) for table in (VoteRow, WithdrawalRow))
    suspect = votes.where(IS_SUSPECT, ~exists().where(WithdrawalRow.battle == VoteRow.battle))
    return (db.scalar(votes) or 0) - (db.scalar(withdrawals) or 0) - (db.scalar(suspect) or 0)


def _read(db: Session, kept: Kept) -> None:
    """Adds the votes that are new, withdrawn or not, and removes those whose withdrawal is new."""
    rows = _query(VoteRow.suspect == "", *_since(VoteRow.at, kept.votes))
    for portion in db.execute(rows.execution_options(yield_per=PORTION)).partitions():
        fresh = kept.votes.fresh((row.battle, row.at) for row in portion)
        kept.counts.add(_table([row for row in portion if row.battle in fresh]))
        kept.votes.advance(fresh, OVERLAP)
    withdrawals = select(WithdrawalRow.battle, WithdrawalRow.at).where(*_since(WithdrawalRow.at, kept.withdrawals))
    gone = kept.withdrawals.fresh(db.execute(withdrawals.order_by(WithdrawalRow.at)).tuples())
    for some in _portions(list(gone)):
        rows = db.execute(_query(VoteRow.suspect == "", VoteRow.battle.in_(some))).tuples().all()
        kept.counts.remove(_table(rows))
    kept.withdrawals.advance(gone, OVERLAP)


def _since(column: InstrumentedAttribute[datetime], mark: Mark) -> list[ColumnElement[bool]]:
    return [] if mark.latest is None else [column >= mark.latest - OVERLAP]


def _portions(battles: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    for start in range(0, len(battles), size):
        yield battles[start : start + size]


def _query(*conditions: ColumnElement[bool]) -> "Select[*tuple[Any, ...]]":
    return (
        select(
            VoteRow.battle,
            VoteRow.at,
            VoteRow.session,
            VoteRow.verdict,
            BattleRow.left,
            BattleRow.right,
            BattleRow.left_revision,
            BattleRow.right_revision,
            BattleRow.category,
            func.length(BattleRow.left_text),
            func.length(BattleRow.right_text),
        )
        .join(BattleRow, BattleRow.id == VoteRow.battle)
        .where(*conditions)
        .order_by(VoteRow.at, VoteRow.battle)
    )


def _table(rows: Iterable[Sequence[Any]]) -> VoteTable:
    """Rows of `_query` as votes."""
    columns = list(zip(*rows, strict=True)) or [()] * 11
    _, _, voter, verdict, left, right, left_revision, right_revision, category, left_length, right_length = columns
    names = [contestants(*sides) for sides in zip(left, left_revision, right, right_revision, strict=True)]
    left, right = zip(*names, strict=True) if names else ((), ())
    return VoteTable.of_columns(left, right, verdict, category, voter, leans(left_length, right_length))


def contestants(left: str, left_revision: str | None, right: str, right_revision: str | None) -> tuple[str, str]:
    """Names; two revisions of one persona are two contestants, `persona@revision`."""
    if left != right:
        return left, right
    return f"{left}@{(left_revision or '')[:SHOWN]}", f"{right}@{(right_revision or '')[:SHOWN]}"
