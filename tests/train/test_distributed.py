"""One run in two processes: the same steps as in one, one set of files, and no process that outlives the others."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.support.pirate import EACH_STEP, ROWS, home, only_run, places, train
from train.distributed import shared
from train.runs import Run
from understudy.bases import TINY_DIR
from understudy.config.training import Training
from understudy.errors import TrainingError

__all__ = ["home"]

TWO = ("--processes", "2")


def start(home: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "understudy", "train", "pirate", *options]
    return subprocess.Popen(command, env={**os.environ, **places(home), **EACH_STEP}, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, said = process.communicate(timeout=240)
    return process.returncode, said


def logged(home: Path) -> list[float]:
    entries = map(json.loads, (only_run(home) / "log.jsonl").read_text().splitlines())
    return [entry["loss"] for entry in entries if "loss" in entry]


def trainers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The processes that train, in the order of their ranks."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        if child.cmdline()[1:4] == ["-m", "understudy", "train"]:
            found.append(child)
    return sorted(found, key=lambda child: child.environ()["RANK"])


def in_the_midst(home: Path, process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Waits for the first checkpoint; the processes that train."""
    deadline = time.monotonic() + 200
    while not list((home / "runs").glob("pirate/*/checkpoints/*/trainer_state.json")):
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = trainers(process)
    assert len(found) == 2
    return found


@pytest.mark.parametrize(
    ("settings", "processes", "rows", "accumulated"),
    [
        ({"batch_size": 4}, 2, 2, 1),
        ({"batch_size": 8, "micro_batch_size": 2}, 2, 2, 2),
        ({"batch_size": 8, "micro_batch_size": 8}, 4, 2, 1),
        ({"batch_size": 4}, 1, 4, 1),
    ],
)
def test_the_batch_of_the_recipe_is_divided_not_multiplied(
    settings: dict, processes: int, rows: int, accumulated: int
) -> None:
    training = shared(Training(**settings), processes)
    assert (training.batch_size, training.rows_at_once) == (settings["batch_size"], rows)
    assert training.rows_at_once * processes * accumulated == training.batch_size


@pytest.mark.parametrize(
    ("settings", "processes", "says"),
    [
        ({"batch_size": 4}, 3, "a batch of 4 rows cannot be divided among 3 processes; use 1, 2, 4 processes, or a"),
        ({"batch_size": 12, "micro_batch_size": 4}, 2, "has 6 rows of a batch of 12, which is no multiple of micro_"),
    ],
)
def test_a_batch_that_cannot_be_divided_is_refused_with_what_could_be(
    settings: dict, processes: int, says: str
) -> None:
    with pytest.raises(TrainingError, match=says):
        shared(Training(**settings), processes)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_and_leave_one_set_of_files(home: Path, tmp_path: Path) -> None:
    code, said = finish(start(home, *TWO))
    assert code == 0, said
    assert said.count("12 steps (4 epochs)") == said.count("registered as pirate@") == 1, "both talk"
    run = only_run(home)
    together, files = logged(home), sorted(path.name for path in run.iterdir())
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(TINY_DIR), str(run / "adapter"))
    assert train(home, "--fresh").returncode == 0
    assert only_run(home) == run, "the number of processes does not make another run"
    assert files == sorted(path.name for path in run.iterdir())
    assert together == pytest.approx(logged(home), rel=0.02)
    refused = train(home, "--fresh", "--processes", "3")
    assert (refused.returncode, "cannot be divided among 3 processes" in refused.stderr) == (1, True)


@pytest.mark.slow
@pytest.mark.long
def test_when_one_process_is_killed_all_end_with_one_line_and_the_run_goes_on_later(home: Path) -> None:
    process = start(home, "--epochs", "10", *TWO)
    both = in_the_midst(home, process)
    both[1].kill()
    code, said = finish(process)
    assert code == 1
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: process 2 of 2 failed and the others were ended: signal 9 ended it; the same")
    assert not any(one.is_running() for one in both)
    assert not Run(only_run(home)).finished

    code, said = finish(start(home, "--epochs", "10", *TWO))
    assert code == 0, said
    assert "went on from step " in said
    assert "30 steps" in said


@pytest.mark.slow
def test_ctrl_c_ends_every_process(home: Path) -> None:
    process = start(home, "--epochs", "200", *TWO)
    both = in_the_midst(home, process)
    process.send_signal(signal.SIGINT)
    code, said = finish(process)
    assert (code, "Traceback" in said) == (130, False)
    assert not any(one.is_running() for one in both)


@pytest.mark.slow
def test_what_is_refused_is_said_once_by_both(home: Path) -> None:
    examples = home / "recipes" / "pirate" / "examples.jsonl"
    examples.write_text('{"prompt": "Hello", "completion": ""}\n')
    code, said = finish(start(home, *TWO))
    assert code == 1
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert str(examples) in line


@pytest.mark.slow
@pytest.mark.long
def test_cross_validation_and_a_launcher_of_ones_own_work_the_same(home: Path) -> None:
    few = "".join(json.dumps(row) + "\n" for row in ROWS[:4])
    (home / "recipes" / "pirate" / "examples.jsonl").write_text(few)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [
        *launcher,
        "-m",
        "understudy",
        "train",
        "pirate",
        "--epochs",
        "cross-validated",
        "--set",
        "scheduler=constant",
    ]
    done = subprocess.run(command, env={**os.environ, **places(home)}, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("choosing the number of epochs: fold") == 4
    assert done.stderr.count("registered as pirate@") == 1
    run = only_run(home)
    folds = json.loads((run / "folds.json").read_text())
    assert json.loads((run / "result.json").read_text())["steps"] == folds["epochs"], "4 rows, 4 a step"
