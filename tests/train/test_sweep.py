"""A sweep for real: it goes on where it was, never sees held-out rows, and writes the best settings as a recipe."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tests.support.pirate import home, understudy
from understudy.bases import TINY_DIR
from understudy.config.recipe import load_recipe
from understudy.data.recipe_rows import training_examples

__all__ = ["home"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

OVER = ("--over", "learning_rate,rows", "--base", "tiny")


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
    folder = home / "runs" / "pirate" / "sweep"
    assert json.loads((folder / "sweep.json").read_text())["trials"] == found["trials"]
    assert {"sweep.md", "history.svg"} <= {path.name for path in folder.iterdir()}
    best = min((t for t in found["trials"] if t["loss"]), key=lambda trial: trial["loss"])
    (recipe.parent / "pirate-best" / "heldout.jsonl").unlink()
    written = load_recipe("pirate-best", recipe.parent)
    assert written.training.learning_rate == pytest.approx(best["settings"]["learning_rate"])
    assert training_examples(written) == training_examples(load_recipe("pirate", recipe.parent))
    again = understudy(home, "sweep", "pirate", "--trials", "2", *OVER, "--write", "pirate-best")
    assert again.returncode == 1
    assert "there is something already; choose another name with --write" in again.stderr


@pytest.mark.long
def test_bases_and_shares_of_the_rows_are_swept_over_like_any_setting(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other-base"
    config = AutoConfig.from_pretrained(TINY_DIR, num_hidden_layers=1)
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    AutoTokenizer.from_pretrained(TINY_DIR).save_pretrained(other)
    bases = ("--base", "tiny", "--base", str(other))
    done = understudy(home, "sweep", "pirate", "--over", "rows", "--trials", "4", "--write", "best", "--json", *bases)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [trial["settings"] for trial in found["trials"][:2]] == [
        {"rows": 1.0, "base": "tiny"},
        {"rows": 1.0, "base": str(other)},
    ], "the recipe's own settings on each base"
    losses = {trial["settings"]["base"]: trial["loss"] for trial in found["trials"][:2]}
    assert losses["tiny"] < losses[str(other)], "a base that knows nothing is worse"
    assert "other-base" in (home / "runs" / "pirate" / "sweep" / "by-base.svg").read_text()
    assert load_recipe("best", home / "recipes").base == "tiny"


def test_what_cannot_be_swept_over_is_named_with_what_can(home: Path) -> None:
    done = understudy(home, "sweep", "pirate", "--over", "colour")
    assert done.returncode == 1
    assert "cannot sweep over colour; use some of: learning_rate, epochs" in done.stderr
