"""Intervals contain their value, know pairs and clusters, and cover what they promise."""

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from understudy.errors import MeasurementError, UnderstudyError
from understudy.statistics.intervals import Estimate, bootstrap_mean, paired_difference, rate

QUICK = settings(deadline=None, max_examples=60)
SHARES = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=12)


@QUICK
@given(SHARES)
def test_an_interval_contains_its_value_and_stays_within_the_bounds(values: list[float]):
    figure = bootstrap_mean(values, bounds=(0, 1), resamples=200)
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert figure.value == pytest.approx(np.mean(values))
    assert figure.n == len(values)
    assert Estimate.model_validate_json(figure.model_dump_json()) == figure


@QUICK
@given(SHARES, st.randoms(use_true_random=False))
def test_the_order_of_the_values_does_not_matter(values: list[float], shuffler: random.Random):
    prompts = [f"prompt {i % 4}" for i in range(len(values))]
    pairs = list(zip(values, prompts, strict=True))
    shuffler.shuffle(pairs)
    again, asked = [value for value, _ in pairs], [prompt for _, prompt in pairs]
    assert bootstrap_mean(values, bounds=(0, 1), resamples=200) == bootstrap_mean(again, bounds=(0, 1), resamples=200)
    assert bootstrap_mean(values, prompts=prompts, bounds=(0, 1), resamples=200) == bootstrap_mean(
        again, prompts=asked, bounds=(0, 1), resamples=200
    )


@QUICK
@given(st.integers(0, 40), st.integers(1, 40))
def test_a_rate_is_the_same_from_counts_and_from_values(successes: int, n: int):
    successes = min(successes, n)
    figure = rate(successes, n)
    assert figure.low <= figure.value <= figure.high
    assert figure.high > figure.low
    assert bootstrap_mean([1.0] * successes + [0.0] * (n - successes), bounds=(0, 1)) == figure


def test_a_rate_has_wilsons_interval():
    p, n, z = 0.7, 10, stats.norm.ppf(0.975)
    middle, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z * math.sqrt(p * 0.3 / n + z * z / 4 / n**2) / (1 + z * z / n),
    )
    figure = rate(7, 10)
    assert (figure.low, figure.high) == pytest.approx((middle - half, middle + half))


def test_equal_values_say_only_as_much_as_their_number():
    few, many = (bootstrap_mean([0.4] * n, bounds=(0, 1)) for n in (3, 300))
    assert few.low < many.low < 0.4 < many.high < few.high
    without = bootstrap_mean([7.0, 7.0, 7.0])
    assert (without.low, without.value, without.high) == (7.0, 7.0, 7.0)
    nearly = bootstrap_mean([0.1 + 0.2, 0.3])
    assert nearly.low == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("measure", "says"),
    [
        (lambda: bootstrap_mean([]), "no values"),
        (lambda: bootstrap_mean([1.0]), "one value"),
        (lambda: bootstrap_mean([1.0, 3.0], prompts=["a", "a"]), "one value"),
        (lambda: bootstrap_mean([1.0, math.nan]), "finite"),
        (lambda: bootstrap_mean([1.0, math.inf]), "finite"),
        (lambda: bootstrap_mean([0.5, 1.5], bounds=(0, 1)), "bounds"),
        (lambda: bootstrap_mean([0.5, 0.7], prompts=["a"]), "2 values but 1 prompts"),
        (lambda: paired_difference([1.0, 2.0], [1.0]), "cannot be paired"),
        (lambda: paired_difference([], []), "no values"),
        (lambda: rate(0, 0), "0 of 0"),
        (lambda: rate(4, 3), "4 of 3"),
    ],
)
def test_what_cannot_be_measured_is_said(measure: Callable[[], Estimate], says: str):
    with pytest.raises(MeasurementError, match=says) as caught:
        measure()
    assert isinstance(caught.value, UnderstudyError)
    assert isinstance(caught.value, ValueError)


def test_answers_to_one_prompt_are_one_observation():
    figure = bootstrap_mean([0.0, 0.2, 0.9, 0.4], prompts=["a", "a", "a", "b"], bounds=(0, 1))
    assert figure.n == 2
    assert figure.value == pytest.approx((1.1 / 3 + 0.4) / 2)


def test_pairing_sees_what_two_separate_intervals_do_not():
    rng = np.random.default_rng(1)
    hard = rng.uniform(0, 0.8, 24)
    mine = hard + 0.1 + rng.normal(0, 0.02, 24)
    paired = paired_difference(list(mine), list(hard))
    assert 0.08 < paired.low < 0.1 < paired.high + 0.02
    assert bootstrap_mean(list(mine)).low < bootstrap_mean(list(hard)).high
    turned = paired_difference(list(hard), list(mine))
    assert turned.value == pytest.approx(-paired.value)


def test_two_that_never_differ_may_still_differ_a_little():
    figure = paired_difference([1, 0, 1, 1] * 6, [1, 0, 1, 1] * 6, bounds=(0, 1))
    assert figure.low < figure.value == 0 < figure.high < 0.2


@pytest.mark.parametrize(("wins", "losses", "differs"), [(3, 0, False), (5, 0, False), (6, 0, True), (12, 3, True)])
def test_shares_differ_where_the_exact_test_of_the_pairs_that_are_no_ties_says_so(
    wins: int, losses: int, differs: bool
):
    ties = 24 - wins - losses
    mine, theirs = [1] * wins + [0] * losses + [1] * ties, [0] * wins + [1] * losses + [1] * ties
    figure, turned = paired_difference(mine, theirs, bounds=(0, 1)), paired_difference(theirs, mine, bounds=(0, 1))
    assert (figure.low > 0) == (turned.high < 0) == differs
    assert figure.value == pytest.approx((wins - losses) / 24)


@pytest.mark.parametrize(
    ("draw", "mean", "bounds"),
    [
        (lambda rng: rng.normal(3, 2, 40), 3.0, None),
        (lambda rng: rng.exponential(1, 60), 1.0, None),
        (lambda rng: rng.beta(2, 5, 40), 2 / 7, (0, 1)),
        (lambda rng: (rng.random(24) < 0.8).astype(float), 0.8, (0, 1)),
    ],
)
def test_95_percent_intervals_cover_about_95_percent(
    draw: Callable[[np.random.Generator], np.ndarray], mean: float, bounds: tuple[float, float] | None
):
    rng = np.random.default_rng(5)
    runs = [bootstrap_mean(draw(rng).tolist(), bounds=bounds, seed=i, resamples=600) for i in range(500)]
    assert 0.915 <= np.mean([run.low <= mean <= run.high for run in runs]) <= 0.98


def test_less_confidence_is_narrower():
    values = list(np.random.default_rng(2).random(30))
    wide, narrow = (bootstrap_mean(values, confidence=c) for c in (0.99, 0.8))
    assert wide.low < narrow.low < narrow.high < wide.high
