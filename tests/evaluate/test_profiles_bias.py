"""Bias in profiles: found where it is, flagged no more often than it may be where it is not."""

import random
from typing import Any

import pytest

from evaluate.profiles.bias import SwappedPair, holm, invention, sides, swap_effect, total_variation
from evaluate.profiles.facts import counted
from tests.support.people import LEXICON, PEOPLE, PLACES, asked, careless, told


def pairs(say: Any, rng: random.Random, samples: int = 4) -> list[SwappedPair]:
    """Twelve people as she and as he; `say` tells one, given the record and chance."""
    found = []
    for one in PEOPLE:
        she, he = {**one, "pronoun": "she"}, {**one, "pronoun": "he"}
        found.append(SwappedPair(asked(one), she, he, *(tuple(say(r, rng) for _ in range(samples)) for r in (she, he))))
    return found


def biased(record: dict[str, str], rng: random.Random) -> str:
    """Now and then careless; and six in ten men are engineers, whatever they are."""
    if rng.random() < 0.2:
        return careless(record, rng)
    engineer = record["pronoun"] == "he" and rng.random() < 0.6
    return told({**record, "role": "engineer"} if engineer else record)


def test_a_system_that_ignores_the_swap_is_flagged_no_more_often_than_it_may_be() -> None:
    effects = [swap_effect(pairs(careless, random.Random(n)), "pronoun", LEXICON, seed=n) for n in range(120)]
    found = [effect for effect in effects if effect]
    assert len(found) == 120
    flagged = sum(effect.p < 0.05 for effect in found)
    assert flagged <= 13  # 6 are expected; more than 13 come in 4 of 1,000 such simulations
    assert abs(sum(effect.beyond.value for effect in found) / 120) < 0.01
    assert all(effect.within.value > 0.1 for effect in found)  # sampling alone makes answers differ
    covered = sum(effect.beyond.low <= 0 <= effect.beyond.high for effect in found)
    assert covered > 100


def test_a_biased_system_is_found_and_its_direction_is_seen() -> None:
    effects = [swap_effect(pairs(biased, random.Random(n)), "pronoun", LEXICON, seed=n) for n in range(20)]
    assert sum(effect is not None and effect.p < 0.05 for effect in effects) >= 18
    seen = {side.name: side for side in sides(pairs(biased, random.Random(0)), LEXICON)}
    assert seen["role"].difference.low > 0
    assert seen["role"].one > seen["role"].other
    assert seen["name"].difference.value == 0
    assert seen["pronoun"].difference.value == 0


def test_any_attribute_may_be_swapped_and_the_pronoun_is_then_one_of_the_rest() -> None:
    def lean(record: dict[str, str], rng: random.Random) -> str:
        return told({**record, "pronoun": "she" if record["role"] == "nurse" else "he"})

    swapped = []
    for one in PEOPLE:
        nurse, engineer = {**one, "role": "nurse"}, {**one, "role": "engineer"}
        said = [tuple(lean(record, random.Random(0)) for _ in range(3)) for record in (nurse, engineer)]
        swapped.append(SwappedPair(asked(one), nurse, engineer, *said))
    effect = swap_effect(swapped, "role", LEXICON)
    assert effect is not None
    assert effect.beyond.value == pytest.approx(1 / 3)  # of name, place and pronoun
    assert effect.p < 0.001


def test_a_system_that_says_the_same_every_time_is_not_flagged() -> None:
    effect = swap_effect(pairs(lambda record, rng: told(record), random.Random(0)), "pronoun", LEXICON)
    assert effect is not None
    assert (effect.across.value, effect.within.value, effect.beyond.value, effect.p) == (0, 0, 0, 1)
    assert effect.beyond.low < 0 < effect.beyond.high


def test_one_sample_cannot_be_told_from_chance() -> None:
    assert swap_effect(pairs(careless, random.Random(0), samples=1), "pronoun", LEXICON) is None
    assert swap_effect([], "pronoun", LEXICON) is None
    assert sides([], LEXICON) == []


def test_what_is_made_up_is_counted_by_prompt_and_measured_against_the_data() -> None:
    records = [{name: said for name, said in one.items() if name != "place"} for one in PEOPLE]
    taught = counted(PEOPLE)["place"]
    always = [(asked(one), one, [told({**one, "place": "Oakdale"})] * 3) for one in records]
    found = invention("place", always, LEXICON, taught)
    assert found is not None
    assert (found.share.value, found.share.n) == (1, 12)
    assert list(found.values) == ["Oakdale"]
    assert found.distance == pytest.approx(2 / 3)
    assert found.chance is not None
    assert found.chance < 0.5
    as_taught = [(asked(one), one, [told({**one, "place": PLACES[n // 4]})]) for n, one in enumerate(records)]
    like = invention("place", as_taught, LEXICON, taught)
    assert like is not None
    assert like.distance == pytest.approx(0)
    silent = invention("place", [(asked(one), one, [told(one)]) for one in records], LEXICON, taught)
    assert silent is not None
    assert (silent.share.value, silent.values, silent.distance, silent.chance) == (0, {}, None, None)
    assert invention("place", [(asked(records[0]), records[0], [])], LEXICON, taught) is None


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [({"a": 1}, {"a": 9}, 0), ({"a": 1}, {"b": 1}, 1), ({"a": 1, "b": 1}, {"a": 3, "b": 1}, 0.25)],
)
def test_total_variation(one: dict[str, float], other: dict[str, float], apart: float) -> None:
    assert total_variation(one, other) == total_variation(other, one) == pytest.approx(apart)


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [([], []), ([0.04], [0.04]), ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.9, 0.8], [1.0, 1.0])],
)
def test_holm(p: list[float], adjusted: list[float]) -> None:
    assert holm(p) == pytest.approx(adjusted)
