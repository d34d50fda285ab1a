"""This installation's votes, counted from the database and kept up to date."""

from datetime import datetime, timedelta

from sqlalchemy import Engine, Select, func, select
from sqlalchemy.orm import Session

from arena.votes.cast import counted
from arena.votes.counts import VoteCounts
from arena.votes.table import Cast, VoteTable, lean
from understudy.tables import BattleRow, VoteRow

OVERLAP = timedelta(minutes=1)
"""How far back a refresh looks again, for votes that were written by another process with an earlier time."""
SHOWN = 12
"""Characters of a revision that tell it apart."""


def arena_votes(engine: Engine, since: datetime | None = None) -> tuple[VoteTable, list[tuple[str, datetime]]]:
    """All votes that count (since that moment), oldest first, and each one's battle and time."""
    with Session(engine) as db:
        rows = db.execute(_query(since)).all()
    casts = [
        Cast(
            *contestants(row.left, row.left_revision, row.right, row.right_revision),
            row.verdict,
            row.category,
            row.session,
            lean(row.left_length, row.right_length),
        )
        for row in rows
    ]
    return VoteTable.of(casts), [(row.battle, row.at) for row in rows]


class ArenaCounts:
    """The counts of all votes in the database; only new votes are read again."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._start()

    def refresh(self) -> VoteCounts:
        """The counts with every vote that is in the database now.

        Votes that came with an older time (a restored export) or that were deleted are noticed by their number, and
        then everything is counted anew.
        """
        before = self._there()
        self._read()
        if not before <= self.counts.votes <= self._there():
            self._start()
            self._read()
        return self.counts

    def _there(self) -> int:
        with Session(self._engine) as db:
            return db.scalar(select(func.count()).select_from(VoteRow).where(counted())) or 0

    def _start(self) -> None:
        self.counts = VoteCounts()
        self._latest: datetime | None = None
        self._recent: dict[str, datetime] = {}

    def _read(self) -> None:
        since = self._latest - OVERLAP if self._latest else None
        votes, marks = arena_votes(self._engine, since)
        fresh = [number for number, (battle, _) in enumerate(marks) if battle not in self._recent]
        self.counts.add(votes.only(fresh))
        if marks:
            self._latest = max(at for _, at in marks)
            self._recent = {battle: at for battle, at in marks if at >= self._latest - OVERLAP}


def _query(since: datetime | None) -> Select:
    query = (
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
            func.length(BattleRow.left_text).label("left_length"),
            func.length(BattleRow.right_text).label("right_length"),
        )
        .join(BattleRow, BattleRow.id == VoteRow.battle)
        .where(counted())
        .order_by(VoteRow.at, VoteRow.battle)
    )
    return query if since is None else query.where(VoteRow.at >= since)


def contestants(left: str, left_revision: str | None, right: str, right_revision: str | None) -> tuple[str, str]:
    """Names; two revisions of one persona are two contestants, `persona@revision`."""
    if left != right:
        return left, right
    return f"{left}@{(left_revision or '')[:SHOWN]}", f"{right}@{(right_revision or '')[:SHOWN]}"
