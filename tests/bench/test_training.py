"""The bench of trainers compares like with like: same rows, same settings, one clock; who cannot run says why."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import startup
from bench.training.train import of_tuned
from bench.training.train_tables import goals
from bench.training.trainers import environment, ways
from bench.training.trainers.environment import PeerError
from bench.training.trainers.rows import ROWS, rows_of, write_rows
from bench.training.trainers.run import run
from bench.training.trainers.ways import CASES, OURS, TUNED, Command, Job, settings_of
from understudy.bases import resolve_base
from understudy.config.recipe import load_recipe
from understudy.config.settings import PROJECT
from understudy.config.training import Training
from understudy.data.load import load_examples

TORCH_STEPS = (
    "import torch, pathlib, sys\n"
    "weight = torch.nn.Parameter(torch.ones(2))\n"
    "optimiser = torch.optim.AdamW([weight])\n"
    "for _ in range(3):\n"
    "    weight.sum().backward()\n"
    "    optimiser.step()\n"
    "(pathlib.Path(sys.argv[1]) / 'a.safetensors').touch()\n"
)


@pytest.fixture(scope="module", params=ROWS)
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows") / request.param
    write_rows(folder, *rows_of(request.param, PROJECT / "recipes"))
    return folder


def options(command: Command) -> dict[str, str]:
    """The command line as names and values; a name without a value is "yes"."""
    found: dict[str, str] = {}
    name = ""
    for word in command.words:
        if word.startswith("--"):
            name = word[2:]
            found[name] = "yes"
        elif name:
            found[name], name = word, ""
    return found


def test_all_trainers_get_the_same_rows_and_never_a_held_out_one(rows: Path) -> None:
    ours = [[m.model_dump() for m in e.messages] for e in load_examples(rows / "voice" / "examples.jsonl")]
    trl = [json.loads(line) for line in (rows / "trl" / "train.jsonl").read_text().splitlines()]
    factory = json.loads((rows / "factory" / "rows.json").read_text())
    assert f"{len(ours)} rows" == rows.name
    assert [row["prompt"] + row["completion"] for row in trl] == ours
    assert [row["messages"] for row in factory] == ours
    heldout = [[m.model_dump() for m in e.messages] for e in load_examples(rows / "voice" / "heldout.jsonl")]
    assert heldout
    assert not [chat for chat in heldout if chat in ours]


@pytest.mark.parametrize("case", CASES)
def test_all_trainers_get_the_same_settings(
    case: str, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "llamafactory", lambda: tmp_path)
    settings, base = settings_of(case), resolve_base("tiny")
    folders = {name: tmp_path / name for name in ("ours", "trl", "hand", "factory")}
    for folder in folders.values():
        folder.mkdir()
    jobs = {name: Job(base, rows, folder, settings) for name, folder in folders.items()}
    ways.understudy(jobs["ours"])
    trl = options(ways.trl_same_settings(jobs["trl"]))
    ways.trl_by_hand(jobs["hand"])
    ways.llama_factory(jobs["factory"])

    ours = load_recipe(str(folders["ours"] / "voice"), tmp_path).training
    assert ours == Training.model_validate(settings)
    hand = json.loads((folders["hand"] / "told.json").read_text())
    factory = yaml.safe_load((folders["factory"] / "told.yaml").read_text())
    full, quantised = ours.method == "full", ours.method == "qlora"
    expected: dict[str, Any] = {
        "learning rate": ours.learning_rate,
        "epochs": ours.epochs,
        "batch": ours.batch_size,
        "bf16": ours.precision == "bf16",
        "warmup": ours.warmup,
        "longest": ours.max_length,
        "rank, alpha": None if full else (ours.rank, ours.alpha),
        "4 bits": quantised,
        "packing": ours.packing,
        "steps": ours.max_steps or -1,
    }
    assert expected == {
        "learning rate": float(trl["learning_rate"]),
        "epochs": float(trl["num_train_epochs"]),
        "batch": int(trl["per_device_train_batch_size"]),
        "bf16": trl["bf16"] == "true",
        "warmup": float(trl["warmup_steps"]),
        "longest": int(trl["max_length"]),
        "rank, alpha": (int(trl["lora_r"]), int(trl["lora_alpha"])) if "use_peft" in trl else None,
        "4 bits": "load_in_4bit" in trl,
        "packing": "packing" in trl,
        "steps": int(trl["max_steps"]),
    }
    assert expected == {
        "learning rate": hand["learning_rate"],
        "epochs": hand["epochs"],
        "batch": hand["batch_size"],
        "bf16": hand["bf16"],
        "warmup": hand["warmup"],
        "longest": hand["max_length"],
        "rank, alpha": None if hand["method"] == "full" else (hand["rank"], hand["alpha"]),
        "4 bits": hand["method"] == "qlora",
        "packing": hand["packing"],
        "steps": hand["max_steps"] or -1,
    }
    assert expected == {
        "learning rate": factory["learning_rate"],
        "epochs": factory["num_train_epochs"],
        "batch": factory["per_device_train_batch_size"],
        "bf16": factory["bf16"],
        "warmup": factory["warmup_ratio"],
        "longest": factory["cutoff_len"],
        "rank, alpha": (factory["lora_rank"], factory["lora_alpha"]) if "lora_rank" in factory else None,
        "4 bits": factory.get("quantization_bit") == 4,
        "packing": factory["packing"],
        "steps": factory["max_steps"],
    }


def test_the_clock_counts_the_steps_of_any_program_that_trains(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    found, product = run(Command([sys.executable, "-c", TORCH_STEPS, str(tmp_path / "out")]), tmp_path)
    assert found["steps"] == 3
    assert 0 < found["first_step_s"] < found["first_step_s"] + found["stepping_s"] <= found["seconds"]
    assert found["peak_memory_mib"] > 20
    assert product == tmp_path / "out"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('no room for it')", "exit code 1: no room for it"),
        ("print('trained nothing')", "exit code 0: trained nothing"),
        ("import pathlib; pathlib.Path('x')", "it said nothing"),
    ],
)
def test_a_trainer_that_makes_nothing_is_a_row_with_a_reason(code: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=reason):
        run(Command([sys.executable, "-c", code]), tmp_path)


def test_an_environment_that_cannot_be_made_is_a_reason_and_leaves_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "CACHE", tmp_path)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    for _ in range(2):
        with pytest.raises(PeerError, match="its environment cannot be installed"):
            environment.llamafactory()
    assert not list(tmp_path.rglob("ready"))


def test_times_of_imports_are_added_up_by_package() -> None:
    said = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       500 |        500 |   numpy.linalg\n"
        "a warning on the way\n"
        "import time:      1500 |       2000 | numpy\n"
        "import time:   1000000 |    1002000 | torch\n"
    )
    assert startup.packages(said) == {"torch": 1.0, "numpy": 0.002}


@pytest.mark.parametrize(
    ("speeds", "tuned", "ratios"),
    [
        ([150, 75, 300], [100, 50, 200], [1.5, 1.5, 1.5]),  # the machine was half as fast in the second round, for both
        ([150], [100, 100, 100], [1.5]),  # one that runs in the first round only
        ([], [100], []),
        ([100], [], []),
    ],
)
def test_trainers_are_compared_round_by_round(speeds: list[float], tuned: list[float], ratios: list[float]) -> None:
    assert of_tuned(speeds, tuned) == ratios


@pytest.mark.parametrize(
    ("case", "rows", "tokens", "steps", "seen"),
    [
        ("17 rows, LoRA", 17, 1700, 10, 3400),  # two epochs, whose last batches are not full
        ("200 rows, LoRA", 200, 20_000, 10, 8000),
        ("200 rows, LoRA, packed", 200, 20_000, 10, 10_000),  # forty sequences of 500 tokens, two a step
    ],
)
def test_tokens_are_those_of_the_rows_that_were_seen(
    case: str, rows: int, tokens: int, steps: int, seen: float
) -> None:
    assert ways.tokens_of(case, rows, tokens, steps) == seen


def test_one_slower_round_misses_the_goal() -> None:
    row = {"case": "c", "heldout_loss": 2.0, "to_adapter_s": 20.0}
    rows = [{**row, "way": OURS, "of_tuned_least": 0.97}, {**row, "way": TUNED, "of_tuned_least": 1.0}]
    assert [goal.verdict for goal in goals(rows)] == ["missed", "met", "met"]
    assert [goal.verdict for goal in goals([{"case": "c", "way": OURS, "reason": "no room"}])] == ["not measured"] * 3
