"""What people are told about a persona travels with its adapter, and whoever pushes writes it: so it is checked."""

import json
from pathlib import Path

import pytest

from understudy.config.recipe import load_recipe, recipe_names
from understudy.config.settings import PROJECT
from understudy.errors import AdapterError
from understudy.registry.adapters import CARD, kept_files
from understudy.registry.persona_card import MAX_BYTES, read_card
from understudy.workflows.personas import card_of

RECIPES = PROJECT / "recipes"


@pytest.mark.parametrize("name", recipe_names(RECIPES))
def test_the_card_of_a_recipe_survives_the_journey(tmp_path: Path, name: str) -> None:
    card = card_of(load_recipe(name, RECIPES), 17)
    (tmp_path / CARD).write_text(json.dumps(card))
    assert read_card(tmp_path) == card
    assert [path.name for path in kept_files(tmp_path)] == [CARD]


def test_an_adapter_without_a_card_says_nothing(tmp_path: Path) -> None:
    assert read_card(tmp_path) == {}


def test_only_what_is_said_counts_and_what_is_unknown_is_left_out(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text('{"title": "Poet", "live": "deadbeef"}')
    assert read_card(tmp_path) == {"title": "Poet"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "persona.json: not JSON"),
        ("[" * 100_000, "persona.json"),
        ("[]", "persona.json: found a JSON list, not an object"),
        ('{"title": 7}', "persona.json: title: Input should be a valid string, found 7"),
        (json.dumps({"voice": "x" * 401}), "persona.json: voice: .*at most 400"),
        ('{"prompts": "Hello"}', "persona.json: prompts: .*valid list"),
        ('{"golden": [{"prompt": "p", "expect": "(a+)+$"}]}', "may search for very long"),
        ('{"sampling": {"temperature": 9}}', "sampling.temperature: .*less than or equal to 2"),
        (" " * (MAX_BYTES + 1), "more than 100,000 bytes"),
    ],
)
def test_a_bad_card_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / CARD).write_text(text)
    with pytest.raises(AdapterError, match=says) as found:
        read_card(tmp_path)
    assert "\n" not in str(found.value)
