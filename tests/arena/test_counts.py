"""Counts of votes: the grouped query agrees with a plain loop, and a refresh reads only what is new."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, event
from sqlalchemy.orm import Session

from arena.ranking.leaderboard import build_leaderboard
from arena.ranking.ratings import rate_contestants
from arena.votes.counts import (
    COLUMNS,
    MOST,
    OVERLAP,
    STEPS,
    ArenaCounts,
    Cells,
    CountedVote,
    VoteTable,
    arena_votes,
    count_cells,
    lean,
    steps_of,
)
from arena.votes.votes import VERDICTS, votes_about, withdraw_votes
from bench.arena.simulated_votes import Crowd, simulate
from tests.support.votes import VOTERS, MadeUpVote, VoteWriter, same_figures
from understudy.errors import MeasurementError
from understudy.registry.database import open_database
from understudy.registry.tables import BattleRow, VoteRow, WithdrawalRow

CROWD = Crowd((0.0, 0.5, -0.4), position=0.2, length=0.5, wordiness=(0.0, 0.3, 0.0), both_bad=0.1)
VOTES = simulate(CROWD, 600, seed=2, voters=50, categories=3)

LENGTHS = st.integers(0, 7)
"""Short enough that no lean lies half-way between two steps."""
MADE_UP = st.builds(
    MadeUpVote,
    left=st.sampled_from(["base", "poet"]),
    right=st.sampled_from(["base", "poet", "poet@aaa"]),
    verdict=st.sampled_from(VERDICTS),
    voter=st.sampled_from(["ann", "bob", "cid"]),
    category=st.sampled_from(["", "free"]),
    left_length=LENGTHS,
    right_length=LENGTHS,
    revisions=st.sampled_from([(None, None), ("a" * 64, "b" * 12)]),
    suspect=st.sampled_from(["", "", "", "too fast"]),
    seconds=st.integers(0, 200),
)

Found = tuple[dict[tuple, tuple[int, float]], Counter]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return open_database(f"sqlite:///{tmp_path_factory.mktemp('votes') / 'votes.db'}")


@pytest.fixture
def writer(engine: Engine) -> VoteWriter:
    return emptied(engine)


def emptied(engine: Engine) -> VoteWriter:
    with Session(engine) as db, db.begin():
        for table in (WithdrawalRow, VoteRow, BattleRow):
            db.execute(delete(table))
    return VoteWriter(engine)


def found_in(cells: Cells) -> Found:
    """Count and mean lean of each cell, and how many voters there are with the same votes."""
    names, sorts = cells.contestants, cells.categories
    keys = [
        (names[left], names[right], VERDICTS[verdict], sorts[category], int(step))
        for left, right, verdict, category, step in zip(
            cells.left, cells.right, cells.verdict, cells.category, cells.step, strict=True
        )
    ]
    totals = {
        key: (int(count), round(float(mean), 9)) for key, count, mean in zip(keys, cells.count, cells.lean, strict=True)
    }
    rows = cells.voters.toarray()
    return totals, Counter(frozenset((keys[i], int(row[i])) for i in np.flatnonzero(row)) for row in rows)


def loop_over(votes: Iterable[MadeUpVote]) -> Found:
    """The same by adding up one vote after the other."""
    leans: dict[tuple, list[float]] = defaultdict(list)
    voters: dict[str, Counter] = defaultdict(Counter)
    for vote in votes:
        pair = vote.left, vote.right
        if vote.left == vote.right:
            pair = tuple(f"{vote.left}@{(revision or '')[:12]}" for revision in vote.revisions)
        both = vote.left_length + vote.right_length
        exact = Fraction(vote.left_length - vote.right_length, both) if both else Fraction(0)
        key = (*pair, vote.verdict, vote.category, round((exact + 1) * STEPS))
        leans[key].append(float(exact))
        voters[vote.voter][key] += 1
    totals = {key: (len(each), round(sum(each) / len(each), 9)) for key, each in leans.items()}
    return totals, Counter(frozenset(each.items()) for each in voters.values())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.lists(MADE_UP, max_size=4), st.integers(0, 2)), max_size=3), st.integers(0, 9))
def test_the_grouped_query_and_a_plain_loop_agree_after_every_refresh(
    engine: Engine, rounds: list[tuple[list[MadeUpVote], int]], seed: int
):
    """Votes come in any order of their times, and some are withdrawn later."""
    writer, there, chance = emptied(engine), {}, random.Random(seed)
    counts = ArenaCounts(engine)
    for votes, withdrawals in rounds:
        there |= {writer.write(vote): vote for vote in votes}
        for battle in chance.sample(sorted(there), min(withdrawals, len(there))):
            writer.withdraw(battle, there.pop(battle).seconds + chance.randint(0, 100))
        expected = loop_over(vote for vote in there.values() if not vote.suspect)
        assert found_in(counts.refresh()) == expected
        assert found_in(ArenaCounts(engine).refresh()) == expected
        assert found_in(count_cells(arena_votes(engine))) == expected


def test_counts_lose_nothing_that_a_fit_to_single_votes_has():
    """Leans are kept in steps; a table where each vote has a cell of its own gives the same coefficients."""
    rounded = np.round(VOTES.lean * STEPS) / STEPS
    sharp = replace(VOTES, lean=rounded, step=steps_of(rounded))
    found = [
        rate_contestants(count_cells(table), VOTES.contestants, position=True, length=True) for table in (VOTES, sharp)
    ]
    one, other = found
    assert one is not None
    assert other is not None
    assert one.length is not None
    assert other.length is not None
    assert one.length.value == pytest.approx(other.length.value, abs=0.02)
    assert one.length.high - one.length.low == pytest.approx(other.length.high - other.length.low, rel=0.01)


def test_a_row_may_stand_for_many_votes_and_cells_do_not_grow_with_them():
    once, often = count_cells(VOTES), count_cells(replace(VOTES, times=21 * VOTES.times))
    assert len(often.count) == len(once.count)
    assert often.count.sum() == 21 * 600
    alike = [CountedVote("a", "b", "left", voter="ann")] * 3 + [CountedVote("a", "b", "tie")]
    short = [CountedVote("a", "b", "left", voter="ann", times=3), CountedVote("a", "b", "tie")]
    one, other = (build_leaderboard(count_cells(VoteTable.of(votes)), min_votes=1) for votes in (alike, short))
    assert same_figures(one, other)


def test_votes_that_are_subtracted_leave_no_trace():
    gone = VOTES.category == 1
    subtracted = replace(rows_of(VOTES, gone), times=-VOTES.times[gone])
    columns = {name: np.concatenate([getattr(VOTES, name), getattr(subtracted, name)]) for name in COLUMNS}
    cells = count_cells(replace(VOTES, **columns))
    assert found_in(cells) == found_in(count_cells(rows_of(VOTES, ~gone)))
    assert "category-1" not in cells.categories
    nothing = count_cells(replace(VOTES, times=0 * VOTES.times))
    assert (nothing.contestants, nothing.known_voters) == ((), 0)


def rows_of(table: VoteTable, chosen: np.ndarray) -> VoteTable:
    return replace(table, **{name: getattr(table, name)[chosen] for name in COLUMNS})


def test_too_many_contestants_are_refused():
    many = VoteTable.of(CountedVote(f"c{number}", "base", "left") for number in range(MOST["contestants"]))
    with pytest.raises(MeasurementError, match="more than 4096 contestants; is another column meant"):
        count_cells(many)


@pytest.mark.parametrize(("left", "right", "expected"), [(10, 10, 0), (30, 10, 0.5), (0, 5, -1), (0, 0, 0)])
def test_lean(left: float, right: float, expected: float):
    assert lean(left, right) == expected
    assert lean(right, left) == -expected


def test_a_refresh_without_news_gives_the_same_cells(writer: VoteWriter):
    counts = ArenaCounts(writer.engine)
    assert counts.refresh().count.sum() == 0
    writer.fill(5)
    cells = counts.refresh()
    assert cells.count.sum() == 5
    assert counts.refresh() is cells
    writer.fill(1)
    assert counts.refresh().count.sum() == 6


def test_a_refresh_reads_nothing_older_than_the_overlap(writer: VoteWriter):
    writer.fill(30)
    counts = ArenaCounts(writer.engine)
    counts.refresh()
    writer.fill(2)
    texts: list[str] = []
    listen = lambda _c, _cur, text, *_: texts.append(text)  # noqa: E731
    event.listen(writer.engine, "before_cursor_execute", listen)
    cells = counts.refresh()
    event.remove(writer.engine, "before_cursor_execute", listen)
    assert cells.count.sum() == 32
    reading = [text for text in texts if "battles" in text]
    assert len(reading) == 4, "votes and withdrawals, older than the overlap and younger"
    assert all(".at >" in text for text in reading)


def test_withdrawn_votes_are_subtracted_and_nothing_is_counted_again(
    writer: VoteWriter, monkeypatch: pytest.MonkeyPatch
):
    writer.fill(100)
    counts = ArenaCounts(writer.engine)
    counts.refresh()
    writer.fill(20, suspect="too fast")
    again: list[None] = []
    monkeypatch.setattr(counts, "_start_over", lambda: again.append(None))
    gone = sum(withdraw_votes(writer.engine, session=voter) for voter in ("voter 3", "voter 5"))
    assert gone > 100 * 2 / VOTERS, "suspect votes among them, which were never counted"
    cells, anew = counts.refresh(), ArenaCounts(writer.engine).refresh()
    assert cells.known_voters == VOTERS - 2
    assert found_in(cells) == found_in(anew)
    assert same_figures(build_leaderboard(cells, min_votes=1), build_leaderboard(anew, min_votes=1))
    assert not again


def test_deleted_votes_and_votes_with_an_older_time_are_noticed(writer: VoteWriter):
    writer.fill(10)
    counts = ArenaCounts(writer.engine)
    counts.refresh()
    with Session(writer.engine) as db, db.begin():
        db.execute(delete(VoteRow).where(VoteRow.battle == f"{3:032x}"))
    assert counts.refresh().count.sum() == 9
    writer.write(MadeUpVote(seconds=-(OVERLAP + timedelta(days=2)).total_seconds()))
    assert counts.refresh().count.sum() == 10
    assert found_in(counts.refresh()) == found_in(ArenaCounts(writer.engine).refresh())


def test_two_revisions_of_one_persona_are_two_contestants(writer: VoteWriter, tmp_path: Path):
    writer.write(MadeUpVote("poet", "poet", revisions=("a" * 64, "b" * 64)))
    names = f"poet@{'a' * 12}", f"poet@{'b' * 12}"
    assert ArenaCounts(writer.engine).refresh().contestants == names
    (vote,) = votes_about(writer.engine, "poet")
    assert vote.contestants == names
