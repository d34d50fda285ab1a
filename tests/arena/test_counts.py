"""Counts of votes: the same scores in whatever way they were added up, and only new votes are read."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, event
from sqlalchemy.orm import Session

from arena.battles.store import BattleAnswer, BattleStore
from arena.ranking.leaderboard import build_leaderboard
from arena.ranking.leaderboard_records import Leaderboard
from arena.ranking.ratings import rate_contestants
from arena.votes.counts import MOST_CONTESTANTS, VoteCounts
from arena.votes.running_counts import ArenaCounts
from arena.votes.table import CountedVote, VoteTable, lean
from arena.votes.votes import cast_vote
from bench.arena.simulated_votes import Crowd, simulate
from understudy.errors import MeasurementError
from understudy.registry.database import open_database
from understudy.registry.tables import BattleRow, VoteRow

CROWD = Crowd((0.0, 0.5, -0.4), position=0.2, length=0.5, wordiness=(0.0, 0.3, 0.0), both_bad=0.1)
VOTES = simulate(CROWD, 600, seed=2, voters=50, categories=3)


def counted(*tables: VoteTable) -> VoteCounts:
    counts = VoteCounts()
    for table in tables:
        counts.add(table)
    return counts


def same(one: Leaderboard, other: Leaderboard) -> None:
    def figures(value: object) -> object:
        if isinstance(value, dict):
            return {key: figures(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [figures(entry) for entry in value]
        return round(value, 6) + 0.0 if isinstance(value, float) else value

    assert figures(one.model_dump()) == figures(other.model_dump())


@pytest.mark.parametrize("size", [1, 7, 250])
def test_votes_may_come_in_any_portions(size: int):
    parts = [VOTES.only(range(start, min(start + size, 600))) for start in range(0, 600, size)]
    same(build_leaderboard(counted(*parts)), build_leaderboard(counted(VOTES)))


def test_two_counts_add_up_whatever_order_their_names_came_in():
    turned = VOTES.only(range(599, 299, -1))
    late = VoteTable.of(
        CountedVote(
            turned.contestants[turned.left[i]],
            turned.contestants[turned.right[i]],
            ("left", "right", "tie", "both_bad")[turned.verdict[i]],
            turned.categories[turned.category[i]],
            turned.voters[turned.voter[i]],
            turned.lean[i],
        )
        for i in range(len(turned))
    )
    counts = counted(VOTES.only(range(300)))
    counts.merge(counted(late))
    same(build_leaderboard(counts), build_leaderboard(counted(VOTES)))


def test_counts_lose_nothing_that_a_fit_to_single_votes_has():
    """Leans are kept in steps; a table where each vote has a cell of its own gives the same coefficients."""
    sharp = replace(VOTES, lean=np.round(VOTES.lean * 20) / 20)
    found = [
        rate_contestants(counted(table).cells(), VOTES.contestants, position=True, length=True)
        for table in (VOTES, sharp)
    ]
    one, other = found
    assert one is not None
    assert other is not None
    assert one.length is not None
    assert other.length is not None
    assert one.length.value == pytest.approx(other.length.value, abs=0.02)
    assert one.length.high - one.length.low == pytest.approx(other.length.high - other.length.low, rel=0.01)


def test_cells_do_not_grow_with_the_votes():
    counts = counted(VOTES)
    before = len(counts.cells().count)
    for _ in range(20):
        counts.add(VOTES)
    assert len(counts.cells().count) == before
    assert counts.votes == 21 * 600


def test_too_many_contestants_are_refused_and_nothing_is_counted():
    counts = counted(VOTES)
    many = VoteTable.of(CountedVote(f"c{number}", "base", "left") for number in range(MOST_CONTESTANTS))
    with pytest.raises(MeasurementError, match="more than 4096 contestants; is another column meant"):
        counts.add(many)
    same(build_leaderboard(counts), build_leaderboard(counted(VOTES)))


@pytest.mark.parametrize(("left", "right", "expected"), [(10, 10, 0), (30, 10, 0.5), (0, 5, -1), (0, 0, 0)])
def test_lean(left: float, right: float, expected: float):
    assert lean(left, right) == expected
    assert lean(right, left) == -expected


class Arena:
    """A database in which people vote."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_database(f"sqlite:///{folder / 'arena.db'}")
        self.store = BattleStore(self.engine)

    def vote(self, times: int = 1, session: str = "tab") -> list[str]:
        battles = []
        for _ in range(times):
            battle, ticket = self.store.create(
                prompt="Hi", persona="email-copy", session=session, temperature=0.7, max_tokens=50
            )
            self.store.finish(battle.id, BattleAnswer("left, at length"), BattleAnswer("right"))
            cast_vote(self.engine, ticket, "left", session=session)
            battles.append(battle.id)
        return battles


def test_a_refresh_reads_new_votes_and_counts_none_twice(tmp_path: Path):
    arena = Arena(tmp_path)
    counts = ArenaCounts(arena.engine)
    assert counts.refresh().votes == 0
    for total in (5, 6, 6, 9):
        arena.vote(total - counts.counts.votes)
        assert counts.refresh().votes == total
    same(build_leaderboard(counts.refresh()), build_leaderboard(ArenaCounts(arena.engine).refresh()))


def test_a_refresh_asks_for_recent_votes_only(tmp_path: Path):
    arena = Arena(tmp_path)
    arena.vote(30)
    with Session(arena.engine) as db, db.begin():
        for row in db.query(VoteRow):
            row.at -= timedelta(hours=1)
    counts = ArenaCounts(arena.engine)
    counts.refresh()
    arena.vote(2)
    statements: list[str] = []
    event.listen(arena.engine, "before_cursor_execute", lambda _c, _cur, text, *_: statements.append(text))
    assert counts.refresh().votes == 32
    (reading,) = [text for text in statements if "battles" in text]
    assert "votes.at >=" in reading


def test_votes_that_were_deleted_or_came_with_an_older_time_are_noticed(tmp_path: Path):
    arena = Arena(tmp_path)
    gone = arena.vote(10)[0]
    counts = ArenaCounts(arena.engine)
    assert counts.refresh().votes == 10
    with Session(arena.engine) as db, db.begin():
        db.execute(delete(VoteRow).where(VoteRow.battle == gone))
    assert counts.refresh().votes == 9
    restored = arena.vote(1)[0]
    with Session(arena.engine) as db, db.begin():
        row = db.get_one(VoteRow, restored)
        row.at -= timedelta(days=2)
    assert counts.refresh().votes == 10


def test_two_revisions_of_one_persona_are_two_contestants(tmp_path: Path):
    arena = Arena(tmp_path)
    battle = arena.vote()[0]
    with Session(arena.engine) as db, db.begin():
        row = db.get_one(BattleRow, battle)
        row.left = row.right = "email-copy"
        row.left_revision, row.right_revision = "a" * 64, "b" * 64
    cells = ArenaCounts(arena.engine).refresh().cells()
    assert cells.contestants == (f"email-copy@{'a' * 12}", f"email-copy@{'b' * 12}")
