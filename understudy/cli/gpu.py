"""The GPU of this machine, as its driver tells, and the base that it would hold."""

import shutil
import subprocess

from understudy.bases import Base, known_base, largest_that_fits

PATIENCE = 20
"""Seconds that the driver gets to answer."""


def gpu_memory_gib() -> float | None:
    """GiB of the first GPU; None where there is none, or its driver does not answer."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return float(done.stdout.split()[0]) / 1024  # the driver counts in MiB
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def larger_base_hint(memory_gib: float, base: Base) -> str:
    """Which larger base a GPU would hold, and the line to use it; empty where there is none, or one was chosen."""
    larger, known = largest_that_fits(memory_gib), known_base(base.name)
    if larger is None or known is None or not base.shipped:
        return ""
    return f"this GPU ({memory_gib:.0f} GB) would hold {larger.name}: UNDERSTUDY_BASE={larger.name} make demo"
