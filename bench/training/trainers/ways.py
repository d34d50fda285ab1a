"""What each trainer is told, so that all learn the same rows with the same settings: pure functions to commands."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.training.trainers.environment import llamafactory
from understudy.bases import Base
from understudy.bases.precision import cpu_has_bfloat16

SHARED = {
    "learning_rate": 1e-3,
    "rank": 8,
    "alpha": 16,
    "warmup": 0.05,
    "max_length": 512,
    "gradient_checkpointing": False,
    "packing": False,
    "max_steps": 0,
}
"""Settings of all cases, in our words (`understudy.config.training.Training`); the precision is the processor's."""
FEW = {"rows": "17 rows", "epochs": 2, "batch_size": 4}
MANY = {"rows": "200 rows", "epochs": 1, "batch_size": 8, "max_steps": 6}
CASES: dict[str, dict[str, Any]] = {
    "17 rows, LoRA": {**FEW, "method": "lora"},
    "17 rows, QLoRA": {**FEW, "method": "qlora"},
    "200 rows, LoRA": {**MANY, "method": "lora"},
    "200 rows, QLoRA": {**MANY, "method": "qlora"},
    "200 rows, LoRA, packed": {**MANY, "method": "lora", "packing": True, "batch_size": 2},
}
"""What differs, and which rows."""


@dataclass(frozen=True)
class Command:
    """A way to train: what is run, with which variables besides ours, and where its product appears."""

    words: list[str]
    product: str = "out"
    """The folder of the adapter or model within the one of the run; a star where its name is not known before."""
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What one run is told."""

    base: Base
    rows: Path
    """A folder of `bench.training.trainers.rows.write_rows`."""
    folder: Path
    """Of this run, empty."""
    settings: dict[str, Any]
    """In our words, with no other keys."""

    @property
    def adapter(self) -> bool:
        return self.settings["method"] != "full"

    @property
    def bf16(self) -> bool:
        return self.settings["precision"] == "bf16"


def settings_of(case: str) -> dict[str, Any]:
    """The settings of a case, in our words."""
    precision = {"precision": "bf16" if cpu_has_bfloat16() else "fp32"}
    return {**SHARED, **precision, **{name: value for name, value in CASES[case].items() if name != "rows"}}


def tokens_of(case: str, rows: int, tokens: int, steps: float) -> float:
    """Tokens of so many steps of a case, without padding: its batches are drawn from `rows` rows of `tokens` tokens in
    all, or from sequences that packing has filled with them."""
    settings = settings_of(case)
    drawn = math.ceil(tokens / settings["max_length"]) if settings["packing"] else rows
    most = tokens * settings["epochs"]
    return min(most, steps * settings["batch_size"] * tokens / drawn)


def understudy(job: Job) -> Command:
    """Ours, as people run it: a recipe's folder, and everything else in its recipe.yaml. It ends with the adapter in
    the registry."""
    recipe = {"title": "A voice", "voice": "As the rows have it.", "prompts": ["Write about a kite."]}
    voice = job.folder / "voice"
    voice.mkdir()
    # No held-out rows: ours would measure them after every epoch, which no other trainer is asked to do here.
    (voice / "examples.jsonl").symlink_to(job.rows / "voice" / "examples.jsonl")
    (voice / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "training": job.settings}))
    env = {"UNDERSTUDY_HOME": str(job.folder / "home"), "UNDERSTUDY_RUNS_DIR": str(job.folder / "runs")}
    words = [str(_program("understudy")), "train", str(voice), "--base", job.base.name]
    return Command(words, f"runs/voice/*/{'adapter' if job.adapter else 'model'}", env)


def trl_as_it_comes(job: Job) -> Command:
    """TRL's command with what it cannot do without, and the same number of epochs; the rest are its defaults."""
    words = [str(_program("trl")), "sft", "--model_name_or_path", job.base.location, "--use_cpu"]
    words += ["--dataset_name", str(job.rows / "trl"), "--output_dir", str(job.folder / "out")]
    words += ["--num_train_epochs", str(job.settings["epochs"]), "--max_steps", str(job.settings["max_steps"] or -1)]
    return Command([*words, "--use_peft"] if job.adapter else words)


def trl_same_settings(job: Job) -> Command:
    """TRL's command with our rate, schedule, batch, rank, modules and precision; the rest are its defaults."""
    told = job.settings
    words = ["--learning_rate", str(told["learning_rate"]), "--lr_scheduler_type", "cosine", "--seed", "0"]
    words += ["--warmup_steps", str(told["warmup"]), "--per_device_train_batch_size", str(told["batch_size"])]
    words += ["--max_length", str(told["max_length"]), "--bf16", str(job.bf16).lower()]
    words += ["--dtype", "bfloat16" if job.bf16 and job.adapter else "float32"]
    if job.adapter:
        words += ["--lora_r", str(told["rank"]), "--lora_alpha", str(told["alpha"])]
        words += ["--lora_target_modules", "all-linear"]
    if told["method"] == "qlora":
        words += ["--load_in_4bit", "--bnb_4bit_quant_type", "nf4", "--use_bnb_nested_quant"]
    if told["packing"]:
        words.append("--packing")
    return Command(trl_as_it_comes(job).words + words)


def trl_by_hand(job: Job, device: str = "cpu") -> Command:
    """A script on SFTTrainer without gradient checkpointing, pinned memory and checkpoints."""
    told = {**job.settings, "bf16": job.bf16, "device": device}
    told |= {"base": job.base.location, "rows": str(job.rows / "trl"), "output": str(job.folder / "out")}
    path = job.folder / "told.json"
    path.write_text(json.dumps(told))
    return Command([sys.executable, str(Path(__file__).with_name("by_hand.py")), str(path)])


def llama_factory(job: Job) -> Command:
    """LLaMA-Factory's command; without `template` it takes the tokenizer's own, and writes the same tokens as we do.

    Raises:
        PeerError: its environment cannot be made.
    """
    settings = job.settings
    told = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": job.base.location,
        "dataset_dir": str(job.rows / "factory"),
        "dataset": "rows",
        "cutoff_len": settings["max_length"],
        "packing": settings["packing"],
        "neat_packing": settings["packing"],
        "output_dir": str(job.folder / "out"),
        "finetuning_type": "lora" if job.adapter else "full",
        "num_train_epochs": settings["epochs"],
        "max_steps": settings["max_steps"] or -1,
        "per_device_train_batch_size": settings["batch_size"],
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_ratio": settings["warmup"],
        "bf16": job.bf16,
        "use_cpu": True,
        "disable_gradient_checkpointing": True,
        "save_strategy": "no",
        "report_to": "none",
        "seed": 0,
    }
    if job.adapter:
        told |= {"lora_rank": settings["rank"], "lora_alpha": settings["alpha"], "lora_target": "all"}
    if settings["method"] == "qlora":
        told |= {"quantization_bit": 4, "quantization_type": "nf4", "double_quantization": True}
    path = job.folder / "told.yaml"
    path.write_text(yaml.safe_dump(told))
    return Command([str(llamafactory() / "llamafactory-cli"), "train", str(path)])


OURS, TUNED = "understudy train", "TRL tuned by hand"
WAYS: dict[str, Callable[[Job], Command]] = {
    OURS: understudy,
    TUNED: trl_by_hand,
    "trl sft, same settings": trl_same_settings,
    "LLaMA-Factory": llama_factory,
    "trl sft, its defaults": trl_as_it_comes,
}
ASKED: dict[str, tuple[str, ...]] = {
    "trl sft, same settings": ("17 rows, LoRA", "200 rows, LoRA"),
    "trl sft, its defaults": ("17 rows, LoRA",),
}
"""The cases of those that are not run in all: they take the longest, and the defaults know no case."""


def _program(name: str) -> Path:
    return Path(sys.executable).with_name(name)
