"""Trains a persona's adapter with TRL's SFTTrainer: `understudy train RECIPE`."""

import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from train.cross_validation import resolve_epochs
from train.distributed import count, joined, main_process, shared, wait_for_all
from train.hub.model_card import adapter_card
from train.hyperparameters import settled
from train.learned import check_learned, first_loss
from train.memory import peak_memory, tokens_seen
from train.model.load import stop_tokens
from train.preflight import Preflight
from train.runs import Run, RunSettings, name_base, run_settings
from train.sft_trainer import (
    CHECKPOINT_SECONDS,
    Progress,
    StepCallback,
    Tracker,
    Trainer,
    build_trainer,
    check_trainer,
    tracking,
)
from understudy.bases import adapter_pin, resolve_base
from understudy.config.recipe import Recipe
from understudy.config.training import Training
from understudy.data.messages import Example, fingerprint
from understudy.data.recipe_rows import training_examples
from understudy.errors import TrainingError


@dataclass(frozen=True)
class Trained:
    """The result of a run."""

    run: Run
    settings: RunSettings
    steps: int
    epochs: float
    loss: float | None
    seconds: float
    tokens_per_second: float
    """Without padding; after an interruption, of the last part only."""
    peak_memory_mib: float
    reused: bool
    """True if the same run had finished before, so that nothing was trained."""
    resumed_at: int
    """Step from which an interrupted run continued; 0 for a run from the start."""


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
    """Train `recipe` on `base` and write `runs/<recipe>/<id>/adapter/`, ready to be pushed.

    A full fine-tune writes `model/`, a base of its own. The same settings and data are the same run: a finished one is
    returned as it is, an interrupted one continues from its last checkpoint. When several processes
    (`train.distributed`) make the same call, they share the steps of one run, and the main one writes.

    Args:
        examples: the recipe's rows, if they have been read already.
        fresh: forget what an earlier run left.
        checkpoint_seconds: least time between two checkpoints of one process.
        on_fold: called with (folds done, folds in all) during cross-validation.

    Raises:
        ExamplesError, BaseModelError: the data or the base cannot be used.
        TrainingError: a check of the preflight failed, the batch cannot be divided among the processes, the loss is
            no longer a number, or nothing was learned.
    """
    resolved = resolve_base(base)
    examples = training_examples(recipe, resolved.name) if examples is None else examples
    training = settled(training, resolved, len(examples))
    sha256 = fingerprint(examples)
    settings = run_settings(recipe, training, resolved, rows=len(examples), examples_sha256=sha256)
    run = Run(runs_dir / recipe.name / settings.id, training.method)
    training = shared(training, count())
    with joined():
        reused = _open(run, settings, fresh=fresh)
        if reused:
            return reused
        preflight = Preflight(recipe, resolved, training, examples=examples, processes=count())
        preflight.require_passed()
        callbacks = [StepCallback(on_step), *tracking(tracker, run.folder)]
        trainer = _trainer(preflight, run, callbacks, on_fold, checkpoint_seconds)
        return _run(trainer, run, settings, preflight)


def _open(run: Run, settings: RunSettings, *, fresh: bool) -> Trained | None:
    """Make the run's folder, or return what the run left where it had finished before."""
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


def _trainer(
    preflight: Preflight,
    run: Run,
    callbacks: Sequence[TrainerCallback],
    on_fold: Callable[[int, int], None],
    checkpoint_seconds: float,
) -> Trainer:
    """Choose the number of epochs, build the trainer, and check what it made of the rows."""
    base, tokenizer = preflight.base, preflight.tokenizer
    folds = run.folder / "folds.json"
    training = resolve_epochs(base, tokenizer, preflight.training, preflight.examples, folds, on_fold=on_fold)
    trainer = build_trainer(
        base,
        tokenizer,
        training,
        preflight.chats,
        run.checkpoints,
        checkpoint_seconds=checkpoint_seconds,
        callbacks=callbacks,
    )
    name = f"{preflight.recipe.name} {run.folder.name}"
    trainer.args.project, trainer.args.run_name = "understudy", name  # for trackers
    check_trainer(trainer, preflight.rows, stop_tokens(tokenizer, base))
    return trainer


def _run(trainer: Trainer, run: Run, settings: RunSettings, preflight: Preflight) -> Trained:
    """Train from the last checkpoint on, and write adapter, log and result."""
    checkpoint = run.last_checkpoint()
    resumed_at = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    untouched = first_loss(trainer) if settings.training.method == "full" and not resumed_at else None
    started = time.monotonic()
    with _older_objects_kept():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    state = trainer.state
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    if losses and not all(map(_finite, losses)):
        raise TrainingError("the loss is no longer a number; lower training.learning_rate and train again")
    check_learned(trainer, untouched)
    rows = preflight.rows
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
        _save(trainer, run, settings, preflight)
        run.log.write_text("".join(json.dumps(entry) + "\n" for entry in state.log_history))
        run.result.write_text(json.dumps(result))
    wait_for_all()
    return Trained(run, settings, **result, reused=False, resumed_at=resumed_at)


@contextmanager
def _older_objects_kept() -> Iterator[None]:
    """Keeps the garbage collector from searching, again and again, what imports and the model have made."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _save(trainer: Trainer, run: Run, settings: RunSettings, preflight: Preflight) -> None:
    """Write the product and its card, under names that mean the same on every machine (PEFT writes local paths)."""
    model, tokenizer = trainer.model, trainer.processing_class
    assert isinstance(model, torch.nn.Module)
    model.save_pretrained(str(run.product))  # pyright: ignore[reportCallIssue]
    (run.product / "training.json").write_text(settings.model_dump_json(indent=2))
    (run.product / "README.md").write_text(adapter_card(preflight.recipe, settings))
    if settings.training.method == "full":
        assert isinstance(model, PreTrainedModel)
        assert isinstance(tokenizer, PreTrainedTokenizerBase)
        tokenizer.save_pretrained(str(run.product))
        return
    name_base(run.product, preflight.base.public_name, adapter_pin(preflight.base))


def _finite(loss: float) -> bool:
    return bool(torch.isfinite(torch.tensor(loss)))
