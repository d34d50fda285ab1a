"""The memory of this machine's GPU, and the largest known base that it would hold."""

import shutil
import subprocess

from understudy.bases.base import Base
from understudy.bases.catalogue import known_base, largest_that_fits

DRIVER_TIMEOUT = 20
"""Seconds that the driver gets to answer."""


def gpu_memory_gib() -> float | None:
    """GiB of the first GPU; None where there is no GPU, or its driver does not answer."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_TIMEOUT, check=True)
        return float(done.stdout.split()[0]) / 1024  # the driver counts in MiB
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def larger_base_hint(memory_gib: float, base: Base) -> str:
    """Name the larger base that a GPU would hold, and the line to use it; empty if there is none, or one was chosen."""
    larger, known = largest_that_fits(memory_gib), known_base(base.name)
    if larger is None or known is None or not base.shipped:
        return ""
    return f"this GPU ({memory_gib:.0f} GB) would hold {larger.name}: UNDERSTUDY_BASE={larger.name} make demo"
