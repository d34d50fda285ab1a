"""Copying is told from a formula that every answer of a persona shares."""

import itertools
import random
import string
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.metrics.memorization import copying, matches
from tests.support.system import RECIPES
from understudy.config.settings import PROJECT
from understudy.data.load import load_examples
from understudy.errors import MeasurementError
from understudy.statistics.intervals import rate

QUICK = settings(deadline=None, max_examples=60)
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
    assert (found.row, found.characters, found.grams, found.copied) == (2, 1.0, 1.0, True)


@pytest.mark.parametrize("text", ["", "   ", "1234567890", "✨✨✨", "1\ud8002"])
def test_a_disjoint_text_is_not_copied_at_all(text: str):
    found = copying([text], ["abc def", "ghi abc"]).answers[0]
    assert (found.row, found.text) == (None, "")
    assert (found.characters, found.grams, found.copied) == (0.0, 0.0, False)


def test_more_copied_words_never_count_for_less():
    fresh = " ".join(f"word{i}" for i in range(20)).split()
    taken = PROSE[1].split()
    shares = []
    for size in range(len(taken) + 1):
        found = copying([" ".join(taken[:size] + fresh[size:])], PROSE).answers[0]
        shares.append((found.grams, found.characters))
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
    assert honest.copied.value == 0
    assert min(one.characters for one in honest.answers) > 0.3
    caught = copying([filled[0], rows[3], rows[5]], rows, prompts=asked, training_prompts=prompts)
    assert [one.copied for one in caught.answers] == [False, True, True]
    assert [one.row for one in caught.answers][1:] == [3, 5]
    assert caught.copied == rate(2, 3)


@pytest.mark.parametrize("persona", ["email-copy", "stand-up"])
@pytest.mark.parametrize(("recipes", "shared"), [(RECIPES, 0.4), (PROJECT / "recipes", 0)], ids=["formulas", "shipped"])
def test_held_out_answers_that_share_a_formula_are_no_copies(persona: str, recipes: Path, shared: float):
    rows, fresh = (load_examples(recipes / persona / name) for name in ("examples.jsonl", "heldout.jsonl"))
    asked, prompts = ([row.prompt[-1]["content"] for row in some] for some in (fresh, rows))
    answers, trained = ([row.answer for row in some] for some in (fresh, rows))
    honest = copying(answers, trained, prompts=asked, training_prompts=prompts)
    assert sorted(one.characters for one in honest.answers)[len(answers) // 2] > shared
    assert honest.copied.value == 0
    parrot = copying([*trained[:6], *answers[6:]], trained, prompts=asked, training_prompts=prompts)
    assert parrot.copied == rate(6, len(answers))


def test_copying_is_fast():
    rng = random.Random(0)
    known = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(2_000)]
    texts = [" ".join(rng.choices(known, k=310)) for _ in range(120)]
    began = time.perf_counter()
    assert copying(texts[:20], texts[20:]).copied.value == 0
    assert time.perf_counter() - began < 60


def test_a_copy_with_a_few_words_changed_is_still_one():
    changed = PROSE[3].replace("bishop", "baker").replace("dinner", "supper")
    found = copying([changed], PROSE).answers[0]
    assert found.copied
    assert found.characters < 1


def test_a_template_that_breaks_off_is_no_copy():
    rows = [template(thing, text) for thing, text in zip(THINGS, PROSE, strict=False)]
    assert not copying(["Subject: Say hello to "], rows).answers[0].copied


def test_one_constant_answer_is_the_persona_not_its_memory():
    report = copying(["I could not possibly say."] * 3, ["I could not possibly say."] * 6)
    assert report.answers[0].characters == 1.0
    assert report.copied.value == 0


def test_the_training_answer_of_the_very_prompt_is_not_counted():
    prompts = [f"prompt {i}" for i in range(5)]
    report = copying(PROSE[:2], PROSE, prompts=["Prompt  0", "prompt 4"], training_prompts=prompts)
    assert [one.characters == 1 for one in report.answers] == [False, True]
    assert report.answers[0].row != 0


def test_prompts_that_are_all_the_same_are_ignored():
    report = copying([PROSE[0]], PROSE, prompts=["Write."], training_prompts=["Write."] * 5)
    assert report.answers[0].copied


def test_further_rows_of_the_same_kind_are_no_copies():
    rng = random.Random(3)
    rows = [" ".join(rng.choices(PROSE[0].split() + PROSE[1].split(), k=20)) for _ in range(200)]
    assert copying(rows[100:], rows[:100]).copied.value == 0


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
