"""Many votes: a refresh and a start read only what is new, and no question walks through everything."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from arena.battles.store import BattleStore
from arena.battles.vote_spam import suspicion
from arena.ranking import davidson
from arena.ranking.leaderboard import build_leaderboard
from arena.votes.counts import ArenaCounts, count_cells
from arena.votes.export import acknowledge, pending
from arena.votes.public_export import own_votes
from arena.votes.votes import left_out, list_votes, withdraw_votes
from bench.arena.simulated_votes import Crowd, simulate
from tests.support.votes import START, VoteWriter, query_plans, same_figures
from understudy.registry.database import one_moment, open_database
from understudy.registry.tables import VoteRow
from understudy.statistics import confidence_sequences as sequences


@pytest.fixture
def writer(tmp_path: Path) -> VoteWriter:
    return VoteWriter(open_database(f"sqlite:///{tmp_path / 'votes.db'}"))


def test_reads_of_one_moment_see_no_later_write(writer: VoteWriter):
    writer.fill(3)
    with one_moment(writer.engine) as db:
        assert db.query(VoteRow).count() == 3
        writer.fill(2)
        assert db.query(VoteRow).count() == 3
    with one_moment(writer.engine) as db:
        assert db.query(VoteRow).count() == 5


QUESTIONS: dict[str, Callable[[VoteWriter], object]] = {
    "is it a flood": lambda writer: suspicion(writer.engine, f"{0:032x}", "left", session="voter 1"),
    "how did one do against the base": lambda writer: list_votes(writer.engine, "poet"),
    "what did I say": lambda writer: own_votes(writer.engine, session="voter 1"),
    "take mine back": lambda writer: withdraw_votes(writer.engine, session="voter 1"),
    "what is left out": lambda writer: left_out(writer.engine),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_about_some_votes_walks_through_all_of_them(writer: VoteWriter, question: str):
    writer.fill(20)
    with query_plans(writer.engine) as lines:
        QUESTIONS[question](writer)
    assert lines
    walks = [
        line for line in lines if line.startswith(("SCAN votes", "SCAN battles")) and "ix_votes_suspect" not in line
    ]
    assert not walks


def test_a_refresh_walks_through_nothing_but_the_smallest_index(writer: VoteWriter):
    writer.fill(100)
    counts = ArenaCounts(writer.engine)
    counts.refresh()
    writer.fill(2)
    with query_plans(writer.engine) as lines:
        counts.refresh()
    assert [line for line in lines if line.startswith("SEARCH votes USING INDEX ix_votes_at")]
    assert not [line for line in lines if line.startswith("SCAN") and "INDEX" not in line.split("<-")[0]]


def test_whether_it_is_a_flood_is_asked_of_the_last_seconds_alone(writer: VoteWriter):
    """An index of names must not be taken for it: half of all battles have the same name on one side."""
    writer.fill(20)
    with query_plans(writer.engine) as lines:
        suspicion(writer.engine, f"{0:032x}", "left", session="voter 1")
    assert lines
    assert all("ix_votes_" in line or "sqlite_autoindex" in line for line in lines)


def test_what_was_sent_long_ago_is_not_looked_at_again(writer: VoteWriter):
    writer.fill(20)
    acknowledge(writer.engine, "hub:a/b", pending(writer.engine, "hub:a/b"))
    sent = START + timedelta(hours=20)
    writer.fill(3)
    with query_plans(writer.engine) as lines:
        batch = pending(writer.engine, "hub:a/b", since=sent)
    assert (len(batch.battles), len(batch.votes)) == (3, 3)
    assert batch == pending(writer.engine, "hub:a/b")
    assert not [line for line in lines if line.startswith("SCAN")]


def test_a_replay_is_drawn_from_few_and_each_comes_up(writer: VoteWriter):
    writer.fill(6)
    store = BattleStore(writer.engine)
    with query_plans(writer.engine) as lines:
        drawn = {store.replay(session=f"visitor {number}")[0].replay_of for number in range(80)}  # pyright: ignore[reportOptionalSubscript]
    assert drawn == {f"{number:032x}" for number in range(6)}
    assert not [line for line in lines if "TEMP B-TREE" in line], "nothing is put in order for it"
    alone = [store.replay(session="one who stays") for _ in range(7)]
    assert len({one[0].replay_of for one in alone if one}) == 6, "each once"
    assert alone[-1] is None


def test_wide_rows_are_multiplied_as_sparse_ones_with_the_same_outcome(monkeypatch: pytest.MonkeyPatch):
    crowd = Crowd(tuple(np.linspace(-1, 1, 30)), position=0.2, length=0.5, wordiness=(0.1,) * 30, both_bad=0.05)
    cells = count_cells(simulate(crowd, 4000, seed=3, voters=100))
    sparse = build_leaderboard(cells)
    assert sparse.controlled
    assert len(sparse.rows) > davidson.WIDE
    monkeypatch.setattr(davidson, "WIDE", 1000)
    assert same_figures(sparse, build_leaderboard(cells))


def test_only_pairs_with_new_votes_get_a_new_interval():
    votes = simulate(Crowd(tuple(np.linspace(-1, 1, 12))), 12_000, seed=4)
    sequences._bounds.cache_clear()
    board = build_leaderboard(count_cells(votes))
    before = sequences._bounds.cache_info().misses
    votes.times[0] += 1
    build_leaderboard(count_cells(votes))
    assert len(board.pairs) == 66
    assert sequences._bounds.cache_info().misses - before <= 2, "one pair, and the sides"
