"""TRL's SFTTrainer, configured: settings, trackers, checkpoints, LoRA+, and a last check of the rows it made."""

import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset, disable_progress_bars
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from peft.optimizers import create_loraplus_optimizer
from transformers import (
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.integrations.integration_utils import TensorBoardCallback, TrackioCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

from train.cpu import PackedRows, answer_loss, bare_model, fits, keep_freed_memory, use_plain_attention
from train.distributed import count, main_process
from train.model.load import keep_trainable, load_model, lora_config, quiet
from train.model.loss_mask import TokenRow, check_masks, check_stop_trained
from train.model.precision import computed_in
from train.model.tokenize import TrainingRow, token_rows
from understudy.bases import Base
from understudy.config.training import Training
from understudy.errors import TrainingError

Tracker = Literal["tensorboard", "trackio", "none"]
"""Where a run's losses can be watched while it trains (`--tracker`)."""

Progress = Callable[[int, int, float | None], None]
"""Called with (steps done, steps in all, last loss)."""

CHECKPOINTS = 10
"""Most checkpoints in the course of a run."""

CHECKPOINT_SECONDS = 10.0
"""Least seconds between two checkpoints: with a small model, writing one takes as long as several steps."""


class Trainer(SFTTrainer):
    """SFTTrainer with LoRA+ (another learning rate for B than for A), and with fewer logits on a CPU."""

    def __init__(self, *, loraplus: float, **arguments: Any) -> None:
        self._loraplus = loraplus
        super().__init__(**arguments)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: int | torch.Tensor | None = None,
    ) -> Any:
        inner = self.accelerator.unwrap_model(model)
        alone = self.accelerator.num_processes == 1  # DDP counts gradients in its own forward pass
        if return_outputs or self.aux_loss_enabled or not alone or not fits(bare_model(inner), inputs["labels"]):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # accelerate's autocast is around the forward pass of the whole model, which `answer_loss` does not call.
        mixed = disable_input_dtype_casting(inner, active=self.accelerator.native_amp)
        with self.compute_loss_context_manager(), self.accelerator.autocast(), mixed:
            loss, right = answer_loss(inner, inputs, num_items_in_batch)
        self._metrics["train" if model.training else "eval"]["mean_token_accuracy"].append(right)
        return loss

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Skip the first step of the schedule, whose rate is 0 during warm-up: in a short run that step matters."""
        if self.lr_scheduler is None:
            made = super().create_scheduler(num_training_steps + 1, optimizer)
            if isinstance(made, torch.optim.lr_scheduler.LambdaLR):
                made.lr_lambdas = [lambda step, rate=rate: rate(step + 1) for rate in made.lr_lambdas]
                for group, first, rate in zip(made.optimizer.param_groups, made.base_lrs, made.lr_lambdas, strict=True):
                    group["lr"] = first * rate(0)
        return self.lr_scheduler  # pyright: ignore[reportReturnType]

    def create_optimizer(self, *arguments: Any, **options: Any) -> torch.optim.Optimizer:
        if not self._loraplus or self.optimizer is not None:
            return super().create_optimizer(*arguments, **options)
        assert isinstance(self.model, PeftModel)
        self.optimizer = create_loraplus_optimizer(
            self.model,
            torch.optim.AdamW,
            lr=self.args.learning_rate,
            loraplus_lr_ratio=self._loraplus,
            loraplus_weight_decay=self.args.weight_decay,
        )
        return self.optimizer


def build_trainer(
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
    training: Training,
    rows: Sequence[TrainingRow],
    folder: Path,
    *,
    heldout: Sequence[TrainingRow] = (),
    checkpoint_seconds: float | None = CHECKPOINT_SECONDS,
    callbacks: Sequence[TrainerCallback] = (),
) -> Trainer:
    """Build a trainer that is about to start; `heldout` rows are measured after each epoch, never trained on.

    With `checkpoint_seconds` None it writes no checkpoints. Several processes write all, as their clocks may differ.

    Raises:
        BaseModelError: the base cannot be loaded.
    """
    disable_progress_bars()
    quiet()
    set_seed(training.seed)
    model = load_model(base, training)
    keep_trainable(model)
    arguments = _arguments(training, folder, evaluated=bool(heldout), checkpoints=checkpoint_seconds is not None)
    trainer = Trainer(
        loraplus=training.loraplus,
        model=model,
        args=arguments,
        train_dataset=_dataset(rows, tokenizer),
        eval_dataset=_dataset(heldout, tokenizer) if heldout else None,
        processing_class=tokenizer,
        peft_config=lora_config(training),
        callbacks=[*callbacks, *_own_callbacks(training, checkpoint_seconds)],
    )
    if arguments.use_cpu:
        _suit_cpu(trainer, packing=training.packing)
    for callback in ("PrinterCallback", "ProgressCallback"):
        for found in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == callback]:
            trainer.remove_callback(found)
    return trainer


def _suit_cpu(trainer: Trainer, *, packing: bool) -> None:
    """Replace what is slow on a CPU (`train.cpu`)."""
    joined = trainer.data_collator
    if packing and isinstance(joined, DataCollatorForLanguageModeling):
        trainer.data_collator = PackedRows(joined.pad_token_id)
    assert isinstance(trainer.model, torch.nn.Module)
    assert isinstance(trainer.train_dataset, Dataset)
    use_plain_attention(bare_model(trainer.model), max(map(len, trainer.train_dataset["input_ids"])))
    keep_freed_memory()


def _own_callbacks(training: Training, checkpoint_seconds: float | None) -> list[TrainerCallback]:
    found: list[TrainerCallback] = [StopAfter(training.stop_after)] if training.stop_after else []
    if checkpoint_seconds and count() == 1:
        found.append(SparingCheckpoints(checkpoint_seconds))
    return found


def check_trainer(trainer: SFTTrainer, rows: Sequence[TokenRow], stops: set[int]) -> None:
    """Check, before the first step, what the trainer actually made of the rows.

    Raises:
        TrainingError: its rows, loss masks or ends are not the expected ones.
    """
    dataset = trainer.train_dataset
    assert isinstance(dataset, Dataset)
    made = _rows_of(dataset)
    if trainer.args.packing:  # pyright: ignore[reportAttributeAccessIssue]  # it is an SFTConfig
        made, rows = sorted(made, key=_content), sorted(rows, key=_content)
    check_masks(made, rows)
    check_stop_trained([row.labels for row in made], stops)


class StopAfter(TrainerCallback):
    """Ends a run after `epochs`, before its schedule ends."""

    def __init__(self, epochs: float) -> None:
        self.epochs = epochs

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        control.should_training_stop |= (state.epoch or 0) >= self.epochs - 1e-6


class SparingCheckpoints(TrainerCallback):
    """Skips a checkpoint within `seconds` of the previous one; a kill loses at most that much."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.last = time.monotonic()

    def on_train_begin(self, *_: object, **__: object) -> None:
        self.last = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if control.should_save and time.monotonic() < self.last + self.seconds:
            control.should_save = False
        elif control.should_save:
            self.last = time.monotonic()


class StepCallback(TrainerCallback):
    """Passes the trainer's progress to a function."""

    def __init__(self, on_step: Progress) -> None:
        self.on_step = on_step

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **_: object
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and state.is_world_process_zero:
            self.on_step(state.global_step, state.max_steps, loss)


def tracking(tracker: Tracker, folder: Path) -> list[TrainerCallback]:
    """Return what logs the run: TensorBoard into its folder, Trackio where `trackio show` looks for it.

    Raises:
        TrainingError: the tracker is not installed.
    """
    if tracker == "none":
        return []
    if importlib.util.find_spec(tracker) is None:
        raise TrainingError(
            f"{tracker} is not installed; install it with `pip install {tracker}`, or leave --tracker out"
        )
    if not main_process():
        return []
    if tracker == "trackio":
        return [TrackioCallback()]
    from torch.utils.tensorboard.writer import SummaryWriter

    return [TensorBoardCallback(SummaryWriter(log_dir=str(folder / "tensorboard")))]


def passes(training: Training) -> float:
    """Return the number of epochs of resolved settings (`train.cross_validation.resolve_epochs`)."""
    assert isinstance(training.epochs, float | int), "epochs must be resolved first"
    return training.epochs


def _dataset(rows: Sequence[TrainingRow], tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """The rows as TRL reads them.

    Where one has tools, all are given in tokens: Arrow would put a null into each row's arguments for every name that
    another row's arguments have, and templates write nulls.
    """
    if not all(row.plain for row in rows):
        made = token_rows(rows, tokenizer)
        return Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in made])
    return Dataset.from_list([{"prompt": row.prompt, "completion": row.completion} for row in rows])


def _arguments(training: Training, folder: Path, *, evaluated: bool, checkpoints: bool) -> SFTConfig:
    cuda = torch.cuda.is_available()
    checkpointing = cuda if training.gradient_checkpointing is None else training.gradient_checkpointing
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=passes(training),
        max_steps=training.max_steps or -1,
        per_device_train_batch_size=training.rows_at_once,
        per_device_eval_batch_size=training.rows_at_once,
        gradient_accumulation_steps=training.batch_size // (training.rows_at_once * count()),
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.scheduler,
        warmup_steps=training.warmup,
        weight_decay=training.weight_decay,
        neftune_noise_alpha=training.neftune or None,
        max_length=training.max_length,
        packing=training.packing,
        eval_packing=False,
        completion_only_loss=True,
        seed=training.seed,
        bf16=computed_in(training) is torch.bfloat16,
        fp16=computed_in(training) is torch.float16,
        use_cpu=not cuda,
        gradient_checkpointing=checkpointing,
        dataloader_pin_memory=cuda,
        ddp_find_unused_parameters=False,
        eval_strategy="epoch" if evaluated else "no",
        save_strategy="steps" if checkpoints else "no",
        save_steps=1 / CHECKPOINTS,
        save_total_limit=1,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )


def _rows_of(dataset: Dataset) -> list[TokenRow]:
    """Return the rows that the trainer will use, one by one; packed ones are split by their lengths."""
    rows = []
    for number, row in enumerate(dataset, 1):
        assert isinstance(row, dict)
        start = 0
        for length in row.get("seq_lengths") or [len(row["input_ids"])]:
            part = slice(start, start + length)
            rows.append(TokenRow(row["input_ids"][part], row["labels"][part], number))
            start += length
    return rows


def _content(row: TokenRow) -> tuple[list[int], list[int]]:
    return row.input_ids, row.labels
