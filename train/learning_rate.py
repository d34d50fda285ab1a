"""The learning rate where a recipe says `auto`: it follows from the base, the method, and the length of the run.

tinker-cookbook's `hyperparam_utils.py` has 5e-5 x 10 x (2000 / hidden size)^p for LoRA, with p = 0.781 for Llama-like
models and 0.0775 for Qwen-like ones; "LoRA Without Regret" (Thinking Machines, 2025) finds about ten times the rate of
full fine-tuning for LoRA, and about fifteen times in very short runs. docs/training.md has our own sweeps.
"""

import math

from understudy.bases import Base, read_model_config
from understudy.config.training import Training

FULL = 5e-5
"""Rate of a full fine-tune at hidden size 2000."""
LORA = 10
"""Factor for LoRA, relative to a full fine-tune."""
SHORT = 1.5
"""Further factor for a run of at most `SHORT_STEPS` steps."""
SHORT_STEPS = 100
EXPONENTS = {"qwen": 0.0775}
"""Exponents by the beginning of `model_type`; every other model has LLAMA_LIKE."""
LLAMA_LIKE = 0.781
UNRESOLVED_EPOCHS = 6
"""Epochs assumed for the length of a run while cross-validation has yet to choose them: the most that `auto` gives."""


def learning_rate(training: Training, base: Base, rows: int) -> float:
    """Return the rate for a run with these settings, rounded to two digits. Raises BaseModelError."""
    rate = base_rate(base)
    if training.method != "full":
        rate *= LORA
    if steps(training, rows) <= SHORT_STEPS:
        rate *= SHORT
    return float(f"{rate:.1e}")


def base_rate(base: Base) -> float:
    """Return the rate of a full fine-tune of `base`, from its hidden size and family. Raises BaseModelError."""
    config = read_model_config(base)
    config = config.get("text_config") or config
    kind = str(config.get("model_type", ""))
    exponent = next((p for name, p in EXPONENTS.items() if kind.startswith(name)), LLAMA_LIKE)
    hidden = int(config.get("hidden_size") or config.get("n_embd") or 2000)
    return FULL * (2000 / hidden) ** exponent


def steps(training: Training, rows: int) -> int:
    """Return the number of optimiser steps of a run over `rows` rows."""
    each = math.ceil(rows / max(training.batch_size, 1))
    epochs = training.epochs if isinstance(training.epochs, float | int) else UNRESOLVED_EPOCHS
    wanted = math.ceil(each * epochs)
    return min(wanted, training.max_steps) if training.max_steps else wanted
