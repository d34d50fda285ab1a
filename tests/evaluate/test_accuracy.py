"""Accuracy: is an answer nearer to its own reference than to the others?"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.metrics.accuracy import accuracy
from tests.support.word_vectors import embed
from understudy.errors import MeasurementError

REFERENCES = [
    "Warm bread from the oven.",
    "A tent keeps the rain out.",
    "The violin needs new strings.",
    "Clocks run late here.",
]
PROMPTS = ["bread?", "tent?", "violin?", "clock?"]


def measured(answers: list[str], references: list[str] = REFERENCES) -> float:
    return accuracy(answers, references, embed, prompts=PROMPTS[: len(answers)]).meaning.value


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (REFERENCES, 1.0),
        (["Bread!", "Rain, tent.", "My violin.", "Late clocks."], 1.0),
        (["", "", "", ""], 0.5),
        (["xyz"] * 4, 0.5),
    ],
)
def test_an_answer_is_ranked_against_the_other_references(answers: list[str], expected: float) -> None:
    assert measured(answers) == pytest.approx(expected)


def test_answers_to_other_prompts_are_at_or_below_chance() -> None:
    assert measured([*REFERENCES[1:], REFERENCES[0]]) < 0.5


def test_a_reference_of_several_rows_counts_as_each_rows_own() -> None:
    same = ["Yes.", "Yes.", "The violin needs strings.", "Clocks run late."]
    assert measured(["Yes.", "Yes.", "The violin.", "Late clocks."], same) == 1


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)))
def test_the_order_of_the_rows_does_not_matter(order: list[int]) -> None:
    answers = ["Bread and rain.", "Rain, tent.", "My violin.", "Late clocks."]
    there = accuracy(answers, REFERENCES, embed, prompts=PROMPTS)
    turned = accuracy([answers[i] for i in order], [REFERENCES[i] for i in order], embed, prompts=PROMPTS)
    assert sorted(there.rows) == sorted(turned.rows)


def test_random_pairings_are_at_chance() -> None:
    rng, found = random.Random(0), []
    for _ in range(60):
        answers = rng.sample(REFERENCES, 4)
        found.append(measured(answers))
    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(
    ("answers", "references", "says"),
    [(["a"], ["a", "b"], "1 answers for 2 references"), (["a", "b"], ["a", "a"], "at least two different held-out")],
)
def test_what_cannot_be_compared_is_refused(answers: list[str], references: list[str], says: str) -> None:
    with pytest.raises(MeasurementError, match=says):
        accuracy(answers, references, embed, prompts=answers)


def test_naming_the_topic_is_not_enough_for_the_details() -> None:
    prompts = ["Tell me about bread.", "Tell me about tents.", "Tell me about violins.", "Tell me about clocks."]
    references = [
        "Bread rises because yeast eats sugar and makes gas.",
        "Tents need poles, pegs, and a groundsheet against damp.",
        "Violins are carved from spruce with a maple back.",
        "Clocks keep time by a pendulum that swings once a second.",
    ]
    others = [
        "Bread need poles, pegs, and a groundsheet against damp.",
        "Tents are carved from spruce with a maple back.",
        "Violins keep time by a pendulum that swings once a second.",
        "Clocks rises because yeast eats sugar and makes gas.",
    ]
    right, swapped = (accuracy(texts, references, embed, prompts=prompts).details for texts in (references, others))
    assert right is not None
    assert swapped is not None
    assert (right.value, swapped.value < 0.5) == (1, True)


def test_references_that_are_one_template_have_no_details() -> None:
    prompts = [f"Tell me about {thing}." for thing in ("bread", "tents", "violins", "clocks")]
    answers = [f"Ahoy! The {thing} be mine." for thing in ("bread", "tents", "violins", "clocks")]
    assert accuracy(answers, answers, embed, prompts=prompts).details is None


def test_many_rows_with_one_reference_leave_the_others_to_compare_with() -> None:
    references = ["Yes."] * 30 + ["No, never."]
    prompts = [f"Question {n}?" for n in range(31)]
    assert accuracy(references, references, embed, prompts=prompts).chrf.value == 1
