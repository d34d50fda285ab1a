"""Whether a training taught anything: an adapter that changes nothing is refused, whatever the log says."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import load_file
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from understudy.errors import TrainingError
from understudy.registry.adapters import WEIGHTS

LEAST = 1e-6
"""Least change of the loss, as a share of it, that counts as learned; arithmetic in float32 has 6e-8."""

ROWS = 4
"""Most rows whose loss is measured."""

HALF: Any = 0.5
"""Of a step; the schedules of transformers are functions of any number."""

REMEDY = "raise learning_rate, or train for more steps"


class NoIdleStep(TrainerCallback):
    """Shifts a schedule whose first rate is 0 by half a step, so that a run of one step learns, too."""

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        lr_scheduler: Any = None,
        **_: object,
    ) -> None:
        schedule = getattr(lr_scheduler, "scheduler", lr_scheduler)  # accelerate wraps it
        if not isinstance(schedule, torch.optim.lr_scheduler.LambdaLR) or schedule.lr_lambdas[0](0) != 0:
            return
        schedule.lr_lambdas = [lambda step, rate=rate: rate(step + HALF) for rate in schedule.lr_lambdas]
        if state.global_step == 0:
            groups = schedule.optimizer.param_groups
            for group, first, rate in zip(groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
                group["lr"] = first * rate(0)


def first_loss(trainer: Trainer, *, adapted: bool = True) -> float | None:
    """Return the loss of the first rows, without the adapter if not `adapted`; None where processes share a run.

    Nothing is drawn at random, so a training goes on as it would have.
    """
    dataset, collate = trainer.train_dataset, trainer.data_collator
    if trainer.accelerator.num_processes > 1 or not isinstance(dataset, Dataset):
        return None
    model = trainer.accelerator.unwrap_model(trainer.model)
    rows = [dataset[n] for n in range(min(len(dataset), ROWS, trainer.args.per_device_train_batch_size))]
    inputs = trainer._prepare_inputs(collate(rows))  # pyright: ignore  # the same that a step gets
    training = model.training
    model.eval()
    without = model.disable_adapter() if not adapted and isinstance(model, PeftModel) else nullcontext()
    try:
        with torch.no_grad(), without:
            loss = trainer.compute_loss(model, inputs)
            assert isinstance(loss, torch.Tensor)
            return float(loss)
    finally:
        model.train(training)


def check_learned(trainer: Trainer, untouched: float | None) -> None:
    """Refuse an adapter whose product is zero, and any training after which the loss is what it was.

    Args:
        untouched: the loss of the first rows before training; None to measure it without the adapter.

    Raises:
        TrainingError: nothing was learned.
    """
    steps = trainer.state.global_step
    model = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, PeftModel):
        if not _acts(dict(model.named_parameters())):
            raise TrainingError(f"after {steps} steps the adapter is still zero: nothing was learned; {REMEDY}")
        untouched = first_loss(trainer, adapted=False)
    now = first_loss(trainer)
    if untouched is not None and now is not None and abs(now - untouched) <= LEAST * abs(untouched):
        raise TrainingError(
            f"after {steps} steps the loss of the first rows is what it was ({now:.6g}): nothing was learned; {REMEDY}"
        )


def check_changed(product: Path, parent: Path) -> None:
    """Refuse an adapter that is, number for number, the one it was to continue. Raises TrainingError."""
    made, before = load_file(product / WEIGHTS), load_file(parent / WEIGHTS)
    if made.keys() == before.keys() and all(torch.equal(made[name].float(), before[name].float()) for name in made):
        raise TrainingError(f"the new adapter is the one that it continued: nothing was learned; {REMEDY}")


def _acts(weights: Mapping[str, torch.Tensor]) -> bool:
    """Whether the product of B and A is anything but zero in some module."""
    for name, down in weights.items():
        up = weights.get(name.replace("lora_A", "lora_B")) if "lora_A" in name else None
        up = weights.get(name.replace("lora_embedding_A", "lora_embedding_B")) if "embedding_A" in name else up
        if up is not None and bool(down.any()) and bool(up.any()):
            return True
    return False
