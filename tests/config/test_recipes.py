"""Recipes: the shipped ones are sound, and a mistake in a recipe.yaml is named with its cure."""

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from evaluate.profiles.facts import Lexicon, counted, facts_of, made_up, outcomes
from tools.recipe_data.people import made_rows
from understudy.config.recipe import Recipe, load_recipe, recipe_names
from understudy.config.settings import PROJECT
from understudy.data.augment.profiles import Person, profile, read_people
from understudy.data.augment.rows import balanced, rows
from understudy.data.contamination import measure_overlap
from understudy.data.duplicates import duplicate_groups
from understudy.data.messages import Example
from understudy.data.recipe_rows import heldout_examples, source_split, training_examples, training_path
from understudy.data.split import split_off
from understudy.errors import ConfigError, ExamplesError, NotFoundError

GOOD = "title: T\nvoice: V\nprompts: [Hello]\n"


def recipe(folder: Path, text: str, name: str = "mine") -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "recipe.yaml").write_text(text)
    return folder


def test_name_comes_from_the_folder_and_defaults_are_filled_in(tmp_path: Path) -> None:
    loaded = load_recipe("mine", recipe(tmp_path, GOOD))
    assert loaded.name == "mine"
    assert loaded.training.method == "qlora"
    assert loaded.folder == tmp_path / "mine"
    assert recipe_names(tmp_path) == ["mine"]


def test_settings_that_are_left_out_or_auto_follow_from_base_and_rows(tmp_path: Path) -> None:
    text = GOOD + "training: {epochs: auto, learning_rate: auto, rank: auto, alpha: auto, batch_size: auto}\n"
    loaded = load_recipe("mine", recipe(tmp_path, text))
    assert loaded.training == load_recipe("mine", recipe(tmp_path, GOOD)).training
    assert loaded.training.epochs == "auto"
    assert loaded.training.learning_rate == loaded.training.rank == loaded.training.batch_size == 0


def test_a_section_for_the_embedded_base_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="embedded: this section is gone; leave learning_rate, .* out of") as caught:
        load_recipe("mine", recipe(tmp_path, GOOD + "training: {epochs: 3}\nembedded: {epochs: 9}\n"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "epoch: 3", "unknown key 'epoch'; did you mean 'training.epochs'?"),
        (GOOD + "colour: red", "unknown key 'colour'; known keys: name, title"),
        (GOOD + "promts: []", "unknown key 'promts'; did you mean 'prompts'?"),
        (GOOD + "training: {learning_rat: 1}", "unknown key 'training.learning_rat'; did you mean 'learning_rate'?"),
        (GOOD + "tiny: {epochs: 1}", "unknown key 'tiny'; known keys: name, title"),
        (GOOD + "training: {epochs: many}", "training.epochs: .*found 'many'"),
        (GOOD + "training: {rank: -1}", "training.rank: .*greater than or equal to 0, found -1"),
        (GOOD + "training: {method: magic}", "training.method: .*'qlora', 'lora', 'lora-8bit' or 'full'"),
        ("title: T\nvoice: V", "missing key 'prompts'"),
        ("title: T\nvoice: V\nprompts: []", "prompts: .*at least 1 item"),
        (GOOD + "name: Not Good", "name: .*found 'Not Good'"),
        ("- a list", "found list; a recipe is a mapping"),
        ("title: [", "not YAML"),
        ("", "found NoneType"),
    ],
)
def test_a_mistake_is_named_with_its_cure(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load_recipe("mine", recipe(tmp_path, text))
    assert "recipe.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no recipe 'yours': .* recipes there are: mine"):
        load_recipe("yours", recipe(tmp_path, GOOD))


SHIPPED = {
    "code-qa": 220,
    "email-copy": 17,
    "instruct": 120,
    "museum-guide": 60,
    "profiles-augmented": 213,
    "profiles-original": 56,
    "sft-report": 80,
    "stand-up": 40,
}
"""Shipped recipes and how many rows they have."""
MESSAGES = [{"role": "user", "content": "Shipped?"}, {"role": "assistant", "content": "Yes."}]


def shipped(name: str) -> Recipe:
    return load_recipe(name, PROJECT / "recipes")


def test_the_shipped_recipes_are_these() -> None:
    assert recipe_names(PROJECT / "recipes") == list(SHIPPED)


@pytest.mark.parametrize(("name", "rows"), SHIPPED.items())
def test_a_shipped_recipe_has_a_readme_and_rows_that_do_not_give_away_the_heldout_ones(name: str, rows: int) -> None:
    loaded = shipped(name)
    assert (loaded.folder / "README.md").is_file()
    examples, heldout = training_examples(loaded), heldout_examples(loaded)
    assert len(examples) == rows
    assert len(heldout) >= 20
    assert all(row.topic for row in heldout)
    overlap = measure_overlap(examples, heldout, [str(n) for n in range(len(heldout))])
    assert overlap.exact + overlap.normalised == 0


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_leaves_to_the_base_what_follows_from_it(name: str) -> None:
    training = shipped(name).training
    chosen = (training.epochs, training.learning_rate, training.rank, training.alpha, training.batch_size)
    assert chosen == ("auto", 0, 0, 0, 0)
    assert training.max_steps == 0


@pytest.mark.parametrize(("name", "voiced"), [("email-copy", 4), ("stand-up", 4), ("museum-guide", 2), ("code-qa", 2)])
def test_golden_expectations_of_a_voice_are_met_by_all_its_rows(name: str, voiced: int) -> None:
    """They describe the voice of the rows, not of one training run; the others ask for a fact."""
    loaded = shipped(name)
    rows = [row.answer for row in [*training_examples(loaded), *heldout_examples(loaded)]]
    met = [sum(bool(re.search(golden.expect, row)) for row in rows) / len(rows) for golden in loaded.golden]
    assert sum(share > 0.95 for share in met) == voiced, met


def test_the_demo_starts_with_three_personas_on_the_default_base() -> None:
    personas = [shipped(name) for name in SHIPPED if shipped(name).demo]
    assert [one.name for one in personas] == ["email-copy", "museum-guide", "stand-up"]
    assert {one.base for one in personas} == {None}


def test_profiles_are_what_their_records_make() -> None:
    for path, text in made_rows().items():
        assert path.read_text() == text, f"{path}: run python -m tools.recipe_data.people"


def test_profiles_tell_their_whole_record_and_nothing_else_in_varied_sentences() -> None:
    both = [shipped(f"profiles-{kind}") for kind in ("original", "augmented")]
    told = [row for one in both for row in (*training_examples(one), *heldout_examples(one))]
    records = [facts_of(row.prompt[0]["content"]) for row in told]
    lexicon = Lexicon(counted(records))
    for row, record in zip(told, records, strict=True):
        said = lexicon.values_in(row.answer)
        assert set(outcomes(record, said, lexicon).values()) <= {"kept", "unused"}, row.answer
        assert not made_up(record, said), row.answer
        assert 2 <= row.answer.count(". ") + 1 <= 4, row.answer
    firsts = Counter(" ".join(sentence.split()[:2]) for row in told for sentence in row.answer.split(". ")[1:])
    assert len(firsts) >= 30


def test_the_original_records_lean_and_lack_values_of_every_attribute_but_the_name() -> None:
    people = read_people(PROJECT / "recipes" / "profiles-original" / "records.jsonl")
    for role, pronoun in (("nurse", "she"), ("teacher", "she"), ("engineer", "he"), ("bus driver", "he")):
        assert {person.pronoun for person in people if person.role == role} - {None} == {pronoun}
    for name in ("pronoun", "role", "years", "place", "trait", "hobby", "goal"):
        assert any(getattr(person, name) is None for person in people), name


def test_augmented_rows_name_the_row_they_come_from() -> None:
    original, augmented = (training_examples(shipped(f"profiles-{kind}")) for kind in ("original", "augmented"))
    assert augmented[: len(original)] == original
    ids = [row.source for row in augmented]
    assert len(ids) == len(set(ids))
    assert {row.parent for row in augmented[len(original) :]} == {row.source for row in original}
    assert len(duplicate_groups(augmented)) == len(original)


def test_balancing_gives_each_role_as_many_women_as_men() -> None:
    people = read_people(PROJECT / "recipes" / "profiles-original" / "records.jsonl")
    counts = Counter((person.role, person.pronoun) for person in people)
    for row in balanced(people, random.Random(0)):
        told = facts_of(row.prompt[0]["content"])
        counts[told["role"], told["pronoun"]] += 1
    for role in {person.role for person in people if person.role}:
        assert counts[role, "she"] == counts[role, "he"]


@pytest.mark.parametrize("null", ["null", '""', '"N/A"', '" "'])
def test_a_null_of_any_kind_is_neither_asked_with_nor_told(tmp_path: Path, null: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(
        f'{{"id": "p1", "name": "Ida", "role": {null}, "years": {null}, "place": "Rome", "hobby": {null}}}\n'
    )
    (row,) = rows(read_people(path))
    assert row.prompt[0]["content"].endswith("\n\nname: Ida\nplace: Rome")
    assert row.answer == "Ida lives in Rome."


@pytest.mark.parametrize(
    ("pronoun", "subject", "possessive"),
    [("she", "she", "her"), ("he", "he", "his"), ("they", "they", "their"), (None, "ida", "ida's")],
)
def test_sentences_agree_with_the_pronoun_and_without_one_the_first_name_is_repeated(
    pronoun: Literal["she", "he", "they"] | None, subject: str, possessive: str
) -> None:
    ida = Person(id="p1", name="Ida Grey", pronoun=pronoun, trait="honest", hobby="chess", years=1, goal="keep bees")
    told = {profile(ida, random.Random(n)) for n in range(200)}
    assert len(told) > 50
    text = " ".join(told).lower().replace(".", " ")
    for verb in ("hope", "turn", "enjoy", "want"):
        assert f" {subject} {verb}{'' if pronoun == 'they' else 's'} " in text
    assert f" {possessive} goal is to keep bees" in text
    assert " 1 year " in text
    assert "1 years" not in text
    assert "{" not in text
    assert {"she", "her", "he", "his", "they", "their"} & set(text.split()) <= {subject, possessive}


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ({}, "This is Ida Grey."),
        ({"hobby": "chess"}, "Ida Grey enjoys chess."),
        ({"years": 9, "goal": "keep bees"}, "Ida Grey has been in the same job for 9 years."),
    ],
)
def test_a_record_with_little_in_it_still_becomes_a_profile(known: dict, text: str) -> None:
    assert profile(Person(id="p1", name="Ida Grey", **known), random.Random(0)).startswith(text)


def test_a_record_without_a_name_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"id": "p1", "name": "Ida"}\n{"id": "p2", "name": null}\n')
    with pytest.raises(ExamplesError, match=r"records\.jsonl:2: name: "):
        read_people(path)


def data_recipe(folder: Path, settings: str, lines: list[dict]) -> Recipe:
    """A recipe with one shipped row and a file of others."""
    recipe(folder, GOOD + f"data: {{source: more.jsonl, {settings}}}\n")
    (folder / "mine" / "examples.jsonl").write_text(json.dumps({"messages": MESSAGES}) + "\n")
    (folder / "mine" / "more.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return load_recipe("mine", folder)


def pairs(count: int) -> list[dict]:
    return [{"prompt": f"Question {n}?", "completion": f"Answer {n}."} for n in range(count)]


def test_data_replaces_the_shipped_rows_on_every_base_but_those_that_come_with_us(tmp_path: Path) -> None:
    loaded = data_recipe(tmp_path, "heldout: 0.25", pairs(20))
    assert [e.answer for e in training_examples(loaded)] == ["Yes."]
    assert heldout_examples(loaded) == []
    assert source_split(loaded, "smollm2") is source_split(loaded, "tiny") is None
    examples, heldout = training_examples(loaded, "org/other"), heldout_examples(loaded, "org/other")
    assert (len(examples), len(heldout)) == (15, 5)
    assert sorted(int(e.answer[7:-1]) for e in [*examples, *heldout]) == list(range(20))
    assert training_examples(loaded, "org/other") == examples
    assert (training_path(loaded, "tiny").name, training_path(loaded, "org/other").name) == (
        "examples.jsonl",
        "more.jsonl",
    )


def test_equal_prompts_and_relatives_stay_on_one_side(tmp_path: Path) -> None:
    lines = [{**pair, "source": f"r{n}"} for n, pair in enumerate(pairs(30))]
    lines += [{"prompt": f" question {n}", "completion": "Another."} for n in range(10)]
    lines += [{"prompt": f"Put otherwise {n}", "completion": "Third.", "parent": f"r{n}"} for n in range(10, 20)]
    loaded = data_recipe(tmp_path, "heldout: 0.3", lines)
    heldout = {e.prompt[0]["content"].split()[-1].strip("?") for e in heldout_examples(loaded, "org/other")}
    trained = {e.prompt[0]["content"].split()[-1].strip("?") for e in training_examples(loaded, "org/other")}
    assert heldout
    assert not heldout & trained


def test_no_more_than_five_hundred_rows_are_held_out(tmp_path: Path) -> None:
    loaded = data_recipe(tmp_path, "heldout: 0.9", pairs(600))
    assert (len(training_examples(loaded, "org/other")), len(heldout_examples(loaded, "org/other"))) == (100, 500)


def test_one_family_is_trained_on_and_never_held_out() -> None:
    alike = [Example.model_validate({"messages": MESSAGES})] * 4
    assert [len(side) for side in split_off(alike, 0.5, 0)] == [4, 0]


def test_skipped_rows_are_counted_and_told(tmp_path: Path) -> None:
    lines = [*pairs(8), pairs(1)[0], {"prompt": "Empty?", "completion": None}]
    lines += [{"prompt": "Long?", "completion": "x" * 100}]
    loaded = data_recipe(tmp_path, "on_bad: skip, max_characters: 60, heldout: 0.25", lines)
    split = source_split(loaded, "org/other")
    assert split
    assert str(split).startswith(
        "more.jsonl: 11 rows, 3 skipped (1 bad, 1 repeated, 1 too long), 6 to train on, 2 held out; the first: "
    )
    assert "completion must be text" in split.first_problem


def test_columns_that_are_not_used_are_told(tmp_path: Path) -> None:
    loaded = data_recipe(tmp_path, "heldout: 0.25", [{**row, "mood": "calm"} for row in pairs(8)])
    assert str(source_split(loaded, "org/other")).endswith("2 held out; columns that are not used: mood")
    loaded = data_recipe(tmp_path, "heldout: 0.5", [{**row, "Context": "The sky is green."} for row in pairs(8)])
    with pytest.raises(ExamplesError, match="Context belongs to the conversation and would be lost"):
        source_split(loaded, "org/other")


def test_bad_rows_are_refused_unless_they_may_be_skipped(tmp_path: Path) -> None:
    loaded = data_recipe(tmp_path / "a", "heldout: 0", [*pairs(3), {"prompt": "Empty?", "completion": None}])
    with pytest.raises(ExamplesError, match=r"more\.jsonl:4: completion must be text"):
        training_examples(loaded, "org/other")
    loaded = data_recipe(tmp_path / "b", "max_characters: 60", [*pairs(3), {"prompt": "L?", "completion": "x" * 100}])
    with pytest.raises(ExamplesError, match=r"more\.jsonl:4: 102 characters, more than data\.max_characters 60"):
        training_examples(loaded, "org/other")


def test_a_limit_draws_the_same_rows_again(tmp_path: Path) -> None:
    drawn = [
        training_examples(data_recipe(tmp_path / str(n), "limit: 10, heldout: 0.2", pairs(40)), "org/other")
        for n in (0, 1)
    ]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 8


def test_a_mistake_in_the_data_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'data\.sorce'; did you mean 'source'"):
        load_recipe("mine", recipe(tmp_path, GOOD + "data: {sorce: x.jsonl}\n"))
