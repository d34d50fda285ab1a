"""What a run computes in: `precision: auto` is what this machine has instructions for."""

import torch

from understudy.training import Training

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def resolved(training: Training) -> Training:
    """The settings with `precision: auto` replaced by what it means here."""
    return training.model_copy(update={"precision": _native()}) if training.precision == "auto" else training


def computed_in(training: Training) -> torch.dtype:
    """What a run with these settings computes in, here."""
    return DTYPES[resolved(training).precision]


def _native() -> str:
    """bfloat16 where the processor has instructions for it; emulated on a CPU, it is slower than float32.

    A GPU without them (before Ampere) has them for float16.
    """
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # x86 says avx512_bf16 and amx_bf16, ARM bf16 and sve_bf16.
    can = [name for name, there in torch.cpu.get_capabilities().items() if name.endswith("bf16") and there]
    return "bf16" if can else "fp32"
