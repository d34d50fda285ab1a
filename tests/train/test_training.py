"""Training for real: QLoRA on the tiny base, interrupted and resumed, refused when it must be."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.pirate import EACH_STEP, ROWS, home, only_run, places, train
from tests.support.system import SHARED
from understudy.bases import base_revision, resolve_base
from understudy.registry.adapters import CONFIG, WEIGHTS, content_revision

__all__ = ["home"]

pytestmark = pytest.mark.slow


def command(home: Path, *options: str) -> tuple[list[str], dict[str, str]]:
    """For a process of its own, which can be killed."""
    return [sys.executable, "-m", "understudy", "train", "pirate", *options], {
        **os.environ,
        **places(home),
        **EACH_STEP,
    }


def test_a_run_leaves_an_adapter_with_its_settings_data_hashes_log_and_card(home: Path) -> None:
    done = train(home)
    assert done.returncode == 0, done.stderr
    assert "12 steps" in done.stderr
    assert "registered as pirate@" in done.stderr
    assert "no GPU here" in done.stderr
    run = only_run(home)
    config = json.loads((run / "adapter" / CONFIG).read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert config["revision"] == base_revision(resolve_base("tiny"))
    assert config["r"] == 8, "as befits 12 rows"
    settings = json.loads((run / "adapter" / "training.json").read_text())
    assert settings["training"]["method"] == "qlora"
    assert settings["rows"] == 12
    assert len(settings["examples_sha256"]) == 64
    assert {"torch", "transformers", "trl", "peft", "bitsandbytes"} <= set(settings["versions"])
    losses = [
        entry["loss"] for entry in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if "loss" in entry
    ]
    assert len(losses) == 12
    assert sum(losses[-3:]) < sum(losses[:3])
    assert "library_name: peft" in (run / "adapter" / "README.md").read_text()
    assert not list((run / "adapter").glob("*.bin")), "no pickle beside the adapter"

    again = train(home)
    assert "already trained with these settings" in again.stderr
    revision = content_revision(run / "adapter")
    fresh = train(home, "--fresh")
    assert fresh.returncode == 0
    assert content_revision(run / "adapter") == revision, "the same run must give the same adapter"


def test_a_killed_run_goes_on_where_it_stopped(home: Path) -> None:
    arguments, env = command(home, "--epochs", "12")
    process = subprocess.Popen(arguments, env=env, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not list((home / "runs").glob("pirate/*/checkpoints/*/trainer_state.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (only_run(home) / "result.json").exists()

    done = train(home, "--epochs", "12")
    assert done.returncode == 0, done.stderr
    assert "went on from step " in done.stderr
    assert "36 steps" in done.stderr
    assert (only_run(home) / "adapter" / WEIGHTS).is_file()


def test_bad_data_stops_before_training(home: Path) -> None:
    examples = home / "recipes" / "pirate" / "examples.jsonl"
    examples.write_text(json.dumps(ROWS[0]) + "\n{oops\n")
    done = train(home)
    assert done.returncode == 1
    assert done.stderr.strip().startswith(f"error: {examples}:2: not JSON")
    examples.write_text("".join(json.dumps({**row, "completion": "word " * 1500}) + "\n" for row in ROWS[:3]))
    done = train(home, "--base", "tiny")
    assert done.returncode == 1
    assert "has only 3 examples" in done.stderr
    assert "longer than max_length 1024" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--rank", "-1"), "--rank: Input should be greater than or equal to 0, found -1"),
        (("--method", "magic"), "--method: Input should be 'qlora', 'lora', 'lora-8bit' or 'full', found 'magic'"),
        (("--set", "neftun=5"), "--set neftun: there is no such setting of training; did you mean 'neftune'?"),
        (("--set", "neftune"), "--set 'neftune': use NAME=VALUE"),
        (("--batch-size", "4", "--set", "micro_batch_size=3"), "batch_size 4 is not a multiple of micro_batch_size 3"),
        (("--method", "full", "--set", "rslora=true"), "method full has no adapter"),
        (("--base", "./nowhere"), "base './nowhere': no model there"),
        (("--base", "nowhere"), "use smollm2, tiny, a folder, or a Hub id"),
    ],
)
def test_options_that_cannot_be_followed_are_one_clear_line(home: Path, options: tuple[str, ...], says: str) -> None:
    done = train(home, *options)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("method", ["lora", "lora-8bit"])
def test_the_other_methods_train_too(home: Path, method: str) -> None:
    done = train(home, "--method", method, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert json.loads((only_run(home) / "settings.json").read_text())["training"]["method"] == method
    assert "tokens/s, at most" in done.stderr


def test_a_full_fine_tune_makes_a_base_of_its_own(home: Path) -> None:
    done = train(home, "--method", "full", "--set", "max_steps=2", "--learning-rate", "0.001")
    assert done.returncode == 0, done.stderr
    model = only_run(home) / "model"
    assert "serve it with UNDERSTUDY_BASE set to that" in done.stderr
    assert resolve_base(str(model)).local
    assert base_revision(resolve_base(str(model))) != base_revision(resolve_base("tiny"))
    assert not (home / "home" / "adapters").exists()
    assert (
        "already trained" in train(home, "--method", "full", "--set", "max_steps=2", "--learning-rate", "0.001").stderr
    )


def test_every_setting_of_training_reaches_the_trainer(home: Path) -> None:
    settings = "rslora=true loraplus=16 neftune=5 packing=true micro_batch_size=2 weight_decay=0.01 precision=fp32"
    settings += " scheduler=polynomial gradient_checkpointing=true max_steps=3"
    done = train(home, "--tracker", "tensorboard", *(part for s in settings.split() for part in ("--set", s)))
    assert done.returncode == 0, done.stderr
    run = only_run(home)
    adapter = json.loads((run / "adapter" / CONFIG).read_text())
    assert adapter["use_rslora"]
    assert json.loads((run / "result.json").read_text())["steps"] == 3
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_a_run_that_needs_more_memory_than_there_is_says_so_before_it_starts(home: Path) -> None:
    done = train(home, "--set", "packing=true", "--set", "max_length=10000000", "--batch-size", "64")
    assert done.returncode == 1
    assert re.search(r"this run needs about [\d,]+ MiB \(weights .* MiB are free here; use method qlora", done.stderr)
    assert not (home / "home" / "adapters").exists()


def test_a_base_that_cannot_be_had_says_why_and_what_to_use_instead(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    done = train(home, "--base", "nobody/nothing")
    assert done.returncode == 1
    assert done.stderr.startswith("error: base nobody/nothing: the Hub cannot be reached")
    assert "use --base smollm2" in done.stderr


def test_a_base_whose_template_ends_no_answer_is_refused_before_training(home: Path) -> None:
    folder = SHARED / "models" / "stories260k"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    done = train(home, "--base", str(folder))
    assert done.returncode == 1
    assert "is not trained, so the answers would never stop" in done.stderr


def test_a_tracker_that_is_not_installed_says_what_to_install(home: Path) -> None:
    if importlib.util.find_spec("trackio"):
        pytest.skip("Trackio is installed here")
    done = train(home, "--tracker", "trackio")
    assert done.returncode == 1
    assert "error: trackio is not installed; install it with `pip install trackio`, or leave --tracker" in done.stderr


def test_a_program_reads_each_step_and_the_outcome_as_json_lines(home: Path) -> None:
    done = train(home, "--json")
    assert done.returncode == 0, done.stderr
    *steps, outcome = map(json.loads, done.stdout.splitlines())
    assert [(one["step"], one["of"]) for one in steps] == [(n, 12) for n in range(1, 13)]
    assert all(one["loss"] > 0 for one in steps)
    run = only_run(home)
    assert outcome["outcome"] == "trained"
    assert outcome["persona"] == "pirate"
    assert outcome["revision"] == content_revision(run / "adapter")
    assert outcome["run"] == str(run)
    assert (outcome["base"], outcome["steps"], outcome["loss"]) == ("tiny", 12, steps[-1]["loss"])
    assert outcome["seconds"] > 0
    assert "registered as pirate@" in done.stderr, "people read on"

    again = train(home, "--json")
    assert json.loads(again.stdout) == {**outcome, "outcome": "reused"}

    refused = train(home, "--json", "--method", "magic")
    assert refused.returncode == 1
    assert "--method" in json.loads(refused.stdout)["error"]
    assert train(home, "--json", "--on", "hf-jobs").returncode == 1
