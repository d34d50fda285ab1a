"""Settings that follow from base and data: learning rate, epochs, rank and batch where a recipe says `auto`.

Learning rate: tinker-cookbook's `hyperparam_utils.py` has 5e-5 x 10 x (2000 / hidden size)^p for LoRA, p = 0.781 for
Llama-like models and 0.0775 for Qwen-like ones; "LoRA Without Regret" (Thinking Machines, 2025) finds about ten times
the rate of full fine-tuning for LoRA, and about fifteen times in very short runs. docs/training.md has our own sweeps.
"""

import math

from understudy.bases import Base, read_model_config
from understudy.config.training import Training

FULL = 5e-5
"""Rate of a full fine-tune at hidden size 2000."""
LORA = 10
"""Times the rate of a full fine-tune."""
SHORT = 1.5
"""Times more in a run of at most `SHORT_STEPS` steps."""
SHORT_STEPS = 100
EXPONENTS = {"qwen": 0.0775}
LLAMA_LIKE = 0.781

FEW_ROWS = 100
"""Rows up to which an adapter is small and a batch is four rows."""
MOST_EPOCHS = ((32, 6.0), (100, 4.0), (math.inf, 3.0))
"""Rows up to which so many epochs are trained. The held-out loss of few rows is smallest after two or three, when the
sign-off of an email has not settled yet: heard, six were better (docs/training.md)."""


def settled(training: Training, base: Base, rows: int) -> Training:
    """The settings with everything `auto` replaced by a number, for `rows` rows on `base`; others stay.

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
    training = training.model_copy(update=found)
    if training.epochs == "auto":
        epochs = next(epochs for most, epochs in MOST_EPOCHS if rows <= most)
        training = training.model_copy(update={"epochs": epochs})
    if training.learning_rate == 0:
        training = training.model_copy(update={"learning_rate": learning_rate(training, base, rows)})
    return training


def learning_rate(training: Training, base: Base, rows: int) -> float:
    """The rate for a run of these settings, two digits. Raises BaseModelError."""
    rate = base_rate(base)
    if training.method != "full":
        rate *= LORA
    if steps(training, rows) <= SHORT_STEPS:
        rate *= SHORT
    return float(f"{rate:.1e}")


def base_rate(base: Base) -> float:
    """The rate of a full fine-tune of `base`. Raises BaseModelError."""
    config = read_model_config(base)
    config = config.get("text_config") or config
    kind = str(config.get("model_type", ""))
    exponent = next((p for name, p in EXPONENTS.items() if kind.startswith(name)), LLAMA_LIKE)
    hidden = int(config.get("hidden_size") or config.get("n_embd") or 2000)
    return FULL * (2000 / hidden) ** exponent


def steps(training: Training, rows: int) -> int:
    """Optimiser steps of a run; the most that cross-validation may choose where it decides."""
    each = math.ceil(rows / max(training.batch_size, 1))
    wanted = math.ceil(each * (training.epochs if isinstance(training.epochs, float | int) else 6))
    return min(wanted, training.max_steps) if training.max_steps else wanted
