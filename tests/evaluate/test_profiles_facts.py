"""What is heard in a profile, and whether samples of one record agree on it."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.profiles.consistency import Sampled, agreement, faithfulness
from evaluate.profiles.facts import NUMBERS, Lexicon, counted, facts_of, made_up, numerals, outcomes, with_value
from evaluate.profiles.probes import probes, read_swap
from tests.support.people import LEXICON, PEOPLE, SWAP, asked, told
from understudy.config.recipe import load_recipe
from understudy.config.settings import PROJECT
from understudy.data.recipe_rows import heldout_examples, training_examples
from understudy.errors import ExamplesError

# What is heard


@pytest.mark.parametrize(
    ("prompt", "facts"),
    [
        (asked(PEOPLE[4]), PEOPLE[4]),
        ("Name: Ada\r\nHome town:  Port Ellis  \nrole:\n", {"name": "Ada", "home town": "Port Ellis"}),
        ("Tell me: what is LoRA?", {}),
        ("name: Ada", {}),
        ("", {}),
    ],
)
def test_a_record_is_read_off_a_prompt(prompt: str, facts: dict[str, str]) -> None:
    assert facts_of(prompt) == facts


@pytest.mark.parametrize("attribute", ["name", "role", "pronoun"])
def test_a_value_changes_or_its_line_goes_and_nothing_else(attribute: str) -> None:
    prompt = asked(PEOPLE[0])
    changed, without = with_value(prompt, attribute, "new\\1"), with_value(prompt, attribute, None)
    assert facts_of(changed) == {**PEOPLE[0], attribute: "new\\1"}
    assert facts_of(without) == {name: value for name, value in PEOPLE[0].items() if name != attribute}
    assert len(changed.splitlines()) == len(prompt.splitlines()) == len(without.splitlines()) + 1
    assert with_value(changed, attribute, PEOPLE[0][attribute]) == prompt
    assert with_value(prompt, "hobby", None) == prompt


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("ADA HOLM, nurse.", {"name": {"Ada Holm"}, "role": {"nurse"}}),
        ("Two nurses from Port Ellis' harbour", {"role": {"nurse"}, "place": {"Port Ellis"}}),
        ("A nursery in Ellis", {}),
        ("a long-haul driver", {"role": {"long-haul driver"}}),
        ("Her hobby is hers.", {"pronoun": {"she"}}),
        ("She likes cats; they purr.", {"pronoun": {"she"}}),
        ("", {}),
    ],
)
def test_values_are_heard_as_words(text: str, heard: dict[str, set[str]]) -> None:
    assert {name: set(values) for name, values in LEXICON.values_in(text).items() if values} == heard


@pytest.mark.parametrize(
    ("text", "fate", "extra"),
    [
        (told(PEOPLE[0]), {"name": "kept", "role": "kept", "place": "kept", "pronoun": "kept"}, {}),
        ("Ada Holm is a nurse from Port Ellis.", {"name": "kept", "pronoun": "unused"}, {}),
        ("Ada Holm is a baker.", {"role": "changed", "place": "dropped"}, {}),
        ("A nurse and a baker. He sings.", {"role": "changed", "name": "dropped", "pronoun": "changed"}, {}),
        ("", {"name": "dropped", "role": "dropped", "place": "dropped", "pronoun": "unused"}, {}),
    ],
)
def test_each_attribute_has_a_fate(text: str, fate: dict[str, str], extra: dict[str, Any]) -> None:
    said = LEXICON.values_in(text)
    found = outcomes(PEOPLE[0], said, LEXICON)
    assert {name: found[name] for name in fate} == fate
    assert made_up(PEOPLE[0], said) == extra


def test_what_the_record_leaves_out_is_made_up_unless_it_stands_there_as_something_else() -> None:
    lexicon = Lexicon(counted([*PEOPLE, {"hobby": "baker", "role": "baker"}]))
    assert made_up({"name": "Ada Holm"}, LEXICON.values_in("Ada Holm, a pilot.")) == {"role": {"pilot"}}
    assert made_up({"name": "Ada Holm", "hobby": "baker"}, lexicon.values_in("A baker.")) == {}


DRIVER = {"name": "Ada Holm", "role": "bus driver", "years": "14", "hobby": "jogging", "goal": "run a marathon"}
MORE = Lexicon(
    counted([DRIVER, {"role": "driver", "years": "4", "hobby": "running", "goal": "learn to paint"}, {"years": "24"}])
)


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("a fourteen-year career", {"years": {"14"}}),
        ("Twenty-four years, not twenty.", {"years": {"24"}}),
        ("4 years and one day", {"years": {"4"}}),
        ("She dreams of learning to paint.", {"goal": {"learn to paint"}}),
        ("Running a marathon is next.", {"goal": {"run a marathon"}, "hobby": {"running"}}),
        ("a bus driver", {"role": {"bus driver"}}),
        ("two drivers", {"role": {"driver"}}),
        ("She paints.", {}),
    ],
)
def test_numbers_are_heard_in_words_phrases_as_gerunds_and_the_longest_value_wins(
    text: str, heard: dict[str, set[str]]
) -> None:
    assert {name: set(values) for name, values in MORE.values_in(text).items() if values} == heard


def test_a_value_that_stands_in_another_attribute_is_neither_changed_nor_made_up() -> None:
    said = MORE.values_in("Ada Holm, a bus driver for fourteen years, loves jogging and dreams of running a marathon.")
    assert set(outcomes(DRIVER, said, MORE).values()) == {"kept"}
    assert not made_up(
        {name: DRIVER[name] for name in ("name", "role", "years", "goal")}, MORE.values_in("Running a marathon")
    )
    assert made_up({"name": "Ada Holm"}, MORE.values_in("14 years")) == {"years": {"14"}}


@given(st.integers(2, 99))
def test_numbers_below_a_hundred_are_read_in_words(number: int) -> None:
    tens, ones = divmod(number, 10)
    words = [name for name, value in NUMBERS.items() if value == number] or [
        *(name for name, value in NUMBERS.items() if value == 10 * tens),
        *(name for name, value in NUMBERS.items() if value == ones),
    ]
    assert numerals(["for", *words, "years", "one", "hundred"]) == ["for", str(number), "years", "one", "hundred"]


def test_probes_are_the_record_swapped_and_without_each_attribute_but_the_name() -> None:
    found = probes([asked(PEOPLE[0]), asked({"name": "Ada Holm", "pronoun": "they"})], SWAP, LEXICON)
    kinds = [(one.record, one.kind, one.attribute) for one in found]
    left_out = [("left out", name) for name in ("role", "place", "pronoun")]
    assert kinds == [
        (0, "record", ""),
        (0, "swapped", "pronoun"),
        *((0, *one) for one in left_out),
        (1, "record", ""),
        *((1, *one) for one in left_out),
    ]
    assert found[1].facts == {**PEOPLE[0], "pronoun": "he"}
    assert found[6].prompt == found[5].prompt
    assert [one.facts for one in found[:6]] == [facts_of(one.prompt) for one in found[:6]]


def test_the_shipped_records_are_probed_for_every_attribute_but_the_name() -> None:
    original = load_recipe("profiles-original", PROJECT / "recipes")
    trained, heldout = (
        [row.prompt[0]["content"] for row in rows] for rows in (training_examples(original), heldout_examples(original))
    )
    found = probes(heldout[:10], SWAP, Lexicon(counted(map(facts_of, trained))))
    left_out = {probe.attribute for probe in found if probe.kind == "left out"}
    assert left_out == {"pronoun", "role", "years", "place", "trait", "hobby", "goal"}
    assert sum(probe.kind == "swapped" for probe in found) >= 8
    assert not {probe.prompt for probe in found} & set(trained)


@pytest.mark.parametrize("text", ["", "pronoun", "pronoun=she", "pronoun=she/", "=she/he", "pronoun=she/she"])
def test_a_swap_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ExamplesError, match="write ATTRIBUTE=ONE/OTHER, such as pronoun=she/he"):
        read_swap(text)


# Consistency


def sampled(*answers: str, record: int = 0) -> Sampled:
    return Sampled(asked(PEOPLE[record]), PEOPLE[record], answers)


def value(figures: dict[str, Any], name: str) -> float:
    assert figures[name] is not None
    return figures[name].value


def test_samples_that_are_one_text_agree_wholly() -> None:
    same = [sampled(*[told(PEOPLE[n])] * 4, record=n) for n in range(5)]
    figures = agreement(same, LEXICON, seed=0)
    assert {name: figure.value for name, figure in figures.items() if figure} == {
        "identical": 1.0,
        "same_facts": 1.0,
        "similar": 1.0,
    }
    assert all(figure and figure.n == 5 and figure.low < 1 for figure in figures.values())


def test_other_words_for_the_same_facts_agree_on_the_facts_only() -> None:
    pair = sampled("Ada Holm is a nurse from Port Ellis.", "From Port Ellis comes Ada Holm; her work: nurse.")
    figures = agreement([pair], LEXICON, seed=0)
    assert value(figures, "identical") == 0
    assert value(figures, "same_facts") == 0.75  # one of them says a pronoun
    assert agreement([sampled("Hello.", "Bye.")], LEXICON, seed=0)["same_facts"] is None
    assert 0.3 < value(figures, "similar") < 0.9


def test_one_sample_agrees_with_nobody() -> None:
    assert set(agreement([sampled("a")], LEXICON, seed=0).values()) == {None}
    assert set(faithfulness([sampled()], LEXICON, seed=0).values()) == {None}


TEXTS = st.lists(st.sampled_from([*map(told, PEOPLE), "", "Ada Holm.", "A nurse, a pilot."]), min_size=2, max_size=4)


@settings(max_examples=25, deadline=None)
@given(TEXTS, st.randoms())
def test_agreement_is_a_share_and_the_order_of_samples_does_not_matter(texts: list[str], rng: random.Random) -> None:
    shuffled = rng.sample(texts, len(texts))
    one, other = (agreement([sampled(*said)], LEXICON, seed=0) for said in (texts, shuffled))
    for name in (name for name in one if one[name] or other[name]):
        assert value(one, name) == pytest.approx(value(other, name))
        assert 0 <= value(one, name) <= 1


def test_faithful_is_everything_and_nothing_else() -> None:
    answers = (told(PEOPLE[0]), "Ada Holm is a nurse.", "Ada Holm is a pilot from Oakdale. He sings.")
    figures = faithfulness([sampled(*answers)], LEXICON, seed=0)
    assert value(figures, "faithful") == pytest.approx(1 / 3)
    assert value(figures, "kept") == pytest.approx((1 + 2 / 3 + 1 / 4) / 3)
    assert value(figures, "changed") == pytest.approx((0 + 0 + 3 / 4) / 3)
    extra = faithfulness([sampled(told(PEOPLE[0]) + " Once a baker.")], LEXICON, seed=0)
    assert value(extra, "faithful") == 0
