"""What each trainer is told, so that all learn the same rows with the same settings: pure functions to commands."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.training.trainers.environment import llamafactory
from understudy.bases import TINY_DIR
from understudy.config.recipe import load_recipe
from understudy.data.messages import Example
from understudy.data.recipe_rows import heldout_examples, training_examples

RECIPES = ("email-copy", "stand-up")
"""Whose rows are learnt, together, as one voice with two moods."""

LEARNING_RATE = 2e-3
BATCH = 8
RANK = 8
ALPHA = 16
WARMUP = 0.05
MAX_LENGTH = 512

CASES = {
    "LoRA, bf16": {"method": "lora"},
    "LoRA, f32": {"method": "lora", "precision": "fp32"},
    "QLoRA, bf16": {"method": "qlora"},
    "LoRA, bf16, packed": {"method": "lora", "packing": True},
    "full, bf16": {"method": "full", "learning_rate": 1e-3},
}
"""Settings in our words that differ from the common ones."""


@dataclass(frozen=True)
class Command:
    """A way to train: what is run, with which variables besides ours, and where its product appears."""

    words: list[str]
    product: str = "out"
    """The folder of the adapter or model within the one of the run; a star where its name is not known before."""
    env: dict[str, str] = field(default_factory=dict)


def common(case: str, epochs: int) -> dict[str, Any]:
    """The settings of a case, in our words (`understudy.config.training.Training`)."""
    shared = {
        "epochs": epochs,
        "learning_rate": LEARNING_RATE,
        "batch_size": BATCH,
        "rank": RANK,
        "alpha": ALPHA,
        "warmup": WARMUP,
        "max_length": MAX_LENGTH,
        "gradient_checkpointing": False,
        "precision": "bf16",
        "packing": False,
    }
    return {**shared, **CASES[case]}


def write_rows(folder: Path, recipes: Path) -> None:
    """The rows in the form of each trainer: `voice/` (a recipe of ours), `trl/` and `factory/`."""
    examples, heldout = [], []
    for name in RECIPES:
        recipe = load_recipe(name, recipes)
        examples += training_examples(recipe)
        heldout += heldout_examples(recipe)
    for name in ("voice", "trl", "factory"):
        (folder / name).mkdir()
    chats = [[message.model_dump() for message in example.messages] for example in examples]
    _write_lines(folder / "voice" / "examples.jsonl", [{"messages": chat} for chat in chats])
    _write_lines(folder / "voice" / "heldout.jsonl", [_row(example) for example in heldout])
    halves = [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in chats]
    _write_lines(folder / "trl" / "train.jsonl", halves)
    (folder / "factory" / "rows.json").write_text(json.dumps([{"messages": chat} for chat in chats]))
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    tags["system_tag"] = "system"
    rows = {"file_name": "rows.json", "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    (folder / "factory" / "dataset_info.json").write_text(json.dumps({"rows": rows}))


def understudy(folder: Path, rows: Path, settings: dict[str, Any]) -> Command:
    """Ours, as people run it: a recipe's folder, and everything else in its recipe.yaml. It ends with the adapter in
    the registry."""
    recipe = {"title": "Two voices", "voice": "An email or a joke.", "prompts": ["Write about a kite."]}
    voice = folder / "voice"
    voice.mkdir()
    # No held-out rows: ours would measure them after every epoch, which no other trainer is asked to do here.
    (voice / "examples.jsonl").symlink_to(rows / "voice" / "examples.jsonl")
    (voice / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "training": settings}))
    env = {"UNDERSTUDY_HOME": str(folder / "home"), "UNDERSTUDY_RUNS_DIR": str(folder / "runs")}
    words = [str(_program("understudy")), "train", str(voice), "--base", "tiny"]
    kind = "model" if settings["method"] == "full" else "adapter"
    return Command(words, f"runs/voice/*/{kind}", env)


def trl_as_it_comes(folder: Path, rows: Path, settings: dict[str, Any]) -> Command:
    """TRL's command with what it cannot do without, and the same number of epochs; the rest are its defaults."""
    words = [str(_program("trl")), "sft", "--model_name_or_path", str(TINY_DIR), "--use_cpu"]
    words += ["--dataset_name", str(rows / "trl"), "--output_dir", str(folder / "out")]
    words += ["--num_train_epochs", str(settings["epochs"])]
    if settings["method"] != "full":
        words.append("--use_peft")
    return Command(words)


def trl_same_settings(folder: Path, rows: Path, settings: dict[str, Any]) -> Command:
    """TRL's command with our rate, schedule, batch, rank, modules and precision; the rest are its defaults."""
    command = trl_as_it_comes(folder, rows, settings)
    bf16 = settings["precision"] == "bf16"
    words = ["--learning_rate", str(settings["learning_rate"]), "--lr_scheduler_type", "cosine"]
    words += ["--warmup_steps", str(WARMUP), "--per_device_train_batch_size", str(BATCH), "--seed", "0"]
    words += ["--max_length", str(MAX_LENGTH), "--bf16", str(bf16).lower()]
    words += ["--dtype", "bfloat16" if bf16 and settings["method"] != "full" else "float32"]
    if settings["method"] != "full":
        words += ["--lora_r", str(RANK), "--lora_alpha", str(ALPHA), "--lora_target_modules", "all-linear"]
    if settings["method"] == "qlora":
        words += ["--load_in_4bit", "--bnb_4bit_quant_type", "nf4", "--use_bnb_nested_quant"]
    if settings["packing"]:
        words.append("--packing")
    return Command(command.words + words)


def trl_by_hand(folder: Path, rows: Path, settings: dict[str, Any]) -> Command:
    """A script on SFTTrainer without gradient checkpointing, pinned memory and checkpoints."""
    told = {**settings, "bf16": settings["precision"] == "bf16"}
    told |= {"base": str(TINY_DIR), "rows": str(rows / "trl"), "output": str(folder / "out")}
    path = folder / "told.json"
    path.write_text(json.dumps(told))
    return Command([sys.executable, str(Path(__file__).with_name("by_hand.py")), str(path)])


def llama_factory(folder: Path, rows: Path, settings: dict[str, Any]) -> Command:
    """LLaMA-Factory's command; without `template` it takes the tokenizer's own, and writes the same tokens as we do.

    Raises:
        PeerError: its environment cannot be made.
    """
    told = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(TINY_DIR),
        "dataset_dir": str(rows / "factory"),
        "dataset": "rows",
        "cutoff_len": MAX_LENGTH,
        "packing": settings["packing"],
        "neat_packing": settings["packing"],
        "output_dir": str(folder / "out"),
        "finetuning_type": "full" if settings["method"] == "full" else "lora",
        "num_train_epochs": settings["epochs"],
        "per_device_train_batch_size": BATCH,
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_ratio": WARMUP,
        "bf16": settings["precision"] == "bf16",
        "use_cpu": True,
        "disable_gradient_checkpointing": True,
        "save_strategy": "no",
        "report_to": "none",
        "seed": 0,
    }
    if settings["method"] != "full":
        told |= {"lora_rank": RANK, "lora_alpha": ALPHA, "lora_target": "all"}
    if settings["method"] == "qlora":
        told |= {"quantization_bit": 4, "quantization_type": "nf4", "double_quantization": True}
    path = folder / "told.yaml"
    path.write_text(yaml.safe_dump(told))
    return Command([str(llamafactory() / "llamafactory-cli"), "train", str(path)])


TUNED = "TRL tuned by hand"
WAYS = {
    "understudy train": understudy,
    "trl sft, its defaults": trl_as_it_comes,
    "trl sft, same settings": trl_same_settings,
    TUNED: trl_by_hand,
    "LLaMA-Factory": llama_factory,
}
ONLY_FIRST = "trl sft, its defaults"
"""Its defaults know no case: it is run in the first one only."""


def _program(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def _row(example: Example) -> dict[str, Any]:
    return {"messages": [message.model_dump() for message in example.messages]}


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
