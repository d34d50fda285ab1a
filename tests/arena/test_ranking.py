"""Figures of the leaderboard against published results, closed forms and each other."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.ranking.comparisons import compare
from arena.ranking.davidson import design, fit, separated
from arena.ranking.leaderboard import build_leaderboard
from arena.ranking.other_methods import elo, other_rankings
from arena.ranking.ratings import POINTS, rate_contestants
from arena.votes.counts import Cells, CountedVote, VoteTable, count_cells
from arena.votes.import_files import read_votes
from understudy.errors import MeasurementError
from understudy.statistics.confidence_sequences import e_value, win_rate
from understudy.statistics.sequential import majority

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "votes"
needs_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"published votes are not at {PUBLISHED}")

BASEBALL = """
Milwaukee: Detroit 4 3, Toronto 4 2, New York 4 3, Boston 6 1, Cleveland 4 2, Baltimore 6 0
Detroit: Milwaukee 3 3, Toronto 4 2, New York 4 3, Boston 6 0, Cleveland 6 1, Baltimore 4 3
Toronto: Milwaukee 2 5, Detroit 4 3, New York 2 4, Boston 4 3, Cleveland 4 2, Baltimore 6 0
New York: Milwaukee 3 3, Detroit 5 1, Toronto 2 5, Boston 4 3, Cleveland 4 2, Baltimore 6 1
Boston: Milwaukee 5 1, Detroit 2 5, Toronto 3 3, New York 4 2, Cleveland 5 2, Baltimore 6 0
Cleveland: Milwaukee 2 5, Detroit 3 3, Toronto 3 4, New York 4 3, Boston 4 2, Baltimore 2 4
Baltimore: Milwaukee 2 5, Detroit 1 5, Toronto 1 6, New York 2 4, Boston 1 6, Cleveland 3 4
"""
"""Home wins and losses of the American League, East, 1987: Agresti, Categorical Data Analysis, 2002, p. 438."""
BASEBALL_PLAIN = {
    "Milwaukee": 1.5814, "Detroit": 1.4364, "Toronto": 1.2945, "New York": 1.2476, "Boston": 1.1077,
    "Cleveland": 0.6839,
}  # fmt: skip
BASEBALL_AT_HOME = {
    "Milwaukee": 1.6196, "Detroit": 1.4754, "Toronto": 1.3271, "New York": 1.2813, "Boston": 1.1438,
    "Cleveland": 0.7047,
}  # fmt: skip
"""Abilities against Baltimore as printed in Turner and Firth, "Bradley-Terry Models in R", JSS 48(9), 2012."""
AT_HOME = 0.3023


def cells_of(votes: list[CountedVote]) -> Cells:
    return count_cells(VoteTable.of(votes))


def battles(one: str, other: str, wins: int, losses: int = 0, ties: int = 0, both_bad: int = 0) -> list[CountedVote]:
    """Votes with `one` on the left in every other battle."""
    verdicts = ["win"] * wins + ["loss"] * losses + ["tie"] * ties + ["both_bad"] * both_bad
    votes = []
    for number, verdict in enumerate(verdicts):
        straight = number % 2 == 0
        sides = (one, other) if straight else (other, one)
        turned = {"win": "left" if straight else "right", "loss": "right" if straight else "left"}
        votes.append(CountedVote(*sides, turned.get(verdict, verdict)))
    return votes


def baseball() -> list[CountedVote]:
    votes = []
    for line in BASEBALL.strip().splitlines():
        home, _, games = line.partition(": ")
        for game in games.split(", "):
            away, won, lost = game.rsplit(" ", 2)
            votes += [CountedVote(home, away, "left")] * int(won) + [CountedVote(home, away, "right")] * int(lost)
    return votes


def strengths(cells: Cells, reference: str | None = None, **options) -> dict[str, float]:
    model = rate_contestants(cells, cells.contestants, reference=reference, **options)
    assert model is not None
    return {one.name: one.strength for one in model.ratings}


def test_baseball_teams_have_their_published_abilities():
    found = strengths(cells_of(baseball()), "Baltimore")
    assert {team: round(value, 4) for team, value in found.items() if team != "Baltimore"} == BASEBALL_PLAIN


def test_the_advantage_of_playing_at_home_is_the_published_one():
    cells = cells_of(baseball())
    model = rate_contestants(cells, cells.contestants, reference="Baltimore", position=True)
    assert model is not None
    assert model.position is not None
    assert round(model.position.value, 4) == AT_HOME
    found = {one.name: round(one.strength, 4) for one in model.ratings if one.name != "Baltimore"}
    assert found == BASEBALL_AT_HOME


@needs_published
def test_journals_have_the_published_strengths():
    file = read_votes(PUBLISHED / "citations.csv")
    found = strengths(count_cells(file.votes), "Biometrika")
    expected = {"Biometrika": 0.0, "Comm Statist": -2.949, "JASA": -0.480, "JRSS-B": 0.269}
    assert {name: round(value, 3) for name, value in found.items()} == expected
    assert not file.sides, "a table of counts knows no sides"


@needs_published
@pytest.mark.parametrize("name", ["simple", "food"])
def test_published_scores_of_other_methods_are_met_to_a_millionth(name: str):
    votes = read_votes(PUBLISHED / f"{name}.csv").votes
    found = {**other_rankings(count_cells(votes)), "elo": elo(votes)}
    with (PUBLISHED / f"{name}-golden.csv").open() as file:
        golden = [row for row in csv.DictReader(file) if row["algorithm"] in found]
    assert {row["algorithm"] for row in golden} == {"average_win_rate", "bradley_terry", "elo"}
    for row in golden:
        assert found[row["algorithm"]][row["item"]] == pytest.approx(float(row["score"]), abs=1e-6), row


@needs_published
@pytest.mark.parametrize("name", ["simple", "food"])
def test_davidsons_model_is_newmans_on_another_scale(name: str):
    cells = count_cells(read_votes(PUBLISHED / f"{name}.csv").votes)
    with (PUBLISHED / f"{name}-golden.csv").open() as file:
        newman = {r["item"]: math.log(float(r["score"])) for r in csv.DictReader(file) if r["algorithm"] == "newman"}
    found, mean = strengths(cells), sum(newman.values()) / len(newman)
    assert found == pytest.approx({item: value - mean for item, value in newman.items()}, abs=1e-6)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_two_contestants_have_a_closed_form(wins: int, losses: int, ties: int):
    cells = cells_of(battles("new", "base", wins, losses, ties))
    data = compare(cells, ("base", "new"))
    found = fit(data, design(data, position=False, length=False))
    assert found.strengths[1] == pytest.approx(math.log(wins / losses), abs=1e-4)
    assert found.nu == pytest.approx(ties / math.sqrt(wins * losses), rel=1e-4)
    variance = found.design.expand[1] @ found.inverse @ found.design.expand[1]
    assert variance == pytest.approx(1 / wins + 1 / losses, rel=1e-3)
    assert not found.penalised


def test_who_never_lost_gets_a_finite_score_by_a_stated_rule():
    cells = cells_of(battles("new", "base", 10))
    board = build_leaderboard(cells, min_votes=1)
    assert board.overall is not None
    assert board.overall.penalised
    assert any("half a win" in note.text for note in board.notes)
    new = board.overall.ratings[0]
    assert (new.name, new.strength) == ("new", pytest.approx(math.log(10.5 / 0.5), abs=1e-4))
    assert new.high - new.strength == pytest.approx(1.96 * math.sqrt(1 / 10.5 + 1 / 0.5), rel=1e-3)


def test_the_penalty_is_not_there_once_somebody_lost():
    cells = cells_of(battles("new", "base", 10, 1))
    model = rate_contestants(cells, cells.contestants, reference="base")
    assert model is not None
    assert not model.penalised
    assert model.ratings[0].strength == pytest.approx(math.log(10), abs=1e-5)


def test_groups_without_a_common_opponent_are_told_apart():
    votes = battles("a", "base", 12, 8) + battles("x", "y", 15, 5)
    board = build_leaderboard(cells_of(votes), min_votes=1)
    assert board.overall is not None
    assert board.overall.groups == 2
    groups = {one.name: one.group for one in board.overall.ratings}
    assert groups["a"] == groups["base"] != groups["x"] == groups["y"]
    assert any("No votes connect" in note.text for note in board.notes)
    scores = {one.name: one.strength for one in board.overall.ratings}
    assert scores["base"] == 0
    assert scores["x"] == pytest.approx(-scores["y"])


def test_side_and_strength_that_cannot_be_told_apart_are_not_guessed():
    votes = [CountedVote("a", "base", "left")] * 20 + [CountedVote("a", "base", "right")] * 10
    model = rate_contestants(cells_of(votes), ("a", "base"), reference="base", position=True)
    assert model is not None
    assert model.position is None


@pytest.mark.parametrize("verdicts", [("tie",), ("both_bad",), ("tie", "both_bad")])
def test_nobody_is_ranked_before_somebody_has_won(verdicts: tuple[str, ...]):
    board = build_leaderboard(cells_of([CountedVote("a", "base", verdict) for verdict in verdicts] * 20), min_votes=1)
    assert board.overall is None
    assert board.notes


def test_both_bad_says_nothing_about_who_is_better_and_is_counted_apart():
    plain = build_leaderboard(cells_of(battles("a", "base", 30, 20, 10)))
    more = build_leaderboard(cells_of(battles("a", "base", 30, 20, 10, both_bad=40)))
    assert plain.overall == more.overall
    assert plain.against_base[0].win_rate == more.against_base[0].win_rate
    assert (more.both_bad, more.rows[0].both_bad, more.against_base[0].both_bad) == (40, 40, 40)


def test_few_votes_are_hidden_and_change_nobodys_score():
    known = battles("a", "base", 30, 20, 10)
    board = build_leaderboard(cells_of(known + battles("new", "base", 4)), min_votes=30)
    assert [(one.name, one.votes, one.to_go) for one in board.hidden] == [("new", 4, 26)]
    assert [row.name for row in board.rows] == ["a", "base"]
    assert board.overall == build_leaderboard(cells_of(known), min_votes=30).overall


def test_points_are_elos_scale_with_the_base_at_1000():
    board = build_leaderboard(cells_of(battles("a", "base", 100, 10)))
    assert board.overall is not None
    first, last = board.overall.ratings
    assert first.points - last.points == pytest.approx(400, abs=0.01)
    assert (last.name, last.points, last.low, last.high) == ("base", 1000, 0, 0)
    assert pytest.approx(400 / math.log(10)) == POINTS


def test_places_are_shared_until_contestants_can_be_told_apart():
    close = build_leaderboard(cells_of(battles("a", "base", 21, 20) + battles("b", "base", 20, 20)))
    apart = build_leaderboard(cells_of(battles("a", "base", 400, 100) + battles("b", "base", 100, 400)))
    assert close.overall is not None
    assert apart.overall is not None
    assert {(one.best_place, one.worst_place) for one in close.overall.ratings} == {(1, 3)}
    assert [(one.best_place, one.worst_place) for one in apart.overall.ratings] == [(1, 1), (2, 2), (3, 3)]


def test_the_win_rates_interval_is_the_measured_one():
    rate = win_rate(60, 40)
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.4408, 0.7460)
    assert rate.value == 0.6


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (0, 7), (7, 0), (1, 1), (3, 500), (10**6, 10**6 - 500)])
def test_the_interval_ends_where_the_evidence_passes_its_mark(wins: int, losses: int):
    rate = win_rate(wins, losses)
    for end, inside in ((rate.low, 1e-9), (rate.high, -1e-9)):
        assert 0 <= end <= 1
        if 0 < end < 1:
            assert e_value(wins, losses, end) == pytest.approx(20, rel=1e-3)
            assert e_value(wins, losses, end + inside) < 20.01
    assert rate.value is None or rate.low <= rate.value <= rate.high


def test_evidence_of_both_sides_is_the_mean_of_one_sided_evidence():
    for wins, losses in ((0, 0), (3, 1), (40, 70), (300, 200)):
        both = (majority(wins, losses) + majority(losses, wins)) / 2
        assert e_value(wins, losses) == pytest.approx(both, rel=1e-6)


@pytest.mark.parametrize(("wins", "losses", "confidence"), [(-1, 2, 0.95), (1, -2, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_impossible_counts_have_no_win_rate(wins: int, losses: int, confidence: float):
    with pytest.raises(MeasurementError, match="counts start at 0"):
        win_rate(wins, losses, confidence=confidence)


def test_against_the_base_means_from_the_contestants_point_of_view():
    board = build_leaderboard(cells_of(battles("good", "base", 40, 20) + battles("base", "poor", 50, 10)))
    rates = {pair.one: pair.win_rate for pair in board.against_base}
    assert (rates["good"].wins, rates["good"].losses) == (40, 20)
    assert (rates["poor"].wins, rates["poor"].losses) == (10, 50)
    assert rates["poor"].low < 1 / 6 < rates["poor"].high < 0.5


def test_the_order_of_votes_and_the_names_of_sides_do_not_matter():
    votes = battles("a", "base", 30, 20, 5) + battles("b", "base", 10, 30, 5) + battles("a", "b", 20, 10, 2)
    mirror = {"left": "right", "right": "left"}
    mirrored = [CountedVote(v.right, v.left, mirror.get(v.verdict, v.verdict)) for v in reversed(votes)]
    one, other = strengths(cells_of(votes), "base"), strengths(cells_of(mirrored), "base")
    assert one == pytest.approx(other, abs=1e-7)


def test_categories_are_ranked_by_their_own_votes():
    jokes = [vote._replace(category="jokes") for vote in battles("a", "base", 40, 10)]
    mails = [vote._replace(category="mails") for vote in battles("a", "base", 10, 40)]
    board = build_leaderboard(cells_of(jokes + mails + battles("a", "base", 1)))
    found = {one.name: one.model for one in board.categories}
    assert set(found) == {"jokes", "mails"}
    for name, sign in (("jokes", 1), ("mails", -1)):
        model = found[name]
        assert model is not None
        scores = {one.name: one.strength for one in model.ratings}
        assert scores["a"] == pytest.approx(sign * math.log(4), abs=1e-5)


def test_an_empty_arena_has_an_empty_board():
    board = build_leaderboard(cells_of([]))
    assert (board.votes, board.rows, board.overall, board.position) == (0, [], None, None)
    assert not np.isnan(board.confidence)


@given(st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_the_short_cut_to_finite_scores_agrees_with_the_linear_program(seed: int):
    chance = np.random.default_rng(seed)
    rows, parameters = int(chance.integers(2, 7)), int(chance.integers(1, 4))
    x = chance.integers(-1, 2, (rows, parameters)).astype(float)
    y = chance.integers(1, 3, (rows, 3)) * (chance.random((rows, 3)) < 0.5).astype(float)
    y[0] = 1  # a win of either side and a tie
    # The same votes with one outcome a row: no direction is lost, and the short cut finds no row to go by.
    split = np.concatenate([y * np.eye(3)[outcome] for outcome in range(3)])
    if np.linalg.matrix_rank(x[y.sum(axis=1) > 0]) < parameters:
        return
    seen, apart = y.sum(axis=1) > 0, split.sum(axis=1) > 0
    whole = separated(x[seen], y[seen], ties=True)
    assert whole == separated(np.tile(x, (3, 1))[apart], split[apart], ties=True)
