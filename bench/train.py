"""Our trainer against TRL with its defaults and TRL tuned by hand: same base, rows, epochs and batch, one process each.

python -m bench.train [--rounds 3] [--epochs 4]

Tokens are counted without padding. "first step" is the time from the start of the process to the end of the first
optimiser step, libraries and base included.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.machine import save
from understudy.processes import QUIET_OPENMP
from understudy.recipes import load_recipe
from understudy.settings import load_settings
from understudy.training import Training

WAYS = ("TRL defaults", "TRL tuned", "understudy")
CASES = {
    "qlora": {"method": "qlora"},
    "lora": {"method": "lora"},
    "lora, packed": {"method": "lora", "packing": True},
    "full": {"method": "full", "learning_rate": 1e-3},
}
COMMON = {
    "learning_rate": 2e-3,
    "batch_size": 8,
    "rank": 8,
    "alpha": 16,
    "max_length": 512,
    "gradient_checkpointing": False,
}


def main() -> None:
    """Measures, prints one table, writes docs/results/train.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn (3)")
    parser.add_argument("--epochs", type=int, default=4, help="passes over the rows (4)")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "CASE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_one(*arguments.one, epochs=arguments.epochs)))
        return
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(arguments.rounds):
        for case in CASES:
            for way in WAYS:
                found.setdefault((case, way), []).append(_apart(way, case, arguments.epochs))
    rows = [{"case": case, "way": way, **_medians(runs)} for (case, way), runs in found.items()]
    _print(rows)
    print(save("train", {"rounds": arguments.rounds, "epochs": arguments.epochs, "rows": rows}))


def _apart(way: str, case: str, epochs: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.train", "--epochs", str(epochs), "--one", way, case]
    done = subprocess.run(command, env={**os.environ, **QUIET_OPENMP}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{way}, {case}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _one(way: str, case: str, *, epochs: int) -> dict[str, float]:
    """One run in this process."""
    began = time.perf_counter()
    from train.cost import peak_memory
    from train.model import load_tokenizer
    from train.preflight import token_rows, training_rows
    from understudy.bases import resolve_base

    settings = load_settings()
    examples = [
        e for name in ("email-copy", "stand-up") for e in load_recipe(name, settings.recipes_dir).load_examples()
    ]
    base, training = resolve_base("embedded"), Training.model_validate({"epochs": epochs, **COMMON, **CASES[case]})
    tokenizer = load_tokenizer(base)
    rows = training_rows(examples)
    tokens = sum(len(row.input_ids) for row in token_rows(rows, tokenizer))
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(way, base, tokenizer, training, rows, Path(folder))
        first = _first_step(trainer)
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
    return {
        "tokens_per_second": tokens * epochs / seconds,
        "peak_memory_mib": peak_memory(),
        "first_step_s": first[0] - began,
        "mean_loss": trainer.state.log_history[-1]["train_loss"],
    }


def _trainer(way: str, base: Any, tokenizer: Any, training: Training, rows: Any, folder: Path) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from train.model import load_model, lora_config, quiet
    from train.trainer import build_trainer

    quiet()
    if way == "understudy":
        return build_trainer(base, tokenizer, training, rows, folder)
    shared = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": True,
        "num_train_epochs": training.epochs,
        "per_device_train_batch_size": training.batch_size,
        "packing": training.packing,
        "max_length": training.max_length,
        "report_to": "none",
        "disable_tqdm": True,
    }
    tuned = {
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.scheduler,
        "warmup_steps": training.warmup,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_steps": 1,
    }
    lora = (
        lora_config(training) if way == "TRL tuned" or training.method == "full" else LoraConfig(task_type="CAUSAL_LM")
    )
    return SFTTrainer(
        model=load_model(base, training),
        args=SFTConfig(**shared, **(tuned if way == "TRL tuned" else {})),
        train_dataset=Dataset.from_list([{"prompt": row.prompt, "completion": row.completion} for row in rows]),
        processing_class=tokenizer,
        peft_config=lora,
    )


def _first_step(trainer: Any) -> list[float]:
    """A list that gets the time when the first optimiser step is done."""
    from transformers import TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            times.append(time.perf_counter())

    trainer.add_callback(Clock())
    return times


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("", "trainer", "tokens/s", "of tuned TRL", "peak MiB", "first step s", "mean loss", title="Training")
    for row in rows:
        tuned = next(r for r in rows if r["case"] == row["case"] and r["way"] == "TRL tuned")["tokens_per_second"]
        table.add_row(
            row["case"],
            row["way"],
            f"{row['tokens_per_second']:,.0f}",
            f"{row['tokens_per_second'] / tuned:.2f}",
            f"{row['peak_memory_mib']:,.0f}",
            f"{row['first_step_s']:.1f}",
            f"{row['mean_loss']:.3f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
