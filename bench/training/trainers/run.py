"""Runs a trainer's command: how long it took, when it stepped, how much memory all its processes had."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

import psutil

from bench.training.trainers.environment import PeerError
from bench.training.trainers.ways import Command
from understudy.processes import QUIET_OPENMP, Child

CLOCK = Path(__file__).with_name("clock")
LIMIT = 1800
"""Seconds after which a run is given up."""
LOOK = 0.2
"""Seconds between two looks at memory."""

Found = dict[str, float]
"""Of one run: `seconds`, `first_step_s`, `steps`, `stepping_s` (from the first step to the last), `peak_memory_mib`."""


def run(command: Command, place: Path, *, quiet: bool = False, gpu: bool = False) -> tuple[Found, Path]:
    """Runs a trainer and tells its seconds, memory (of its processes, or of the `gpu`) and steps, and its product.

    Raises:
        PeerError: it failed, or took too long.
    """
    steps, log = place / "steps", place / "log"
    env = {**os.environ, "PYTHONPATH": str(CLOCK), "BENCH_STEPS": str(steps), "HF_HUB_OFFLINE": "1"}
    env |= {"HF_DATASETS_CACHE": str(place / "datasets"), **command.env, **(QUIET_OPENMP if quiet else {})}
    began = time.monotonic()
    child = Child(command.words, log=log, env=env)
    try:
        with _Peak(gpu_mib if gpu else partial(processes_mib, child.pid)) as peak:
            code = child.wait(LIMIT)
    except subprocess.TimeoutExpired:
        raise PeerError(f"not done after {LIMIT} s") from None
    finally:
        child.stop()
    seconds = time.monotonic() - began
    product = next(place.glob(command.product), None)
    times = [float(line) for line in steps.read_text().split()] if steps.exists() else []
    if code or product is None or not any(product.glob("*.safetensors")) or len(times) < 2:
        said = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        raise PeerError(f"exit code {code}: {said[-1][:160]}")
    found = {"seconds": seconds, "first_step_s": times[0] - began, "steps": float(len(times))}
    found |= {"stepping_s": times[-1] - times[0], "peak_memory_mib": peak.mib}
    return found, product


def processes_mib(pid: int) -> float:
    """Memory of a process and its children, shared pages counted once (PSS); 0 where one has just ended."""
    try:
        process = psutil.Process(pid)
        there = [process, *process.children(recursive=True)]
        return sum(p.memory_full_info().pss for p in there) / 2**20
    except psutil.Error:
        return 0.0


def gpu_mib() -> float:
    """Memory of the first GPU that is in use, whoever uses it."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])


class _Peak:
    """The most of something that is looked at again and again."""

    def __init__(self, look: Callable[[], float]) -> None:
        self.mib = 0.0
        self._look = look
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(LOOK):
            self.mib = max(self.mib, self._look())
