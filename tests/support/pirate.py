"""A small recipe to train for real, and the command line called in this process, so that torch is imported once."""

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from understudy.cli import main

ROWS = [{"prompt": f"Tell me about item {n}.", "completion": f"Ahoy! Item {n} it be."} for n in range(12)]
RECIPE = "title: Pirate\nvoice: Says ahoy.\nprompts: [Hello]\ntraining: {epochs: 4, learning_rate: 1.0e-3}\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A place with the recipe `pirate`, where everything that is made goes, too."""
    return made_home(tmp_path)


def made_home(folder: Path) -> Path:
    """The same in any folder."""
    recipe = folder / "recipes" / "pirate"
    recipe.mkdir(parents=True)
    (recipe / "recipe.yaml").write_text(RECIPE)
    (recipe / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


@dataclass(frozen=True)
class Done:
    """What a command left on the terminal."""

    returncode: int
    stdout: str
    stderr: str


def places(home: Path) -> dict[str, str]:
    """The variables that keep a command within `home`."""
    return {
        "UNDERSTUDY_HOME": str(home / "home"),
        "UNDERSTUDY_RUNS_DIR": str(home / "runs"),
        "UNDERSTUDY_RECIPES_DIR": str(home / "recipes"),
        "UNDERSTUDY_CHECKPOINT_SECONDS": "0",  # as many as there can be: tests kill runs that are over in a moment
    }


def understudy(home: Path, *arguments: str) -> Done:
    """Runs `understudy ARGUMENTS` in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.dict(os.environ, places(home)),
        patch.object(sys, "argv", ["understudy", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
    return Done(code, out.getvalue(), err.getvalue())


def train(home: Path, *options: str) -> Done:
    """`understudy train pirate` in this process."""
    return understudy(home, "train", "pirate", *options)


def hold_out(home: Path, rows: list[dict[str, str]]) -> None:
    """Gives the recipe these held-out rows."""
    file = home / "recipes" / "pirate" / "heldout.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def items(numbers: range) -> list[dict[str, str]]:
    """Rows in the manner of those of the recipe."""
    return [{"prompt": f"Tell me about item {n}.", "completion": f"Ahoy! Item {n} it be."} for n in numbers]


def only_run(home: Path) -> Path:
    """The folder of the one run there is."""
    (run,) = (path for path in (home / "runs" / "pirate").iterdir() if path.is_dir())
    return run
