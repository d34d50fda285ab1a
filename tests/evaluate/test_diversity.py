"""Sameness shows in every figure of diversity."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.metrics.diversity import compression, distinct, diversity, identical, measure_diversity, self_bleu
from understudy.errors import MeasurementError
from understudy.statistics.answer_checks import words

QUICK = settings(deadline=None, max_examples=60)
TEXTS = st.lists(st.text("ab c.\n", max_size=14), min_size=1, max_size=6)
PROSE = (
    "The old harbour was quiet when the last boat came home with its lights out and nobody spoke of the storm.",
    "She counted eleven coins into his palm and told him that the twelfth would follow after the harvest feast.",
    "Nothing grows on the north side of that hill except thistles, which the goats have learnt to leave alone.",
    "My grandfather repaired clocks for three kings and a bishop but could never be on time for his own dinner.",
    "A library that lends umbrellas instead of novels opened last spring beside the tram stop in our village.",
)


@QUICK
@given(TEXTS, st.integers(1, 3))
def test_distinct_is_a_share_and_repeating_everything_lowers_it(texts: list[str], n: int):
    tokens = [words(text) for text in texts]
    once, twice = distinct(tokens, n), distinct(tokens * 2, n)
    assert 0 <= once <= 1
    assert twice == pytest.approx(once / 2)


@QUICK
@given(TEXTS, st.randoms(use_true_random=False))
def test_diversity_is_in_its_range_and_knows_no_order(texts: list[str], shuffler: random.Random):
    figures = measure_diversity(texts)
    assert figures.compression >= 0
    assert 0 <= figures.identical <= 1
    assert (figures.self_bleu is None) == (len(texts) < 2)
    assert figures.self_bleu is None or 0 <= figures.self_bleu <= 1
    shuffler.shuffle(texts)
    again = measure_diversity(texts)
    assert again.model_dump(exclude={"self_bleu"}) == figures.model_dump(exclude={"self_bleu"})
    assert again.self_bleu == pytest.approx(figures.self_bleu)


@pytest.mark.parametrize(
    ("texts", "n", "wanted"),
    [
        (["a b a b"], 1, 0.5),
        (["a b a b"], 2, 2 / 3),
        (["a b", "a b"], 2, 0.5),
        (["a b", "b a"], 2, 1.0),
        (["a"], 2, 0.0),
        ([""], 1, 0.0),
    ],
)
def test_distinct_counts_runs_within_texts(texts: list[str], n: int, wanted: float):
    assert distinct([text.split() for text in texts], n) == pytest.approx(wanted)


def test_sameness_shows_in_every_figure():
    same, varied = [PROSE[0]] * 5, list(PROSE)
    report = diversity(same, varied)
    assert report.answers.self_bleu == pytest.approx(1.0)
    assert report.training.self_bleu is not None
    assert report.training.self_bleu < 0.2
    assert report.answers.compression > 2 * report.training.compression
    assert report.answers.distinct_1 < report.training.distinct_1
    assert report.answers.distinct_3 < report.training.distinct_3
    assert (report.answers.identical, report.training.identical) == (1.0, 0.0)


def test_both_sides_are_measured_on_equally_many_texts():
    many = [f"{text} Number {i}." for i in range(30) for text in PROSE]
    report = diversity(many, PROSE[:4])
    assert report.answers.texts == report.training.texts == 4
    assert measure_diversity(many).texts == 50
    assert measure_diversity(many, seed=1) == measure_diversity(many, seed=1)


def test_diversity_of_next_to_nothing():
    assert self_bleu(["one"]) is None
    assert compression([""]) == 0
    assert identical(["Yes. ", "yes.", "no"]) == pytest.approx(2 / 3)
    with pytest.raises(MeasurementError, match="no texts"):
        diversity([], ["a"])
    with pytest.raises(MeasurementError, match="no texts"):
        diversity(["a"], [])
