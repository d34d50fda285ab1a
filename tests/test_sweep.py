"""A sweep for real: it goes on where it was, never sees held-out rows, and writes the best settings as a recipe."""

import json
from pathlib import Path

import pytest

from tests.pirate import home, understudy
from understudy.recipes import load_recipe

__all__ = ["home"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

OVER = ("--over", "learning_rate,rows", "--base", "embedded")


def test_a_sweep_goes_on_where_it_was_and_its_best_settings_become_a_recipe(home: Path) -> None:
    recipe = home / "recipes" / "pirate"
    (recipe / "heldout.jsonl").write_text("this is not JSON: nobody reads it\n")
    first = understudy(home, "sweep", "pirate", "--trials", "1", *OVER)
    assert first.returncode == 0, first.stderr
    done = understudy(home, "sweep", "pirate", "--trials", "2", *OVER, "--write", "pirate-best", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [trial["number"] for trial in found["trials"]] == [0, 1]
    assert found["trials"][0]["settings"] == {"learning_rate": 0.001, "rows": 1.0}, "the recipe's own settings"
    assert json.loads((home / "home" / "sweeps" / "pirate.json").read_text())["trials"] == found["trials"]
    best = min((t for t in found["trials"] if t["loss"]), key=lambda trial: trial["loss"])
    (recipe.parent / "pirate-best" / "heldout.jsonl").unlink()
    written = load_recipe("pirate-best", recipe.parent)
    assert written.training_for("embedded").learning_rate == pytest.approx(best["settings"]["learning_rate"])
    assert written.load_examples() == load_recipe("pirate", recipe.parent).load_examples()
    again = understudy(home, "sweep", "pirate", "--trials", "2", *OVER, "--write", "pirate-best")
    assert again.returncode == 1
    assert "there is something already; choose another name with --write" in again.stderr


def test_what_cannot_be_swept_over_is_named_with_what_can(home: Path) -> None:
    done = understudy(home, "sweep", "pirate", "--over", "colour")
    assert done.returncode == 1
    assert "cannot sweep over colour; use some of: learning_rate, epochs" in done.stderr
