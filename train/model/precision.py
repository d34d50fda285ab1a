"""The precision of a run's computation: `precision: auto` is what this machine has instructions for."""

import torch

from understudy.bases.precision import cpu_has_bfloat16
from understudy.config.training import Training

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def resolved(training: Training) -> Training:
    """Return the settings with `precision: auto` replaced by what it means on this machine."""
    return training.model_copy(update={"precision": _native()}) if training.precision == "auto" else training


def computed_in(training: Training) -> torch.dtype:
    """Return the type in which a run with these settings computes on this machine."""
    return DTYPES[resolved(training).precision]


def _native() -> str:
    """Return the precision of this machine; a GPU without bfloat16 (before Ampere) has float16."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if cpu_has_bfloat16() else "fp32"
