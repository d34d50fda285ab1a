"""The rows that all trainers learn, in the form of each."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.config.recipe import load_recipe
from understudy.data.messages import Example
from understudy.data.recipe_rows import heldout_examples, training_examples

ROWS = {"17 rows": ("email-copy", 17), "200 rows": ("code-qa", 200)}
"""Whose rows are learnt, and how many of them."""
HELDOUT = 12
"""Rows of which the judge takes the loss."""


def write_rows(folder: Path, examples: Sequence[Example], heldout: Sequence[Example]) -> None:
    """The rows in the form of each trainer: `voice/` (a recipe of ours), `trl/` and `factory/`."""
    for name in ("voice", "trl", "factory"):
        (folder / name).mkdir(parents=True)
    chats = [[message.model_dump() for message in example.messages] for example in examples]
    _write_lines(folder / "voice" / "examples.jsonl", [{"messages": chat} for chat in chats])
    rest = [[message.model_dump() for message in example.messages] for example in heldout]
    _write_lines(folder / "voice" / "heldout.jsonl", [{"messages": chat} for chat in rest])
    halves = [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats]
    _write_lines(folder / "trl" / "train.jsonl", halves)
    (folder / "factory" / "rows.json").write_text(json.dumps([{"messages": chat} for chat in chats]))
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    tags["system_tag"] = "system"
    rows = {"file_name": "rows.json", "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    (folder / "factory" / "dataset_info.json").write_text(json.dumps({"rows": rows}))


def rows_of(name: str, recipes: Path) -> tuple[list[Example], list[Example]]:
    """The rows of that name to learn, and held-out ones of the same recipe."""
    chosen, count = ROWS[name]
    recipe = load_recipe(chosen, recipes)
    return training_examples(recipe)[:count], heldout_examples(recipe)[:HELDOUT]


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
