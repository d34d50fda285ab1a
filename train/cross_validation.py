"""Chooses the number of epochs for small data by k-fold cross-validation (`epochs: cross-validated`)."""

import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedTokenizerBase

from train.distributed import main_process
from train.model.tokenize import training_rows
from train.sft_trainer import build_trainer
from understudy.bases import Base
from understudy.config.training import Training
from understudy.data.duplicates import duplicate_groups
from understudy.data.messages import Example

FOLDS = 4
FEW = 64
"""Rows below which cross-validation chooses the number of epochs."""
MOST_EPOCHS = 12
"""Epochs that are tried on few rows."""
USUAL_EPOCHS = 3
"""Epochs on many rows."""


class Folds(BaseModel):
    """The result of cross-validation."""

    model_config = ConfigDict(frozen=True)

    epochs: int
    """The chosen number."""
    folds: int
    losses: list[list[float]]
    """Held-out loss (nats per token of the answer) of each fold after each epoch."""
    means: list[float]
    errors: list[float]
    """Standard error of each mean, over folds."""


def resolve_epochs(
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
    training: Training,
    examples: Sequence[Example],
    file: Path,
    *,
    on_fold: Callable[[int, int], None],
) -> Training:
    """Return the settings with a number of epochs; the result of cross-validation is kept in `file` and reused.

    Raises:
        TrainingError, BaseModelError: as `cross_validate`.
    """
    if training.epochs != "cross-validated":
        return training
    if len(examples) >= FEW or len(duplicate_groups(examples)) < 2:
        return training.model_copy(update={"epochs": USUAL_EPOCHS})
    if file.is_file():
        found = Folds.model_validate_json(file.read_text())
    else:
        found = cross_validate(base, tokenizer, training, examples, epochs=MOST_EPOCHS, on_fold=on_fold)
        if main_process():
            file.write_text(found.model_dump_json(indent=2))
    return training.model_copy(update={"epochs": MOST_EPOCHS, "stop_after": found.epochs})


def cross_validate(
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
    training: Training,
    examples: Sequence[Example],
    *,
    epochs: int,
    folds: int = FOLDS,
    share: float = 1.0,
    on_fold: Callable[[int, int], None],
    on_losses: Callable[[int, list[float]], None] = lambda number, losses: None,
) -> Folds:
    """Train on all folds but one, `folds` times, and measure the loss on the one left out after each epoch.

    Rows of one family (`understudy.data.duplicates`) stay in one fold.

    Args:
        epochs: the most epochs to try; every fold follows the schedule of a run of that length.
        share: share of its training rows that each fold uses, 1 for all; the rows measured stay the same.
        on_fold: called with (folds done, folds in all).
        on_losses: called with each fold's number, from 0, and its losses; may raise to end the search.

    Raises:
        TrainingError, BaseModelError: as `train`.
    """
    parts = split(examples, folds, training.seed)
    losses = []
    for number, part in enumerate(parts):
        on_fold(number, len(parts))
        rest = [row for other in parts if other is not part for row in other]
        rest = random.Random(training.seed).sample(rest, max(1, round(share * len(rest))))
        losses.append(_losses(base, tokenizer, training, rest, part, epochs))
        on_losses(number, losses[-1])
    on_fold(len(parts), len(parts))
    return choose(losses)


def choose(losses: Sequence[Sequence[float]]) -> Folds:
    """Choose the last epoch whose mean loss is within one standard error of the smallest.

    The one-standard-error rule (Breiman et al., Classification and Regression Trees, 1984, section 3.4.3), taken
    towards more training: a voice goes on improving after the held-out loss has stopped (LIMA, arXiv:2305.11206).
    """
    columns = list(zip(*losses, strict=True))
    means = [statistics.fmean(column) for column in columns]
    errors = [statistics.stdev(column) / len(column) ** 0.5 if len(column) > 1 else 0.0 for column in columns]
    best = min(range(len(means)), key=means.__getitem__)
    near = [n for n, mean in enumerate(means) if n >= best and mean <= means[best] + errors[best]]
    return Folds(
        epochs=near[-1] + 1,
        folds=len(losses),
        losses=[[round(loss, 4) for loss in fold] for fold in losses],
        means=[round(mean, 4) for mean in means],
        errors=[round(error, 4) for error in errors],
    )


def split(examples: Sequence[Example], folds: int, seed: int) -> list[list[Example]]:
    """Divide the rows into `folds` parts of similar size (fewer if there are fewer families of rows)."""
    groups = duplicate_groups(examples)
    random.Random(seed).shuffle(groups)
    groups.sort(key=len, reverse=True)
    parts: list[list[Example]] = [[] for _ in range(min(folds, len(groups)))]
    for group in groups:
        min(parts, key=len).extend(examples[number] for number in group)
    return parts


def _losses(
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
    training: Training,
    rows: Sequence[Example],
    heldout: Sequence[Example],
    epochs: int,
) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(
            base,
            tokenizer,
            training.model_copy(update={"epochs": epochs, "packing": False}),
            training_rows(rows),
            Path(folder),
            heldout=training_rows(heldout),
            checkpoint_seconds=None,
        )
        trainer.train()
        return [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
