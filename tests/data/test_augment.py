"""`understudy data augment`: more rows from rows, each naming its parent, in one family with it."""

import json
from pathlib import Path

import pytest

from tests.support.pirate import ROWS, home, understudy
from understudy.config.settings import PROJECT
from understudy.data.duplicates import duplicate_groups
from understudy.data.load import load_examples
from understudy.data.messages import Example, Message

__all__ = ["home"]


def test_records_of_people_become_the_rows_of_the_shipped_recipe(home: Path) -> None:
    out = home / "new" / "rows.jsonl"
    recipe = PROJECT / "recipes" / "profiles-original"
    done = understudy(home, "data", "augment", str(recipe), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert out.read_text() == (recipe.parent / "profiles-augmented" / "examples.jsonl").read_text()
    assert "56 rows of " in done.stderr
    assert "and 157 made from them" in done.stderr
    again = understudy(home, "data", "augment", str(recipe), "--out", str(out))
    assert (again.returncode, "there is something already" in again.stderr) == (1, True)


def test_other_rows_get_other_wordings_of_their_prompts_and_keep_answers_and_families(home: Path) -> None:
    done = understudy(home, "data", "augment", "pirate", "--times", "3")
    assert done.returncode == 0, done.stderr
    file = home / "more.jsonl"
    file.write_text(done.stdout)
    rows = load_examples(file)
    assert len(rows) == 4 * len(ROWS)
    assert len(duplicate_groups(rows)) == len(ROWS)
    assert [row.answer for row in rows[: len(ROWS)]] == [row["completion"] for row in ROWS]
    mine = {row.prompt[-1]["content"] for row in rows if "row 3" in (row.source, row.parent)}
    assert mine == {
        "Tell me about item 2.",
        "tell me about item 2",
        "Please help me with this. Tell me about item 2.",
        "Here is what I need: Tell me about item 2.",
    }
    assert done.stdout == understudy(home, "data", "augment", "pirate", "--times", "3").stdout
    assert done.stdout != understudy(home, "data", "augment", "pirate", "--times", "2").stdout


@pytest.mark.parametrize(
    ("prompt", "typed"),
    [
        ("What is rain?", "what is rain"),
        ("LoRA, explained.", "LoRA, explained"),
        ("I need a hat!", "I need a hat"),
        ("...", "..."),
    ],
)
def test_a_prompt_as_people_type_it_keeps_names_as_they_are(home: Path, prompt: str, typed: str) -> None:
    messages = (Message(role="user", content=prompt), Message(role="assistant", content="Yes."))
    file = home / "rows.jsonl"
    file.write_text(json.dumps(Example(messages=messages, parent="tale").model_dump(exclude_none=True)) + "\n")
    done = understudy(home, "data", "augment", str(file), "--times", "3")
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert typed in [row["messages"][0]["content"] for row in made]
    assert {row["parent"] for row in made} == {"tale"}, "a child of a child has the same parent"


def test_what_is_neither_a_file_nor_a_recipe_is_said_with_the_recipes_there_are(home: Path) -> None:
    done = understudy(home, "data", "augment", "nothing")
    assert done.returncode == 1
    assert "no recipe 'nothing'" in done.stderr
