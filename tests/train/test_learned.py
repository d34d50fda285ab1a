"""A training that taught nothing is refused, and a run of one step teaches."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.pirate import ROWS, home, only_run, train
from train.learned import check_changed
from understudy.errors import TrainingError
from understudy.registry.adapters import WEIGHTS

__all__ = ["home"]


def keep_rows(home: Path, count: int) -> None:
    file = home / "recipes" / "pirate" / "examples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:count]))


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (1, ("--set", "max_steps=1")),
        (1, ("--epochs", "1")),
        (4, ("--epochs", "1", "--set", "warmup=0.9")),
        (4, ("--epochs", "1", "--set", "scheduler=polynomial")),
        (1, ("--epochs", "1", "--set", "scheduler=inverse_sqrt", "--set", "loraplus=16")),
    ],
)
def test_a_run_of_one_step_teaches(home: Path, rows: int, options: tuple[str, ...]) -> None:
    keep_rows(home, rows)
    done = train(home, "--base", "tiny", *options)
    assert done.returncode == 0, done.stderr
    assert "1 steps" in done.stderr
    weights = load_file(only_run(home) / "adapter" / WEIGHTS)
    assert all(bool(value.any()) for name, value in weights.items() if "lora_B" in name)


@pytest.mark.parametrize("method", ["qlora", "full"])
def test_a_training_that_moved_no_loss_is_refused(home: Path, method: str) -> None:
    keep_rows(home, 1)
    done = train(home, "--base", "tiny", "--epochs", "1", "--method", method, "--learning-rate", "1e-30")
    assert done.returncode == 1
    assert "nothing was learned; raise learning_rate" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "home" / "adapters").exists()
    assert "nothing was learned" in train(home, "--base", "tiny", "--epochs", "1", "--learning-rate", "1e-30").stderr


def test_an_adapter_that_is_still_the_one_it_continued_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    weights = {"a.lora_A.weight": torch.ones(2, 2), "a.lora_B.weight": torch.ones(2, 2)}
    save_file(weights, tmp_path / "old" / WEIGHTS)
    save_file(weights, tmp_path / "new" / WEIGHTS)
    with pytest.raises(TrainingError, match="is the one that it continued: nothing was learned"):
        check_changed(tmp_path / "new", tmp_path / "old")
    save_file({**weights, "a.lora_B.weight": torch.zeros(2, 2)}, tmp_path / "new" / WEIGHTS)
    check_changed(tmp_path / "new", tmp_path / "old")
