"""Any text as recipe.yaml is a recipe, or one line."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.config.recipe import Recipe, load_recipe
from understudy.errors import UnderstudyError

pytestmark = pytest.mark.fuzz

KEYS = [
    "title: Tea\n",
    "voice: Hi\n",
    "prompts: [Hello]\n",
    "prompts:\n",
    "- What?\n",
    "title: ",
    "training: {epochs: 3}\n",
]
VALUES = [
    "yes",
    "1e3",
    "2026-13-45",
    ": ",
    "#x",
    " #",
    "\t",
    "'",
    '"',
    "[",
    "]",
    "{",
    "}",
    "*a",
    "&a ",
    "!b ",
    "|",
    ">",
]
REST = [
    "%",
    "@",
    "? ",
    "<<: ",
    "\n",
    "training:\n  targets: q_proj\n",
    "---\n",
    "...\n",
    "\x00",
    "é",
    "\u2028",
    "1: 2\n",
]
pieces = st.sampled_from([*KEYS, *VALUES, *REST])


@given(st.lists(pieces, max_size=10), st.booleans())
def test_any_text_is_a_recipe_or_one_line(some: list[str], whole: bool) -> None:
    text = ("title: Tea\nvoice: Hi\nprompts: [Hello]\n" if whole else "") + "".join(some)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "tea"
        made.mkdir()
        (made / "recipe.yaml").write_text(text, encoding="utf-8")
        try:
            said = load_recipe("tea", Path(folder))
        except UnderstudyError as error:
            said = str(error)
    assert isinstance(said, Recipe) or "\n" not in said
