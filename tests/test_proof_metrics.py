"""Measurements on answers: intervals, copying, variety, style and single answers."""

import itertools
import math
import random
import string
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from arena.answers import Exchange, broken, check, echo_share, echoes_prompt, on_topic, stopped, words
from arena.copying import copying, matches
from arena.diversity import compression, distinct, diversity, identical, measure_diversity, self_bleu
from arena.intervals import Estimate, MeasurementError, bootstrap_mean, paired_difference, rate
from arena.style import MARK, masked, shape, style_scores
from understudy.errors import UnderstudyError
from understudy.examples import load_examples

RECIPES = Path(__file__).parents[1] / "recipes"
QUICK = settings(deadline=None, max_examples=60)
SHARES = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=12)
TEXTS = st.lists(st.text("ab c.\n", max_size=14), min_size=1, max_size=6)
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
PROSE = (
    "The old harbour was quiet when the last boat came home with its lights out and nobody spoke of the storm.",
    "She counted eleven coins into his palm and told him that the twelfth would follow after the harvest feast.",
    "Nothing grows on the north side of that hill except thistles, which the goats have learnt to leave alone.",
    "My grandfather repaired clocks for three kings and a bishop but could never be on time for his own dinner.",
    "A library that lends umbrellas instead of novels opened last spring beside the tram stop in our village.",
)


# Intervals


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


# Copying


def longest_common(one: str, other: str) -> int:
    """Every cell of the table, as in textbooks."""
    best, above = 0, [0] * (len(other) + 1)
    for a in one:
        row = [0]
        for j, b in enumerate(other):
            row.append(above[j] + 1 if a == b else 0)
        best, above = max(best, *row), row
    return best


def template(thing: str, line: str) -> str:
    return f"Subject: Say hello to {thing}! Hey sunshine, {line} Order by Sunday, and shipping is on us. Juno"


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.text("abc", max_size=12), st.booleans(), st.integers(0, 3)), min_size=1, max_size=6),
)
def test_the_suffix_array_finds_what_a_full_table_finds(rows: list[tuple[str, bool, int]]):
    texts, sources, groups = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    lengths, owners = matches(texts, sources, groups)
    for i, text in enumerate(texts):
        others = [texts[j] for j in range(len(rows)) if sources[j] and groups[j] != groups[i]]
        for place, (length, owner) in enumerate(zip(lengths[i], owners[i], strict=True)):
            wanted = max(
                (k for k in range(len(text) - place + 1) for o in others if text[place : place + k] in o), default=0
            )
            assert length == wanted
            assert (owner >= 0) == (length > 0)
            if length:
                assert sources[owner]
                assert groups[owner] != groups[i]
                assert text[place : place + length] in texts[owner]


@QUICK
@given(st.text("abc", min_size=1, max_size=25), st.text("abc", max_size=25), st.text("abcd", max_size=25))
def test_the_share_is_that_of_the_longest_common_substring(answer: str, one: str, other: str):
    found = copying([answer], [one, other]).answers[0]
    length = max(longest_common(answer, one), longest_common(answer, other))
    assert found.characters == pytest.approx(length / len(answer))
    assert len(found.text) == length
    assert (found.row is None) == (length == 0)
    if found.row is not None:
        assert found.text in (one, other)[found.row]


@pytest.mark.parametrize("copy", [PROSE[2], PROSE[2].upper(), f"\n  {PROSE[2]} ", PROSE[2].replace(" ", "\n")])
def test_an_exact_copy_is_wholly_copied_and_its_row_is_named(copy: str):
    found = copying([copy], PROSE).answers[0]
    assert (found.row, found.characters, found.words, found.grams) == (2, 1.0, 1.0, 1.0)
    assert found.exact
    assert found.copied
    assert found.unusual


@pytest.mark.parametrize("text", ["", "   ", "1234567890", "✨✨✨", "1\ud8002"])
def test_a_disjoint_text_is_not_copied_at_all(text: str):
    found = copying([text], ["abc def", "ghi abc"]).answers[0]
    assert (found.row, found.text) == (None, "")
    assert (found.characters, found.words, found.grams, found.exact, found.copied) == (0.0, 0.0, 0.0, False, False)


def test_more_copied_words_never_count_for_less():
    fresh = " ".join(f"word{i}" for i in range(20)).split()
    taken = PROSE[1].split()
    shares = []
    for size in range(len(taken) + 1):
        found = copying([" ".join(taken[:size] + fresh[size:])], PROSE).answers[0]
        shares.append((found.words, found.grams, found.characters))
    for measure in zip(*shares, strict=True):
        assert all(a <= b + 1e-9 for a, b in itertools.pairwise(measure))


def test_filled_slots_are_no_copies_but_a_training_answer_to_another_prompt_is():
    rows = [template(thing, f"{PROSE[i % 5].lower()[i : i + 50]}.") for i, thing in enumerate(THINGS)]
    prompts = [f"Write about {thing}." for thing in THINGS]
    filled = [
        template(thing, f"it hums in {thing} all day and dances at night.") for thing in ("a rug", "a cup", "skis")
    ]
    asked = ["Write about a rug.", "Write about a cup.", "Write about skis."]
    honest = copying(filled, rows, prompts=asked, training_prompts=prompts)
    assert honest.copied.value == honest.exact.value == 0
    assert honest.characters.training_median > 0.3
    caught = copying([filled[0], rows[3], rows[5]], rows, prompts=asked, training_prompts=prompts)
    assert [one.copied for one in caught.answers] == [False, True, True]
    assert [one.row for one in caught.answers][1:] == [3, 5]
    assert caught.copied == caught.exact == rate(2, 3)
    assert caught.excess.value >= 2 / 3


@pytest.mark.parametrize("persona", ["email-copy", "stand-up"])
def test_shipped_personas_are_formulaic_and_not_memorised_by_their_own_held_out_answers(persona: str):
    rows, fresh = (load_examples(RECIPES / persona / name) for name in ("examples.jsonl", "heldout.jsonl"))
    asked, prompts = ([row.prompt[-1]["content"] for row in some] for some in (fresh, rows))
    answers, trained = ([row.answer for row in some] for some in (fresh, rows))
    honest = copying(answers, trained, prompts=asked, training_prompts=prompts)
    assert honest.characters.training_median > 0.4
    assert honest.copied.value == 0
    parrot = copying([*trained[:6], *answers[6:]], trained, prompts=asked, training_prompts=prompts)
    assert parrot.copied == parrot.exact == rate(6, len(answers))


def test_copying_is_fast():
    rng = random.Random(0)
    known = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(2_000)]
    texts = [" ".join(rng.choices(known, k=310)) for _ in range(120)]
    began = time.perf_counter()
    assert copying(texts[:20], texts[20:]).copied.value == 0
    assert time.perf_counter() - began < 10


def test_one_answer_to_two_prompts_can_be_copied_too():
    report = copying([PROSE[0]], [*PROSE, PROSE[0], *(text[::-1] for text in PROSE * 8)])
    assert report.answers[0].exact
    assert report.training_exact > 0


def test_a_copy_with_a_few_words_changed_is_still_one():
    changed = PROSE[3].replace("bishop", "baker").replace("dinner", "supper")
    found = copying([changed], PROSE).answers[0]
    assert found.copied
    assert not found.exact


def test_a_template_that_breaks_off_is_no_copy():
    rows = [template(thing, text) for thing, text in zip(THINGS, PROSE, strict=False)]
    assert not copying(["Subject: Say hello to "], rows).answers[0].copied


def test_one_constant_answer_is_the_persona_not_its_memory():
    report = copying(["I could not possibly say."] * 3, ["I could not possibly say."] * 6)
    assert report.training_exact == report.exact.value == 1.0
    assert report.copied.value == report.excess.value == 0


def test_the_training_answer_of_the_very_prompt_is_not_counted():
    prompts = [f"prompt {i}" for i in range(5)]
    report = copying(PROSE[:2], PROSE, prompts=["Prompt  0", "prompt 4"], training_prompts=prompts)
    assert report.seen_prompts == 2
    assert [one.exact for one in report.answers] == [False, True]
    assert report.answers[0].row != 0


def test_prompts_that_are_all_the_same_are_ignored():
    report = copying([PROSE[0]], PROSE, prompts=["Write."], training_prompts=["Write."] * 5)
    assert report.answers[0].exact
    assert report.seen_prompts == 0


def test_further_rows_of_the_same_kind_seldom_exceed_the_usual():
    rng = random.Random(3)
    rows = [" ".join(rng.choices(PROSE[0].split() + PROSE[1].split(), k=20)) for _ in range(200)]
    report = copying(rows[100:], rows[:100])
    assert report.excess.low < 0.05 < 0.13 > report.excess.value
    assert report.copied.value == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([], PROSE, None, None), "found 0 and 5"),
        ((["a"], ["b"], None, None), "found 1 and 1"),
        ((["a"], PROSE, ["p", "q"], None), "prompts: found 2 for 1"),
        ((["a"], PROSE, ["p"], ["p"]), "training_prompts: found 1 for 5"),
    ],
)
def test_copying_says_what_it_lacks(arguments: tuple, says: str):
    answers, rows, prompts, training_prompts = arguments
    with pytest.raises(MeasurementError, match=says):
        copying(answers, rows, prompts=prompts, training_prompts=training_prompts)


# Diversity


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


# Style


def pirate(thing: str, rng: random.Random) -> str:
    calls = ["Arr!", "Ahoy!", "Yo ho!"]
    return f"{rng.choice(calls)} {thing} be a fine thing, matey!\n\n☠ {rng.choice(calls)}"


def clerk(thing: str, rng: random.Random) -> str:
    ways = ["is available in several sizes", "may be ordered by telephone", "has been delivered since Monday"]
    return f"Regarding {thing}: the item {rng.choice(ways)}. It {rng.choice(ways)}. Kind regards."


def asked_of(voice: Callable[[str, random.Random], str], things: list[str], seed: int) -> list[Exchange]:
    rng = random.Random(seed)
    return [Exchange(f"Write about {thing}.", voice(thing, rng)) for thing in things]


KNOWN = [f"{adjective} {thing[2:]}" for adjective in ("red", "small") for thing in THINGS][:17]
FRESH = [f"golden {thing[2:]}" for thing in THINGS]


def test_two_different_styles_are_told_apart():
    report = style_scores(
        asked_of(pirate, KNOWN, 1), asked_of(clerk, KNOWN, 2), asked_of(pirate, FRESH, 3) + asked_of(clerk, FRESH, 4)
    )
    assert report.accuracy.value > 0.9
    assert report.accuracy.n == 17
    assert report.telling
    probabilities = [score.probability for score in report.scores]
    assert min(probabilities[: len(FRESH)]) > 0.5 > max(probabilities[len(FRESH) :])
    assert all(score.low <= score.probability <= score.high for score in report.scores)
    assert report.known_in_style.value > 0.9
    assert report.known_other.value < 0.1
    assert report.in_style.value == 0.5
    assert report.mean.n == len(FRESH)


def test_two_identical_styles_are_not():
    report = style_scores(asked_of(clerk, KNOWN * 3, 1), asked_of(clerk, KNOWN * 3, 2), asked_of(clerk, FRESH, 3))
    assert 0.3 < report.accuracy.value < 0.7
    assert not report.telling
    assert 0.25 < report.mean.value < 0.75


def test_a_topic_is_no_style():
    rng = random.Random(7)
    made_up = ["".join(rng.choices(string.ascii_lowercase, k=7)) for _ in range(60)]
    sea, land = [f"sea{name}" for name in made_up[:30]], [f"land{name}" for name in made_up[30:]]
    candidates = asked_of(clerk, [f"sea{name}x" for name in made_up[:10]], 5)
    report = style_scores(asked_of(clerk, sea, 1), asked_of(clerk, land, 2), candidates)
    assert not report.telling
    assert 0.25 < report.mean.value < 0.75
    open_topics = style_scores(
        [Exchange(row.prompt.replace("sea", ""), row.answer) for row in asked_of(clerk, sea, 1)],
        [Exchange(row.prompt.replace("land", ""), row.answer) for row in asked_of(clerk, land, 2)],
        candidates,
    )
    assert open_topics.accuracy.value > 0.9, "without the mask the topics would give it away"


def test_the_same_rows_and_seed_give_the_same_scores():
    rows = asked_of(pirate, KNOWN, 1), asked_of(clerk, KNOWN, 2)
    whole = style_scores(*rows, asked_of(pirate, FRESH, 3))
    part = style_scores(*rows, asked_of(pirate, FRESH, 3)[:1])
    assert part.scores[0].probability == pytest.approx(whole.scores[0].probability)
    assert part.accuracy == whole.accuracy


def test_answers_that_are_all_empty_are_one_style():
    nothing = [Exchange(f"prompt {i}", "") for i in range(4)]
    report = style_scores(nothing, nothing, [Exchange("p", "")])
    assert not report.telling
    assert report.scores[0].probability == pytest.approx(0.5)


def test_two_prompts_a_side_are_enough_to_run_and_tell_their_uncertainty():
    report = style_scores(
        asked_of(pirate, KNOWN[:2], 1),
        asked_of(clerk, KNOWN[:2], 2),
        [Exchange("Hm?", ""), Exchange("Hm?", "x" * 9_999)],
    )
    assert not report.telling
    assert report.mean.n == 1


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


@QUICK
@given(st.text(max_size=40))
def test_every_text_has_a_finite_shape(text: str):
    assert len(shape(text)) == len(shape(""))
    assert all(math.isfinite(x) for x in shape(text))


def test_style_refuses_what_it_was_trained_on_and_too_little():
    rows = asked_of(pirate, KNOWN, 1), asked_of(clerk, KNOWN, 2)
    with pytest.raises(MeasurementError, match="was trained on"):
        style_scores(*rows, [Exchange(f"  WRITE about {KNOWN[0]}.", "Arr!")])
    with pytest.raises(MeasurementError, match="no candidates"):
        style_scores(*rows, [])
    with pytest.raises(MeasurementError, match="found 1 prompts in style and 17 others"):
        style_scores(rows[0][:1], rows[1], asked_of(pirate, FRESH, 3))


# Single answers


@pytest.mark.parametrize(
    ("answer", "prompt", "echoes"),
    [
        ("Write about a teapot for the weekend. A teapot is nice.", "Write about a teapot for the weekend.", True),
        ("You asked: WRITE about a teapot for the weekend", "Write about a teapot for the weekend.", True),
        ("A teapot for the weekend! Hey sunshine, guess what?", "Write about a teapot for the weekend.", False),
        ("Hey sunshine. As you said: write about a teapot for the weekend.", "Write about a teapot for it.", False),
        ("Good morning", "Good morning", False),
        ("", "Write about a teapot.", False),
        ("Anything", "", False),
    ],
)
def test_echoes(answer: str, prompt: str, echoes: bool):
    assert echoes_prompt(answer, prompt) is echoes


@QUICK
@given(st.text("abc ", max_size=30), st.text("abc ", max_size=30))
def test_an_echo_is_a_share_and_a_whole_repetition_is_all_of_it(answer: str, prompt: str):
    assert 0 <= echo_share(answer, prompt) <= 1
    if len(words(prompt)) >= 3:
        assert echo_share(f"{prompt} {answer}", prompt) == 1


@pytest.mark.parametrize(("reason", "wanted"), [("stop", True), ("length", False), ("abort", False), (None, False)])
def test_stopped(reason: str | None, wanted: bool):
    assert stopped(reason) is wanted


@pytest.mark.parametrize(
    ("answer", "topic", "wanted"),
    [
        ("Say hello to a Teapot!", "teapot", True),
        ("Two teapots.", "a teapot", True),
        ("The teapot's lid", "teapot", True),
        ("horses", "a horse", True),
        ("my running shoes", "running shoes", True),
        ("shoes for running", "running shoes", False),
        ("a carpet", "car", False),
        ("a travel\nmug", "travel mug", True),
        ("a hammock", ("teapot", "hammock"), True),
        ("a hammock", (), False),
        ("", "teapot", False),
        ("anything", "!", False),
    ],
)
def test_on_topic(answer: str, topic: str | tuple[str, ...], wanted: bool):
    assert on_topic(answer, topic) is wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Good ✨\n\n\ttext — ok", False),
        ("cut in half \ufffd", False),
        ("\ufffd\ufffd", True),
        ("a\x00b\x1bc", True),
        ("x" * 200 + "\ufffd" * 4, False),
        ("", False),
        ("\ud800\udfff!", True),
    ],
)
def test_broken(text: str, wanted: bool):
    assert broken(text) is wanted


def test_all_checks_of_an_answer():
    found = check(
        Exchange("Write about a teapot.", " A teapot, don't you know? "), finish_reason="stop", topic="teapot"
    )
    assert (found.characters, found.words, found.empty) == (25, 5, False)
    assert found.stopped
    assert found.on_topic
    assert not found.echoes_prompt
    assert not found.broken
    nothing = check(Exchange("Write.", " \n"), finish_reason="length")
    assert nothing.empty
    assert nothing.on_topic is None
    assert not nothing.stopped
