"""Many votes: a refresh and a start read only what is new, and no question walks through everything."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, delete, event, update
from sqlalchemy.orm import Session

import arena.votes.running_counts
from arena.battles.store import BattleStore, digest
from arena.battles.vote_spam import TOO_FAST, suspicion
from arena.ranking import davidson
from arena.ranking.leaderboard import build_leaderboard
from arena.votes.counts import VoteCounts
from arena.votes.export import acknowledge, pending
from arena.votes.public_export import own_votes
from arena.votes.running_counts import ArenaCounts
from arena.votes.votes import left_out, tally, withdraw_votes
from bench.arena.simulated_votes import Crowd, simulate
from tests.arena.test_counts import VOTES, counted, same
from understudy.registry.database import one_moment, open_database
from understudy.registry.tables import BattleRow, TallyRow, VoteRow
from understudy.statistics import confidence_sequences as sequences

START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("base", "poet", "clerk", "clown")
VOTERS = 7


class House:
    """Votes of made-up people, an hour apart, straight into a database."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.size, self.chance = engine, 0, random.Random(1)
        self.read: list[int] = []
        """Votes that were counted, portion by portion."""

    def fill(self, votes: int, *, suspect: str = "") -> None:
        with Session(self.engine) as db, db.begin():
            for number in range(self.size, self.size + votes):
                said = {"at": START + timedelta(hours=number), "session": digest(f"voter {number % VOTERS}")}
                left, right = self.chance.sample(NAMES, 2)
                texts = {"left_text": "a" * 5, "right_text": "b" * self.chance.randint(1, 9)}
                empty = {"seed": 1, "sampling": {}, "reason": "", "nonce": digest(""), "status": "open"}
                battle = f"{number:032x}"
                db.add(BattleRow(id=battle, prompt="Hi", left=left, right=right, **texts, **empty, **said))
                db.flush()
                verdict = self.chance.choice(["left", "right", "tie", "both_bad"])
                db.add(VoteRow(battle=battle, verdict=verdict, suspect=suspect, **said))
        self.size += votes

    def board_of_a_start(self) -> VoteCounts:
        """What somebody counts who has nothing in memory."""
        self.read.clear()
        return ArenaCounts(self.engine).refresh()

    def counted_anew(self) -> VoteCounts:
        with Session(self.engine) as db, db.begin():
            db.execute(delete(TallyRow))
        return ArenaCounts(self.engine).refresh()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    house = House(open_database(f"sqlite:///{tmp_path / 'votes.db'}"))
    add = VoteCounts.add
    monkeypatch.setattr(VoteCounts, "add", lambda counts, votes: (house.read.append(len(votes)), add(counts, votes)))
    monkeypatch.setattr(arena.votes.running_counts, "KEEP", (100, 1.02))
    return house


def test_a_start_goes_on_from_what_was_kept(house: House):
    house.fill(300)
    ArenaCounts(house.engine).refresh()
    house.fill(4)
    counts = house.board_of_a_start()
    assert sum(house.read) == 4
    same(build_leaderboard(counts), build_leaderboard(house.counted_anew()))


def test_votes_are_counted_in_portions(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arena.votes.running_counts, "PORTION", 50)
    house.fill(120)
    assert ArenaCounts(house.engine).refresh().votes == 120
    assert house.read == [50, 50, 20]


@pytest.mark.parametrize("after_a_start", [False, True])
def test_votes_that_are_taken_back_are_subtracted_and_nothing_is_counted_again(house: House, after_a_start: bool):
    house.fill(300)
    counts = ArenaCounts(house.engine)
    counts.refresh()
    house.fill(20, suspect=TOO_FAST)
    gone = 0
    for voter in ("voter 3", "voter 5"):
        gone += withdraw_votes(house.engine, session=voter)
        house.read.clear()
        found = ArenaCounts(house.engine).refresh() if after_a_start else counts.refresh()
        assert sum(house.read) == 0
    assert gone > 300 * 2 / VOTERS, "suspect votes among them, which were never counted"
    anew = house.counted_anew()
    assert found.votes == anew.votes
    assert found.cells().known_voters == VOTERS - 2 == anew.cells().known_voters
    same(build_leaderboard(found), build_leaderboard(anew))


def test_a_start_notices_what_was_deleted_or_came_late(house: House):
    house.fill(300)
    ArenaCounts(house.engine).refresh()
    with Session(house.engine) as db, db.begin():
        db.execute(delete(VoteRow).where(VoteRow.battle == f"{7:032x}"))
    assert house.board_of_a_start().votes == 299
    same(build_leaderboard(ArenaCounts(house.engine).refresh()), build_leaderboard(house.counted_anew()))


def test_what_was_kept_and_is_damaged_is_counted_anew(house: House):
    house.fill(300)
    ArenaCounts(house.engine).refresh()
    for broken in (b"", b"PK\x03\x04 no archive", b"\x93NUMPY"):
        with Session(house.engine) as db, db.begin():
            db.execute(update(TallyRow).values(counts=broken))
        assert house.board_of_a_start().votes == 300


def test_few_votes_are_not_kept(house: House):
    house.fill(99)
    ArenaCounts(house.engine).refresh()
    with Session(house.engine) as db:
        assert db.query(TallyRow).count() == 0


@pytest.mark.parametrize("seed", range(5))
def test_votes_that_are_removed_might_never_have_been(seed: int):
    gone = np.random.default_rng(seed).random(len(VOTES)) < (0.1, 0.5, 0.9, 0.99, 1.0)[seed]
    counts = counted(VOTES)
    counts.remove(VOTES.only(np.flatnonzero(gone).tolist()))
    left = counted(VOTES.only(np.flatnonzero(~gone).tolist()))
    assert sorted(counts.cells().contestants) == sorted(
        {VOTES.contestants[code] for side in (VOTES.left, VOTES.right) for code in side[~gone]}
    )
    assert counts.cells().known_voters == len(set(VOTES.voter[~gone].tolist()))
    if left.votes:
        same(
            build_leaderboard(counts, min_votes=1), build_leaderboard(VoteCounts.restored(counts.state()), min_votes=1)
        )
        assert build_leaderboard(counts, min_votes=1).votes == left.votes
    counts.add(VOTES.only(np.flatnonzero(gone).tolist()))
    same(build_leaderboard(counts), build_leaderboard(counted(VOTES)))


def test_reads_of_one_moment_see_no_later_write(house: House):
    house.fill(3)
    with one_moment(house.engine) as db:
        assert db.query(VoteRow).count() == 3
        house.fill(2)
        assert db.query(VoteRow).count() == 3
    with one_moment(house.engine) as db:
        assert db.query(VoteRow).count() == 5


@contextmanager
def plans(engine: Engine) -> Iterator[list[str]]:
    """How SQLite would answer what it is asked meanwhile: a line for each table of each statement."""
    asked: list[tuple[str, tuple]] = []
    listen = lambda _c, _cur, statement, values, *_: asked.append((statement, values))  # noqa: E731
    event.listen(engine, "before_cursor_execute", listen)
    lines: list[str] = []
    yield lines
    event.remove(engine, "before_cursor_execute", listen)
    with engine.connect() as connection:
        for statement, values in asked:
            if statement.startswith(("SELECT", "INSERT")) and statement[7:] != "count(*) AS count_1 \nFROM votes":
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                lines += [f"{row.detail} <- {statement[:120]}" for row in rows]


QUESTIONS: dict[str, Callable[[House], object]] = {
    "is it a flood": lambda house: suspicion(house.engine, f"{0:032x}", "left", session="voter 1"),
    "how did one do against the base": lambda house: tally(house.engine, "poet"),
    "what did I say": lambda house: own_votes(house.engine, session="voter 1"),
    "take mine back": lambda house: withdraw_votes(house.engine, session="voter 1"),
    "what is left out": lambda house: left_out(house.engine),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_about_some_votes_walks_through_all_of_them(house: House, question: str):
    house.fill(20)
    with plans(house.engine) as lines:
        QUESTIONS[question](house)
    assert lines
    walks = [
        line for line in lines if line.startswith(("SCAN votes", "SCAN battles")) and "ix_votes_suspect" not in line
    ]
    assert not walks


def test_a_refresh_walks_through_nothing_but_the_smallest_index(house: House):
    house.fill(300)
    counts = ArenaCounts(house.engine)
    counts.refresh()
    house.fill(2)
    with plans(house.engine) as lines:
        counts.refresh()
    assert [line for line in lines if line.startswith("SEARCH votes USING INDEX ix_votes_at")]
    assert not [line for line in lines if line.startswith("SCAN") and "INDEX" not in line.split("<-")[0]]


def test_whether_it_is_a_flood_is_asked_of_the_last_seconds_alone(house: House):
    """An index of names must not be taken for it: half of all battles have the same name on one side."""
    house.fill(20)
    with plans(house.engine) as lines:
        suspicion(house.engine, f"{0:032x}", "left", session="voter 1")
    assert lines
    assert all("ix_votes_" in line or "sqlite_autoindex" in line for line in lines)


def test_what_was_sent_long_ago_is_not_looked_at_again(house: House):
    house.fill(20)
    acknowledge(house.engine, "hub:a/b", pending(house.engine, "hub:a/b"))
    sent = START + timedelta(hours=20)
    house.fill(3)
    with plans(house.engine) as lines:
        batch = pending(house.engine, "hub:a/b", since=sent)
    assert (len(batch.battles), len(batch.votes)) == (3, 3)
    assert batch == pending(house.engine, "hub:a/b")
    assert not [line for line in lines if line.startswith("SCAN")]


def test_a_replay_is_drawn_from_few_and_each_comes_up(house: House):
    house.fill(6)
    store = BattleStore(house.engine)
    with plans(house.engine) as lines:
        drawn = {store.replay(session=f"visitor {number}")[0].replay_of for number in range(80)}  # pyright: ignore[reportOptionalSubscript]
    assert drawn == {f"{number:032x}" for number in range(6)}
    assert not [line for line in lines if "TEMP B-TREE" in line], "nothing is put in order for it"
    alone = [store.replay(session="one who stays") for _ in range(7)]
    assert len({one[0].replay_of for one in alone if one}) == 6, "each once"
    assert alone[-1] is None


def test_wide_rows_are_multiplied_as_sparse_ones_with_the_same_outcome(monkeypatch: pytest.MonkeyPatch):
    crowd = Crowd(tuple(np.linspace(-1, 1, 30)), position=0.2, length=0.5, wordiness=(0.1,) * 30, both_bad=0.05)
    counts = counted(simulate(crowd, 4000, seed=3, voters=100))
    sparse = build_leaderboard(counts)
    assert sparse.controlled
    assert len(sparse.rows) > davidson.WIDE
    monkeypatch.setattr(davidson, "WIDE", 1000)
    same(sparse, build_leaderboard(counts))


def test_only_pairs_with_new_votes_get_a_new_interval():
    crowd = Crowd(tuple(np.linspace(-1, 1, 12)))
    counts = counted(simulate(crowd, 12_000, seed=4))
    sequences._bounds.cache_clear()
    board = build_leaderboard(counts)
    before = sequences._bounds.cache_info().misses
    counts.add(simulate(crowd, 1, seed=5))
    build_leaderboard(counts)
    assert len(board.pairs) == 66
    assert sequences._bounds.cache_info().misses - before <= 2, "one pair, and the sides"
