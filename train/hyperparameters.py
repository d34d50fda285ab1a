"""Resolves every setting that a recipe leaves at `auto`: rank and batch here, the others in modules of their own.

`train.epochs` has the number of epochs, `train.learning_rate` the learning rate.
"""

import math

from train.epochs import automatic_epochs
from train.learning_rate import learning_rate
from understudy.bases import Base
from understudy.config.training import Training

FEW_ROWS = 100
"""Rows up to which an adapter is small and a batch has four rows."""


def settled(training: Training, base: Base, rows: int) -> Training:
    """Return the settings with a number in place of every `auto`, for `rows` rows on `base`; the others stay.

    Raises:
        BaseModelError: the base's config.json cannot be read.
    """
    found: dict[str, float] = {}
    if training.rank == 0:
        found["rank"] = 8 if rows <= FEW_ROWS else 16
    if training.alpha == 0:
        found["alpha"] = 2 * int(found.get("rank", training.rank))
    if training.batch_size == 0:
        at_once = training.micro_batch_size or 1
        found["batch_size"] = at_once * math.ceil((4 if rows <= FEW_ROWS else 8) / at_once)
    if training.epochs == "auto":
        found["epochs"] = automatic_epochs(rows)
    training = training.model_copy(update=found)
    if training.learning_rate == 0:  # needs the number of steps, and so the settings above
        training = training.model_copy(update={"learning_rate": learning_rate(training, base, rows)})
    return training
