"""Figures of the leaderboard on simulated voters whose taste is known. Bigger runs: python -m bench.arena.ranking."""

import numpy as np
import pytest

from arena.ranking.leaderboard import build_leaderboard
from arena.ranking.ratings import RatingModel, rate_contestants
from arena.votes.counts import count_cells
from bench.arena.simulated_votes import Crowd, simulate
from understudy.statistics.confidence_sequences import e_value

STRENGTHS = (0.0, 0.4, -0.5, 0.9)
RUNS = 300


def rated(crowd: Crowd, votes: int, number: int, **options) -> RatingModel:
    table = simulate(crowd, votes, seed=number)
    model = rate_contestants(count_cells(table), table.contestants, reference="base", **options)
    assert model is not None
    return model


def covered(models: list[RatingModel]) -> float:
    """Share of the intervals that have the truth in them."""
    hits = []
    for model in models:
        truth = {f"persona-{number}": value for number, value in enumerate(STRENGTHS)}
        hits += [one.low <= truth[one.name] <= one.high for one in model.ratings if one.name != "base"]
    return float(np.mean(hits))


@pytest.mark.parametrize("p", [0.5, 0.8])
def test_looking_after_every_vote_raises_false_alarms_in_less_than_a_twentieth(p: float):
    alarms = 0
    for seed in range(1500):
        wins = np.cumsum(np.random.default_rng(seed).random(400) < p).tolist()
        alarms += any(e_value(won, n - won, p) >= 20 for n, won in enumerate(wins, 1))
    assert 0.01 < alarms / 1500 < 0.05


@pytest.mark.parametrize("nu", [0.0, 0.6])
def test_sandwich_intervals_cover_the_truth_in_95_percent(nu: float):
    models = [rated(Crowd(STRENGTHS, nu=nu), 400, seed) for seed in range(RUNS)]
    assert {model.intervals for model in models} == {"sandwich"}
    assert 0.93 <= covered(models) <= 0.97


def test_intervals_allow_for_voters_who_repeat_themselves():
    crowd = Crowd(STRENGTHS, copies=4)
    models = [rated(crowd, 1600, seed) for seed in range(RUNS)]
    assert models[0].clusters == 400
    assert 0.93 <= covered(models) <= 0.97


def test_bootstrap_and_sandwich_agree():
    crowd = Crowd(STRENGTHS, copies=3)
    sandwich, bootstrap = rated(crowd, 1500, 1), rated(crowd, 1500, 1, resamples=200, seed=5)
    assert (sandwich.intervals, bootstrap.intervals) == ("sandwich", "bootstrap")
    for one, other in zip(sandwich.ratings[:-1], bootstrap.ratings[:-1], strict=True):
        assert one.strength == other.strength
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.2, abs=1e-9)
    assert bootstrap == rated(crowd, 1500, 1, resamples=200, seed=5), "the same seed gives the same intervals"


def test_the_effect_of_the_side_is_found_and_does_not_bend_the_scores():
    models = [rated(Crowd(STRENGTHS, position=0.5), 800, seed, position=True) for seed in range(100)]
    found = [model.position for model in models if model.position]
    assert len(found) == 100
    assert np.mean([one.value for one in found]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([one.low <= 0.5 <= one.high for one in found]) >= 0.9
    assert covered(models) >= 0.92


def test_length_control_takes_out_a_preference_for_long_answers():
    crowd = Crowd((0.0, 0.0), length=3.0, wordiness=(0.0, 0.7))
    board = build_leaderboard(count_cells(simulate(crowd, 4000, seed=3)))
    assert board.overall is not None
    assert board.controlled is not None
    assert board.length is not None
    plain = next(one for one in board.overall.ratings if one.name == "persona-1")
    fair = next(one for one in board.controlled.ratings if one.name == "persona-1")
    assert plain.low > 0.5, "the wordy one looks better"
    assert fair.low < 0 < fair.high, "and is not, at equal length"
    assert board.length.coefficient.low < 3 < board.length.coefficient.high
    assert any("Longer answers" in note.text for note in board.notes)


def test_length_control_leaves_a_preference_for_the_contestant():
    crowd = Crowd((0.0, 1.0), wordiness=(0.0, 0.7))
    board = build_leaderboard(count_cells(simulate(crowd, 4000, seed=4)))
    assert board.controlled is not None
    assert board.length is not None
    one = board.controlled.ratings[0]
    assert one.low < 1 < one.high
    assert board.length.coefficient.low < 0 < board.length.coefficient.high
    assert board.notes == []
