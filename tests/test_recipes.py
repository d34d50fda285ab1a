"""Recipes: the shipped ones are sound, and a mistake in a recipe.yaml is named with its cure."""

from pathlib import Path

import pytest

from understudy.errors import NotFoundError, RecipeError
from understudy.recipes import load_recipe, recipe_names
from understudy.settings import PROJECT

GOOD = "title: T\nvoice: V\nprompts: [Hello]\n"


def recipe(folder: Path, text: str, name: str = "mine") -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "recipe.yaml").write_text(text)
    return folder


@pytest.mark.parametrize(("name", "rows"), [("email-copy", range(17, 18)), ("stand-up", range(35, 50))])
def test_shipped_recipes_have_their_examples_and_unseen_heldout_prompts(name: str, rows: range) -> None:
    loaded = load_recipe(name, PROJECT / "recipes")
    examples, heldout = loaded.load_examples(), loaded.load_heldout()
    assert len(examples) in rows
    assert len(heldout) >= 20
    seen = {example.prompt[-1]["content"].lower() for example in examples}
    assert not [row for row in heldout if row.prompt[-1]["content"].lower() in seen]


def test_name_comes_from_the_folder_and_defaults_are_filled_in(tmp_path: Path) -> None:
    loaded = load_recipe("mine", recipe(tmp_path, GOOD))
    assert loaded.name == "mine"
    assert loaded.training.method == "qlora"
    assert loaded.folder == tmp_path / "mine"
    assert recipe_names(tmp_path) == ["mine"]


def test_settings_for_the_embedded_base_replace_only_what_they_name(tmp_path: Path) -> None:
    text = GOOD + "training: {epochs: 3, rank: 8}\nembedded: {epochs: 9}\n"
    loaded = load_recipe("mine", recipe(tmp_path, text))
    assert loaded.training_for("embedded").epochs == 9
    assert loaded.training_for("embedded").rank == 8
    assert loaded.training_for("Qwen/Qwen3-0.6B").epochs == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "epoch: 3", "unknown key 'epoch'; did you mean 'training.epochs'?"),
        (GOOD + "colour: red", "unknown key 'colour'; known keys: name, title"),
        (GOOD + "promts: []", "unknown key 'promts'; did you mean 'prompts'?"),
        (GOOD + "training: {learning_rat: 1}", "unknown key 'training.learning_rat'; did you mean 'learning_rate'?"),
        (GOOD + "embedded: {epoch: 1}", "embedded: unknown key 'epoch'; did you mean 'epochs'?"),
        (GOOD + "training: {epochs: many}", "training.epochs: .*found 'many'"),
        (GOOD + "training: {rank: 0}", "training.rank: .*greater than or equal to 1, found 0"),
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
    with pytest.raises(RecipeError, match=says) as caught:
        load_recipe("mine", recipe(tmp_path, text))
    assert "recipe.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no recipe 'yours': .* recipes there are: mine"):
        load_recipe("yours", recipe(tmp_path, GOOD))
