"""Teaches a base a persona with TRL's SFTTrainer: `understudy train RECIPE`."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from train.cross_validation import resolve
from train.distributed import count, joined, main_process, shared, wait_for_all
from train.hub.model_card import adapter_card
from train.hyperparameters import settled
from train.memory import check_memory, peak_memory, tokens_seen
from train.model.load import load_tokenizer, stop_tokens
from train.model.tokenize import TokenRow, check_lengths, token_rows, training_rows
from train.preflight import check_leaks
from train.runs import Run, RunSettings, name_base, run_settings
from train.sft_trainer import CHECKPOINT_SECONDS, Progress, ProgressCallback, Trainer, build_trainer, check_trainer
from train.tracking import Tracker, tracking
from understudy.bases import Base, adapter_pin, base_revision, resolve_base
from understudy.config.recipe import Recipe
from understudy.config.training import Training
from understudy.data.examples import Example
from understudy.data.recipe_rows import heldout_examples, heldout_path, training_examples, training_path
from understudy.errors import TrainingError


@dataclass(frozen=True)
class Trained:
    """What a run left behind."""

    run: Run
    settings: RunSettings
    steps: int
    epochs: float
    loss: float | None
    seconds: float
    tokens_per_second: float
    """Without padding; of the last part where a run was interrupted."""
    peak_memory_mib: float
    reused: bool
    """True when this very run had finished before and nothing was trained."""
    resumed_at: int
    """Step from which an interrupted run went on; 0 for a run from the start."""


def train(
    recipe: Recipe,
    *,
    base: str,
    training: Training,
    runs_dir: Path,
    examples: list[Example] | None = None,
    fresh: bool = False,
    tracker: Tracker = "none",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_step: Progress,
    on_fold: Callable[[int, int], None] = lambda done, total: None,
) -> Trained:
    """Trains `recipe` on `base` and writes `runs/<recipe>/<id>/adapter/`, ready to be pushed; a full fine-tune
    writes `model/`, a base of its own.

    The same settings and data are the same run: finished, it is returned as it is; interrupted, it goes on
    from its last checkpoint. `fresh` forgets what is there. `on_fold` is told about cross-validation.
    Several processes (`train.distributed`) that call this alike take the steps of one together; the main one writes.

    Args:
        examples: the recipe's rows, where they have been read already.
        checkpoint_seconds: least time between two checkpoints of one process.

    Raises:
        ExamplesError, BaseModelError: the data or the base cannot be used.
        TrainingError: preflight refused the run, there is not enough memory for it, its batch cannot be divided
            among the processes, or the loss is not a number any more.
    """
    resolved = resolve_base(base)
    examples = training_examples(recipe, resolved.name) if examples is None else examples
    training = settled(training, resolved, len(examples))
    settings = run_settings(recipe, training, examples, resolved.name, base_revision(resolved))
    run = Run(runs_dir / recipe.name / settings.id, training.method)
    training = shared(training, count())
    with joined():
        reused = _open(run, settings, fresh=fresh)
        if reused:
            return reused
        trainer, rows = _prepare(
            recipe, resolved, training, examples, run, tracker, on_step, on_fold, checkpoint_seconds
        )
        return _run(trainer, run, settings, recipe, resolved, rows)


def _open(run: Run, settings: RunSettings, *, fresh: bool) -> Trained | None:
    """Makes the run's folder; what the run left where it had finished before."""
    if fresh and main_process():
        run.clear()
    wait_for_all()
    if run.finished:
        return Trained(run, settings, **json.loads(run.result.read_text()), reused=True, resumed_at=0)
    wait_for_all()
    if main_process():
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "settings.json").write_text(settings.model_dump_json(indent=2))
    return None


def _prepare(
    recipe: Recipe,
    base: Base,
    training: Training,
    examples: list[Example],
    run: Run,
    tracker: Tracker,
    on_step: Progress,
    on_fold: Callable[[int, int], None],
    checkpoint_seconds: float,
) -> tuple[Trainer, list[TokenRow]]:
    """Everything that can refuse the run, before its first step."""
    tokenizer = load_tokenizer(base)
    chats = training_rows(examples)
    rows = token_rows(chats, tokenizer)
    check_lengths(rows, training.max_length, training_path(recipe, base.name))
    check_leaks(examples, heldout_examples(recipe, base.name), heldout_path(recipe, base.name))
    check_memory(base, training, max(len(row.input_ids) for row in rows), processes=count())
    callbacks: list[TrainerCallback] = [ProgressCallback(on_step), *tracking(tracker, run)]
    training = resolve(base, tokenizer, training, examples, run.folder / "folds.json", on_fold=on_fold)
    trainer = build_trainer(
        base, tokenizer, training, chats, run.checkpoints, checkpoint_seconds=checkpoint_seconds, callbacks=callbacks
    )
    trainer.args.project, trainer.args.run_name = "understudy", f"{recipe.name} {run.folder.name}"  # for trackers
    check_trainer(trainer, rows, stop_tokens(tokenizer, base))
    return trainer, rows


def _run(
    trainer: Trainer, run: Run, settings: RunSettings, recipe: Recipe, base: Base, rows: list[TokenRow]
) -> Trained:
    checkpoint = run.last_checkpoint()
    resumed_at = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    state = trainer.state
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    if losses and not all(map(_finite, losses)):
        raise TrainingError("the loss is not a number any more; lower training.learning_rate and train again")
    share = (state.global_step - resumed_at) / max(state.global_step, 1)
    seen = tokens_seen([len(row.input_ids) for row in rows], len(rows) * (state.epoch or 0) * share)
    result = {
        "steps": state.global_step,
        "epochs": round(state.epoch or 0, 2),
        "loss": losses[-1] if losses else None,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(seen / max(seconds, 1e-9), 1),
        "peak_memory_mib": round(peak_memory()),
    }
    if main_process():
        _save(trainer, run, settings, recipe, base)
        run.log.write_text("".join(json.dumps(entry) + "\n" for entry in state.log_history))
        run.result.write_text(json.dumps(result))
    wait_for_all()
    return Trained(run, settings, **result, reused=False, resumed_at=resumed_at)


def _save(trainer: Trainer, run: Run, settings: RunSettings, recipe: Recipe, base: Base) -> None:
    """Writes the adapter under names that mean the same on every machine (PEFT writes local paths)."""
    model, tokenizer = trainer.model, trainer.processing_class
    assert isinstance(model, torch.nn.Module)
    model.save_pretrained(str(run.product))  # pyright: ignore[reportCallIssue]
    (run.product / "training.json").write_text(settings.model_dump_json(indent=2))
    (run.product / "README.md").write_text(adapter_card(recipe, settings))
    if settings.training.method == "full":
        assert isinstance(model, PreTrainedModel)
        assert isinstance(tokenizer, PreTrainedTokenizerBase)
        tokenizer.save_pretrained(str(run.product))
        return
    name_base(run.product, base.public_name, adapter_pin(base))


def _finite(loss: float) -> bool:
    return bool(torch.isfinite(torch.tensor(loss)))
