"""Sequential tests: they see what is there, and looking after every result raises no false alarms."""

import itertools
import math
import random
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from understudy.statistics.sequential import RateIncreaseTest, majority

ALPHA = 0.05


def worst(trial: float, live: float, *, share: float, seed: int, results: int = 600) -> float:
    """The highest e-value that somebody who looks after every result ever sees."""
    chance, test, highest = random.Random(seed), RateIncreaseTest(), 1.0
    for _ in range(results):
        if chance.random() < share:
            test.see_trial(chance.random() < trial)
        else:
            test.see_live(chance.random() < live)
        highest = max(highest, test.e_value)
    return highest


@pytest.mark.parametrize(("rate", "share"), [(0.01, 0.1), (0.3, 0.1), (0.5, 0.5), (0.05, 0.9)])
def test_equal_rates_raise_no_more_false_alarms_than_alpha(rate: float, share: float) -> None:
    alarms = sum(worst(rate, rate, share=share, seed=seed) >= 1 / ALPHA for seed in range(400))
    assert alarms / 400 <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 400)


def test_a_better_trial_raises_fewer_alarms_still() -> None:
    assert sum(worst(0.1, 0.3, share=0.2, seed=seed) >= 1 / ALPHA for seed in range(200)) <= 2


@pytest.mark.parametrize(("trial", "within"), [(1.0, 100), (0.5, 250), (0.2, 600)])
def test_a_worse_trial_is_noticed(trial: float, within: int) -> None:
    found = sum(worst(trial, 0.01, share=0.2, seed=seed, results=within) >= 1 / ALPHA for seed in range(50))
    assert found >= 45


def test_without_results_of_the_incumbent_nothing_is_known() -> None:
    test = RateIncreaseTest()
    for _ in range(100):
        test.see_trial(True)
    assert test.e_value == 1
    assert (test.trial, test.live) == ((100, 100), (0, 0))


@given(st.integers(0, 6))
def test_the_expectation_under_fair_coins_is_exactly_one(n: int) -> None:
    flips = itertools.product((0, 1), repeat=n)
    values = [majority(sum(f), n - sum(f)) for f in flips]
    assert sum(values) / 2**n == pytest.approx(1)


@example(1437, 1879)
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_more_wins_are_more_evidence(wins: int, losses: int) -> None:
    assert majority(wins + 1, losses) >= majority(wins, losses) * (1 - 1e-9)
    assert math.isfinite(majority(wins, losses))


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 1), (60, 40), (40, 60), (900, 1100), (1, 2500), (2600, 2400)])
def test_evidence_is_that_of_the_exact_sum(wins: int, losses: int) -> None:
    n = wins + losses + 1
    above = Fraction(sum(math.comb(n, k) for k in range(wins + 1)), 2**n)
    mixture = Fraction(2 ** (n - 1) * math.factorial(wins) * math.factorial(losses), math.factorial(n))
    assert majority(wins, losses) == pytest.approx(float(2 * above * mixture), rel=1e-9)


def test_one_sided_evidence_is_nearly_twice_the_two_sided_one_when_the_side_is_clear() -> None:
    two_sided = math.exp(math.lgamma(61) + math.lgamma(41) - math.lgamma(102) + 100 * math.log(2))
    assert majority(60, 40) == pytest.approx(2 * two_sided, rel=0.05)
