"""The style classifier tells voices apart, not topics."""

import math
import random
import string
from collections.abc import Callable
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.metrics.style import MARK, masked, shape, style_scores
from understudy.errors import MeasurementError
from understudy.statistics.answer_checks import PromptAndAnswer

THINGS = [
    "a teapot",
    "a hammock",
    "a lantern",
    "running shoes",
    "a kettle",
    "a bicycle",
    "a violin",
    "a tent",
    "a drum",
]


def pirate(thing: str, rng: random.Random) -> str:
    calls = ["Arr!", "Ahoy!", "Yo ho!"]
    return f"{rng.choice(calls)} {thing} be a fine thing, matey!\n\n☠ {rng.choice(calls)}"


def clerk(thing: str, rng: random.Random) -> str:
    ways = ["is available in several sizes", "may be ordered by telephone", "has been delivered since Monday"]
    return f"Regarding {thing}: the item {rng.choice(ways)}. It {rng.choice(ways)}. Kind regards."


def asked_of(voice: Callable[[str, random.Random], str], things: list[str], seed: int) -> list[PromptAndAnswer]:
    rng = random.Random(seed)
    return [PromptAndAnswer(f"Write about {thing}.", voice(thing, rng)) for thing in things]


KNOWN = [f"{adjective} {thing[2:]}" for adjective in ("red", "small") for thing in THINGS][:17]
FRESH = [f"golden {thing[2:]}" for thing in THINGS]


def test_two_different_styles_are_told_apart():
    report = style_scores(
        asked_of(pirate, KNOWN, 1), asked_of(clerk, KNOWN, 2), asked_of(pirate, FRESH, 3) + asked_of(clerk, FRESH, 4)
    )
    assert report.accuracy.value > 0.9
    assert report.accuracy.n == 17
    assert report.accuracy.low > 0.5
    assert min(report.probabilities[: len(FRESH)]) > 0.5 > max(report.probabilities[len(FRESH) :])
    assert report.in_style.value == 0.5
    assert report.in_style.n == len(FRESH)


def test_two_identical_styles_are_not():
    report = style_scores(asked_of(clerk, KNOWN * 3, 1), asked_of(clerk, KNOWN * 3, 2), asked_of(clerk, FRESH, 3))
    assert 0.3 < report.accuracy.value < 0.7
    assert report.accuracy.low <= 0.5
    assert 0.25 < mean(report.probabilities) < 0.75


def test_a_topic_is_no_style():
    rng = random.Random(7)
    made_up = ["".join(rng.choices(string.ascii_lowercase, k=7)) for _ in range(60)]
    sea, land = [f"sea{name}" for name in made_up[:30]], [f"land{name}" for name in made_up[30:]]
    candidates = asked_of(clerk, [f"sea{name}x" for name in made_up[:10]], 5)
    report = style_scores(asked_of(clerk, sea, 1), asked_of(clerk, land, 2), candidates)
    assert report.accuracy.low <= 0.5
    assert 0.25 < mean(report.probabilities) < 0.75
    open_topics = style_scores(
        [PromptAndAnswer(row.prompt.replace("sea", ""), row.answer) for row in asked_of(clerk, sea, 1)],
        [PromptAndAnswer(row.prompt.replace("land", ""), row.answer) for row in asked_of(clerk, land, 2)],
        candidates,
    )
    assert open_topics.accuracy.value > 0.9, "without the mask the topics would give it away"


def test_the_same_rows_and_seed_give_the_same_scores():
    rows = asked_of(pirate, KNOWN, 1), asked_of(clerk, KNOWN, 2)
    whole = style_scores(*rows, asked_of(pirate, FRESH, 3))
    part = style_scores(*rows, asked_of(pirate, FRESH, 3)[:1])
    assert part.probabilities[0] == pytest.approx(whole.probabilities[0])
    assert part.accuracy == whole.accuracy


def test_answers_that_are_all_empty_are_one_style():
    nothing = [PromptAndAnswer(f"prompt {i}", "") for i in range(4)]
    report = style_scores(nothing, nothing, [PromptAndAnswer("p", "")])
    assert report.accuracy.low <= 0.5
    assert report.probabilities[0] == pytest.approx(0.5)


def test_two_prompts_a_side_are_enough_to_run_and_tell_their_uncertainty():
    report = style_scores(
        asked_of(pirate, KNOWN[:2], 1),
        asked_of(clerk, KNOWN[:2], 2),
        [PromptAndAnswer("Hm?", ""), PromptAndAnswer("Hm?", "x" * 9_999)],
    )
    assert report.accuracy.low <= 0.5
    assert report.in_style.n == 1


@pytest.mark.parametrize(
    ("answer", "prompt", "wanted"),
    [
        ("A teapot is nice.", "Write about a teapot.", f"{MARK} is nice."),
        ("Two TEAPOTS, or a teapot's lid", "Tell me about teapots", f"Two {MARK}, or a {MARK} lid"),
        ("Running  shoes run.", "Promote running shoes.", f"{MARK} run."),
        ("Boxes and a box of berries", "A box? A berry?", f"{MARK} and {MARK} of {MARK}"),
        ("Nothing here.", "", "Nothing here."),
        ("", "Write.", ""),
        ("carpet", "a car", "carpet"),
    ],
)
def test_words_of_the_prompt_are_masked(answer: str, prompt: str, wanted: str):
    assert masked(answer, prompt) == wanted


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=40))
def test_every_text_has_a_finite_shape(text: str):
    assert len(shape(text)) == len(shape(""))
    assert all(math.isfinite(x) for x in shape(text))


def test_style_refuses_what_it_was_trained_on_and_too_little():
    rows = asked_of(pirate, KNOWN, 1), asked_of(clerk, KNOWN, 2)
    with pytest.raises(MeasurementError, match="was trained on"):
        style_scores(*rows, [PromptAndAnswer(f"  WRITE about {KNOWN[0]}.", "Arr!")])
    with pytest.raises(MeasurementError, match="no candidates"):
        style_scores(*rows, [])
    with pytest.raises(MeasurementError, match="found 1 prompts in style and 17 others"):
        style_scores(rows[0][:1], rows[1], asked_of(pirate, FRESH, 3))
