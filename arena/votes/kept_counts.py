"""Counts of votes as one row of the database, with how far votes and withdrawals were read for them."""

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from arena.votes.counts import VoteCounts
from understudy.registry.tables import TallyRow, now

NAME = "votes-1"
"""Of the row. Another number for another form: a row of the old one is then never read."""


@dataclass
class Mark:
    """How far a table was read, in the order of its times."""

    latest: datetime | None = None
    recent: dict[str, datetime] = field(default_factory=dict)
    """What was read already of the time that is looked at again."""

    def fresh(self, rows: Iterable[tuple[str, datetime]]) -> dict[str, datetime]:
        """Those rows, battle and time, that were not read before."""
        return {battle: at for battle, at in rows if battle not in self.recent}

    def advance(self, read: dict[str, datetime], overlap: timedelta) -> None:
        """Notes that these were read."""
        if not read:
            return
        self.latest = max(read.values()) if self.latest is None else max(self.latest, *read.values())
        oldest = self.latest - overlap
        self.recent = {battle: at for battle, at in (self.recent | read).items() if at >= oldest}


@dataclass
class Kept:
    """Counts, and what is in them."""

    counts: VoteCounts = field(default_factory=VoteCounts)
    votes: Mark = field(default_factory=Mark)
    withdrawals: Mark = field(default_factory=Mark)


def keep_counts(engine: Engine, kept: Kept) -> None:
    """Writes them in place of what was kept before."""
    marks = json.dumps([_written(mark) for mark in (kept.votes, kept.withdrawals)]).encode()
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, marks=np.frombuffer(marks, np.uint8), **kept.counts.state())
    with Session(engine) as db, db.begin():
        db.merge(TallyRow(name=NAME, at=now(), votes=kept.counts.votes, counts=file.getvalue()))


def kept_counts(db: Session) -> Kept | None:
    """What was kept; None when there is nothing that can be read."""
    row = db.get(TallyRow, NAME)
    if row is None:
        return None
    try:
        with np.load(io.BytesIO(row.counts), allow_pickle=False) as file:
            state = dict(file.items())
            votes, withdrawals = (_mark(*each) for each in json.loads(state.pop("marks").tobytes()))
            return Kept(VoteCounts.restored(state), votes, withdrawals)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):  # damaged: everything is counted anew
        return None


def _written(mark: Mark) -> list:
    recent = {battle: at.isoformat() for battle, at in mark.recent.items()}
    return [mark.latest.isoformat() if mark.latest else None, recent]


def _mark(latest: str | None, recent: dict[str, str]) -> Mark:
    times = {battle: datetime.fromisoformat(at) for battle, at in recent.items()}
    return Mark(datetime.fromisoformat(latest) if latest else None, times)
