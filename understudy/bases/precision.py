"""What a base is computed in: bfloat16 only where the processor has instructions for it."""

from functools import lru_cache
from pathlib import Path

from understudy.bases.base import Base

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}
"""Flags of x86 and ARM processors that compute in bfloat16. Emulated, it is many times slower than float32."""


@lru_cache(maxsize=1)
def cpu_flags() -> frozenset[str]:
    """What this machine's processor has instructions for; empty where nobody says."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.lower().startswith(("flags", "features"))), "").split())


def cpu_has_bfloat16() -> bool:
    """Whether this machine's processor has instructions for bfloat16; False where nobody says."""
    return not BFLOAT16.isdisjoint(cpu_flags())


def serving_dtype(base: Base, *, on_cpu: bool) -> str:
    """The `--dtype` of vLLM for `base`: `float32`, or `auto` for what the base's configuration says.

    `tiny`, the base of the tests, is always float32: there vLLM's answers are those of transformers token for token.
    """
    return "float32" if base.tiny or (on_cpu and not cpu_has_bfloat16()) else "auto"
