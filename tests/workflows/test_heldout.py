"""Which held-out rows `understudy verify` asks."""

import json
from pathlib import Path

import pytest

from understudy.bases import TINY, resolve_base
from understudy.config.recipe import load_recipe
from understudy.errors import ExamplesError
from understudy.workflows.evaluation.verify import heldout_for

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
TURNS = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "At noon."}]
PLAIN = {"messages": TURNS}


def recipe_with(folder: Path, rows: list[dict]) -> Path:
    poet = folder / "poet"
    poet.mkdir()
    (poet / "recipe.yaml").write_text("title: Poet\nvoice: Rhymes.\nprompts: [Hello]\n")
    for name, what in (("examples", [PLAIN]), ("heldout", rows)):
        (poet / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in what))
    return folder


def test_rows_without_tools_are_asked(tmp_path: Path) -> None:
    recipe = load_recipe("poet", recipe_with(tmp_path, [PLAIN, PLAIN]))
    assert len(heldout_for(recipe, resolve_base(TINY))) == 2


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([PLAIN], "needs at least 2 held-out rows"),
        ([PLAIN, {**PLAIN, "tools": [TOOL]}], "row 2 has tools, and verify asks without tools"),
    ],
)
def test_rows_that_would_be_asked_differently_are_refused(tmp_path: Path, rows: list[dict], says: str) -> None:
    recipe = load_recipe("poet", recipe_with(tmp_path, rows))
    with pytest.raises(ExamplesError, match=says):
        heldout_for(recipe, resolve_base(TINY))
