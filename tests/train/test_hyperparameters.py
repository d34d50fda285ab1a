"""What `auto` means: settings follow from the base's size and family, the number of rows, and the method."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import PeftModel

from train.hyperparameters import settled
from train.learning_rate import steps
from train.model import load as models
from train.model.load import load_model, load_tokenizer
from train.model.tokenize import training_rows
from train.sft_trainer import Trainer, build_trainer
from understudy.bases import Base, resolve_base
from understudy.config.training import Training
from understudy.data.messages import Example


def config_only(folder: Path, **config: Any) -> Base:
    """A base of which nothing is known but its config.json."""
    (folder / "config.json").write_text(json.dumps(config))
    return Base(name=str(folder), location=str(folder), local=True)


@pytest.mark.parametrize(
    ("rows", "rank", "alpha", "batch", "epochs"),
    [
        (1, 8, 16, 4, 6),
        (32, 8, 16, 4, 6),
        (33, 8, 16, 4, 4),
        (100, 8, 16, 4, 4),
        (101, 16, 32, 8, 3),
        (25_000, 16, 32, 8, 3),
    ],
)
def test_rank_batch_and_epochs_follow_from_the_rows(rows: int, rank: int, alpha: int, batch: int, epochs: int) -> None:
    found = settled(Training(), resolve_base("tiny"), rows)
    assert (found.rank, found.alpha, found.batch_size, found.epochs) == (rank, alpha, batch, epochs)


@pytest.mark.parametrize(
    ("kind", "hidden", "method", "rows", "rate"),
    [
        ("llama", 256, "qlora", 17, 3.7e-3),  # tiny
        ("llama", 576, "qlora", 17, 2.0e-3),  # smollm2
        ("llama", 576, "lora", 220, 2.0e-3),  # 84 steps
        ("llama", 576, "lora", 1000, 1.3e-3),  # 375 steps: no short run
        ("llama", 576, "full", 1000, 1.3e-4),
        ("llama", 4096, "qlora", 17, 4.3e-4),
        ("llama", 4096, "lora-8bit", 1000, 2.9e-4),
        ("qwen2", 3584, "qlora", 1000, 4.8e-4),
        ("qwen3", 1024, "qlora", 17, 7.9e-4),
        ("qwen3", 4096, "full", 1000, 4.7e-5),
    ],
)
def test_the_rate_follows_from_base_method_and_length(
    tmp_path: Path, kind: str, hidden: int, method: Any, rows: int, rate: float
) -> None:
    base = config_only(tmp_path, model_type=kind, hidden_size=hidden)
    assert settled(Training(method=method), base, rows).learning_rate == rate


@pytest.mark.parametrize(
    ("config", "rate"),
    [
        ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 576}}, 2.0e-3),
        ({"model_type": "gpt_neox", "n_embd": 576}, 2.0e-3),
        ({}, 7.5e-4),  # as at hidden size 2000
    ],
    ids=["a model that sees", "another name of the hidden size", "a config that says nothing"],
)
def test_a_config_may_say_it_in_other_words(tmp_path: Path, config: dict[str, Any], rate: float) -> None:
    assert settled(Training(), config_only(tmp_path, **config), 17).learning_rate == rate


def test_what_was_said_stays() -> None:
    said = Training(learning_rate=1e-3, rank=4, alpha=7, batch_size=2, epochs=1.5)
    base = resolve_base("tiny")
    assert settled(said, base, 17) is not said
    assert settled(said, base, 17) == said
    assert settled(Training(rank=32), base, 17).alpha == 64
    assert settled(Training(epochs="cross-validated"), base, 17).epochs == "cross-validated"
    assert settled(Training(micro_batch_size=3), base, 17).batch_size == 6, "a batch is whole micro batches"
    once = settled(Training(), base, 17)
    assert settled(once, base, 5000) == once


def test_a_run_is_short_when_its_steps_are_few() -> None:
    assert steps(Training(batch_size=4, epochs=6), 17) == 30
    assert steps(Training(batch_size=4, epochs=6, max_steps=7), 17) == 7
    assert steps(Training(batch_size=4, epochs="cross-validated"), 17) == 30
    base = resolve_base("tiny")
    short, long = (settled(Training(max_steps=most), base, 10_000).learning_rate for most in (100, 101))
    assert short == pytest.approx(1.5 * long, rel=0.02)


# What it leads to

ROWS = [
    Example.model_validate(
        {"messages": [{"role": "user", "content": f"Hi {n}"}, {"role": "assistant", "content": f"Arr, {n} times arr!"}]}
    )
    for n in range(8)
]


def built(folder: Path, **settings: Any) -> Trainer:
    base = resolve_base("tiny")
    training = settled(Training.model_validate({"precision": "fp32", **settings}), base, len(ROWS))
    return build_trainer(base, load_tokenizer(base), training, training_rows(ROWS), folder)


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "constant"])
def test_the_first_step_learns(tmp_path: Path, scheduler: str) -> None:
    trainer = built(tmp_path, max_steps=1, scheduler=scheduler)
    trainer.train()
    assert isinstance(trainer.model, PeftModel)
    changed = [bool(weight.any()) for name, weight in trainer.model.named_parameters() if "lora_B" in name]
    assert len(changed) == 35
    assert all(changed), "B is 0 before the first step"


def test_the_rate_rises_to_the_one_that_was_set_and_is_never_zero(tmp_path: Path) -> None:
    trainer = built(tmp_path, max_steps=40, learning_rate=1e-3)
    trainer.create_optimizer_and_scheduler(num_training_steps=40)
    assert trainer.optimizer is not None
    assert isinstance(trainer.lr_scheduler, torch.optim.lr_scheduler.LRScheduler)
    rates = []
    for _ in range(40):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    assert rates[0] == pytest.approx(1e-3 / 3), "three steps of 40 warm up"
    assert max(rates) == pytest.approx(1e-3)
    assert 0 < rates[-1] < 1e-4


def test_nf4_weights_that_are_unpacked_give_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(method="qlora", precision="fp32")
    ids = torch.arange(5, 45).reshape(2, 20)

    def loss() -> tuple[bool, float]:
        model = load_model(resolve_base("tiny"), training)
        packed = any(isinstance(module, Linear4bit) for module in model.modules())
        with torch.no_grad():
            return packed, model(input_ids=ids, labels=ids).loss.item()

    unpacked, ours = loss()
    monkeypatch.setattr(models, "MOST_UNPACKED", 0)
    packed, theirs = loss()
    assert (unpacked, packed) == (False, True)
    assert ours == pytest.approx(theirs, rel=1e-3), "bitsandbytes' own kernel rounds to bfloat16 where there is AVX-512"
    rounded_not = load_model(resolve_base("tiny"), training.model_copy(update={"method": "lora"}))
    assert abs(rounded_not(input_ids=ids, labels=ids).loss.item() - ours) > 1e-4, "NF4 rounds"
