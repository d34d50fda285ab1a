"""A small recipe to train for real, and the command line on it, in this process."""

import json
from pathlib import Path

import pytest

from tests.support import command_line
from tests.support.command_line import Done

ROWS = [{"prompt": f"Tell me about item {n}.", "completion": f"Ahoy! Item {n} it be."} for n in range(12)]
EACH_STEP = {"UNDERSTUDY_CHECKPOINT_SECONDS": "0"}
"""A checkpoint after each step, for runs that are killed and would be over in a moment."""
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


def places(home: Path) -> dict[str, str]:
    """The variables that keep a command within `home`."""
    return {
        "UNDERSTUDY_HOME": str(home / "home"),
        "UNDERSTUDY_RUNS_DIR": str(home / "runs"),
        "UNDERSTUDY_RECIPES_DIR": str(home / "recipes"),
    }


def understudy(home: Path, *arguments: str) -> Done:
    """Runs `understudy ARGUMENTS` in this process."""
    return command_line.understudy(*arguments, env=places(home))


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
