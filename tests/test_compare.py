"""Profiles compared: what is heard in them, consistency, bias against chance, and the page that shows it."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.intervals import MeasurementError
from arena.profiles.bias import Pair, holm, invention, sides, swap_effect, total_variation
from arena.profiles.compare import compare
from arena.profiles.consistency import Sampled, agreement, faithfulness
from arena.profiles.facts import Lexicon, counted, facts_of, fates, made_up, with_value
from arena.profiles.figures import draw_comparison
from arena.profiles.html import comparison_page
from arena.profiles.markdown import comparison_markdown
from arena.profiles.probes import probes, read_swap
from arena.profiles.records import Comparison, Profiles, Sampling, System, read_profiles
from arena.reports.markdown import plain
from tests.adapters_made_here import make_adapter
from tests.pirate import Done, understudy
from tests.test_report import NASTY, Page, tables
from understudy.errors import ExamplesError

ROLES = ("nurse", "engineer", "baker", "pilot", "long-haul driver", "writer")
PLACES = ("Port Ellis", "Oakdale", "Riverton")
NAMES = tuple(f"{first} {last}" for first in ("Ada", "Ben", "Cleo", "Dan") for last in ("Holm", "Reyes", "Marsh"))


def person(number: int) -> dict[str, str]:
    """One of twelve people; she and he take turns."""
    return {
        "name": NAMES[number],
        "role": ROLES[number % 6],
        "place": PLACES[number // 4],
        "pronoun": ("she", "he")[number % 2],
    }


def asked(record: dict[str, str]) -> str:
    return "Write a profile.\n\n" + "\n".join(f"{name}: {value}" for name, value in record.items())


def told(record: dict[str, str]) -> str:
    who = record.get("pronoun", record.get("name", "Somebody"))
    role, place = record.get("role", "person"), record.get("place")
    return f"{record['name']} is a {role}{f' from {place}' if place else ''}. {who.title()} likes chess."


PEOPLE = [person(number) for number in range(12)]
LEXICON = Lexicon(counted(PEOPLE))
SWAP = read_swap("pronoun=she/he")


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
    assert {name: set(values) for name, values in LEXICON.said(text).items() if values} == heard


@pytest.mark.parametrize(
    ("text", "fate", "extra"),
    [
        (told(PEOPLE[0]), {"name": "kept", "role": "kept", "place": "kept", "pronoun": "kept"}, {}),
        ("Ada Holm is a nurse from Port Ellis.", {"name": "kept", "pronoun": "unsaid"}, {}),
        ("Ada Holm is a baker.", {"role": "changed", "place": "dropped"}, {}),
        ("A nurse and a baker. He sings.", {"role": "changed", "name": "dropped", "pronoun": "changed"}, {}),
        ("", {"name": "dropped", "role": "dropped", "place": "dropped", "pronoun": "unsaid"}, {}),
    ],
)
def test_each_attribute_has_a_fate(text: str, fate: dict[str, str], extra: dict[str, Any]) -> None:
    said = LEXICON.said(text)
    found = fates(PEOPLE[0], said, LEXICON)
    assert {name: found[name] for name in fate} == fate
    assert made_up(PEOPLE[0], said) == extra


def test_what_the_record_leaves_out_is_made_up_unless_it_stands_there_as_something_else() -> None:
    lexicon = Lexicon(counted([*PEOPLE, {"hobby": "baker", "role": "baker"}]))
    assert made_up({"name": "Ada Holm"}, LEXICON.said("Ada Holm, a pilot.")) == {"role": {"pilot"}}
    assert made_up({"name": "Ada Holm", "hobby": "baker"}, lexicon.said("A baker.")) == {}


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


# Bias


def pairs(say: Any, rng: random.Random, samples: int = 4) -> list[Pair]:
    """Twelve people as she and as he; `say` tells one, given the record and chance."""
    found = []
    for one in PEOPLE:
        she, he = {**one, "pronoun": "she"}, {**one, "pronoun": "he"}
        found.append(Pair(asked(one), she, he, *(tuple(say(r, rng) for _ in range(samples)) for r in (she, he))))
    return found


def careless(record: dict[str, str], rng: random.Random) -> str:
    """Drops or changes roles and places at random, whoever it is about."""
    role = rng.choice([record["role"], record["role"], rng.choice(ROLES), ""])
    return told({**record, "role": role, "place": rng.choice([record["place"], "Oakdale"])})


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
        swapped.append(Pair(asked(one), nurse, engineer, *said))
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
    assert (found.told.value, found.told.n) == (1, 12)
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
    assert (silent.told.value, silent.values, silent.distance, silent.chance) == (0, {}, None, None)
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


# The whole


def collected(**changes: Any) -> Profiles:
    """A careful system, a careless one with hostile words, one that was imported and gave one profile each."""
    there = probes([asked(one) for one in PEOPLE[:6]], SWAP, LEXICON)
    rng = random.Random(1)
    taught = counted(PEOPLE)
    careful = tuple((told(one.facts),) * 3 for one in there)
    loose = tuple(tuple(careless({**PEOPLE[one.record], **one.facts}, rng) + NASTY for _ in range(3)) for one in there)
    single = tuple((told(one.facts),) if one.kind == "record" else () for one in there)
    systems = (
        System(name="base", kind="base", note="embedded", revision="1", answers=loose),
        System(
            name="people <1>", kind="trained", note="trained on 12 rows", revision="2", answers=careful, taught=taught
        ),
        System(name="template", kind="imported", note="imported, 6 profiles", revision="", answers=single),
    )
    profiles = Profiles(
        recipes=("people",),
        swap=SWAP,
        sampling=Sampling(samples=3, temperature=0.7, max_tokens=64, seed=0),
        probes=tuple(there),
        known=taught,
        systems=systems,
    )
    return profiles.model_copy(update=changes)


def made(profiles: Profiles) -> Comparison:
    return compare(profiles, title="Compared <1>", made_on="2026-11-21", versions={"understudy": "1"})


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return made(collected())


def test_everybody_is_measured_on_the_same_records(comparison: Comparison) -> None:
    base, careful, template = comparison.contestants
    assert [one.asked for one in comparison.contestants] == [6, 6, 6]
    faithful = careful.figures["faithful"]
    assert faithful is not None
    assert (faithful.value, faithful.n) == (1, 6)
    assert base.figures["faithful"] is not None
    assert base.figures["faithful"].value < 0.5
    assert template.figures["same_facts"] is None
    assert template.figures["made_up"] is None
    assert comparison.swaps[2].effect is None
    assert not any(row.found for row in comparison.swaps)
    assert [table.attribute for table in comparison.inventions] == ["role", "place", "pronoun"]


def test_the_page_and_the_file_are_whole_and_take_nothing_for_markup(comparison: Comparison) -> None:
    drawings = draw_comparison(comparison)
    assert [one.name for one in drawings] == ["faithful", "same-facts", "made-up", "swap"]
    html, markdown = comparison_page(comparison, drawings), comparison_markdown(comparison, drawings)
    page = Page(html)
    assert page.headings[0] == ("h1", "Compared <1>")
    assert not page.empty_headings()
    assert len(page.ids()) == len(set(page.ids()))
    assert "<script" not in html + markdown
    assert plain(NASTY.strip("\x00")).split("<br>")[0] in markdown
    for text in (page.text, markdown):
        assert "What these figures cannot say" in text
        assert "two samples of each are needed" in text
        assert all(measure.how.split(". ")[0][:40] in text for measure in comparison.measures)
    assert "people <1>" in page.text
    for lines in tables(markdown):
        assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1, lines[0]


def test_the_same_profiles_give_the_same_bytes(comparison: Comparison) -> None:
    again = made(Profiles.model_validate_json(collected().model_dump_json()))
    assert again == comparison
    assert comparison_page(again, draw_comparison(again)) == comparison_page(comparison, draw_comparison(comparison))


def test_nothing_said_is_no_comparison() -> None:
    with pytest.raises(MeasurementError, match="no profiles to compare"):
        made(collected(systems=()))


@pytest.mark.parametrize("text", ["{", "[]", '{"recipes": ["a"]}'])
def test_broken_profiles_are_named_with_a_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "profiles.json").write_text(text)
    with pytest.raises(ExamplesError, match=r"profiles.json: .*; remove it, and the models are asked again"):
        read_profiles(tmp_path / "profiles.json")


# The command


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipes on people with an adapter made of random numbers each, one without records, one without a run."""
    place = tmp_path_factory.mktemp("home")
    recipe = "title: People\nvoice: Plain.\nprompts: [Hello]\nsampling: {max_tokens: 16}\n"
    rows = [json.dumps({"prompt": asked(one), "completion": told(one)}) for one in PEOPLE]
    odd = [json.dumps({"prompt": f"Say {n}.", "completion": f"Number {n}."}) for n in range(12)]
    halves = {"people": (rows[:9], rows[9:]), "leaky": (rows[3:], rows[:3]), "odd": (odd[:9], odd[9:])}
    for name, (examples, heldout) in {**halves, "untrained": halves["people"]}.items():
        folder = place / "recipes" / name
        folder.mkdir(parents=True)
        (folder / "recipe.yaml").write_text(recipe)
        (folder / "examples.jsonl").write_text("\n".join(examples))
        (folder / "heldout.jsonl").write_text("\n".join(heldout))
        if name != "untrained":
            made_here = place / "runs" / name / "aaaa11112222"
            make_adapter(made_here / "adapter")
            (made_here / "settings.json").write_text('{"base": "embedded"}')
            (made_here / "result.json").write_text("{}")
    return place


def command(home: Path, *arguments: str) -> Done:
    return understudy(home, "compare", *arguments)


def test_the_command_asks_once_and_takes_in_other_systems_later(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = command(home, "people", "--count", "2", "--samples", "2", "--out", str(out))
    assert first.returncode == 0, first.stderr
    assert "2 held-out records, 2 samples" in first.stdout
    asked_of = [json.loads(line)["prompt"] for line in (out / "prompts.jsonl").read_text().splitlines()]
    assert len(asked_of) == len(set(asked_of)) == 10
    before = Profiles.model_validate_json((out / "profiles.json").read_text())
    assert [(one.name, one.kind) for one in before.systems] == [("base", "base"), ("people", "trained")]
    assert all(len(said) == 2 for one in before.systems for said in one.answers)
    answers = tmp_path / "template.jsonl"
    rows = [{"prompt": text, "answer": told(facts_of(text)), "sample": k} for text in asked_of[:-1] for k in (1, 2)]
    answers.write_text("\n".join(map(json.dumps, rows)))
    options = ("--count", "2", "--samples", "2", "--out", str(out), "--answers", f"template={answers}")
    second = command(home, "people", *options)
    assert second.returncode == 0, second.stderr
    assert "asking" not in second.stderr
    assert "template: 1 prompts without a profile" in second.stdout
    after = Profiles.model_validate_json((out / "profiles.json").read_text())
    assert after.systems[:2] == before.systems
    assert after.systems[2].name == "template"
    figures = json.loads(command(home, "people", *options, "--json").stdout)
    template = figures["contestants"][2]["figures"]
    assert template["faithful"]["value"] == template["same_facts"]["value"] == 1
    assert "template" in (out / "index.html").read_text()
    third = command(home, "people", *options, "--seed", "1")
    assert "asking people" in third.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobody"], "no recipe 'nobody'"),
        (["people", "untrained"], "untrained has no finished run; train one first: understudy train untrained"),
        (
            ["people", "leaky"],
            "leaky was trained on the held-out record .*compare on records that nobody was trained on",
        ),
        (["odd"], "no record in the prompt 'Say 9.'; a comparison needs prompts with lines such as `name: Ada`"),
        (["people", "--swap", "she/he"], "--swap: found 'she/he'; write ATTRIBUTE=ONE/OTHER"),
        (
            ["people", "--swap", "town=A/B"],
            "none of the 3 records has 'A' or 'B' as town; attributes there are: name, role",
        ),
        (["people", "--answers", "x.jsonl"], "--answers: found 'x.jsonl'; write NAME=FILE"),
        (["people", "--answers", "x=nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(home: Path, arguments: list[str], says: str) -> None:
    done = command(home, *arguments, "--count", "3", "--samples", "1")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(says, line), line


def test_samples_are_drawn_with_a_seed_and_a_whole_model_is_asked_as_a_base_is() -> None:
    from train.samples import sample_answers
    from understudy.bases import EMBEDDED_DIR, resolve_base

    chats = [[{"role": "user", "content": text}] for text in ("Tell me about tea.", "What is a boat?")]
    done: list[tuple[int, int]] = []

    def draw(seed: int, product: Path | None = None) -> list[tuple[str, ...]]:
        options = {"samples": 3, "temperature": 1.0, "max_tokens": 12, "on_answers": lambda *told: done.append(told)}
        return sample_answers(resolve_base("embedded"), product, chats, seed=seed, **options)

    first = draw(0)
    assert [len(said) for said in first] == [3, 3]
    assert len(set(first[0])) > 1
    assert draw(0) == first == draw(0, EMBEDDED_DIR)
    assert draw(1) != first
    assert done[0] == (6, 6)
