"""Runs a trainer's command: how long it took, when it stepped, how much memory all its processes had."""

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Self

import psutil

from bench.training.trainers.environment import PeerError
from bench.training.trainers.ways import Command
from understudy.processes import QUIET_OPENMP, Child

CLOCK = Path(__file__).with_name("clock")
LIMIT = 600
"""Seconds after which a run is given up."""
LOOK = 0.2
"""Seconds between two looks at memory."""

Found = dict[str, float]
"""Of one run: `seconds`, `first_step_s`, `steps`, `stepping_s` (from the first step to the last), `peak_memory_mib`."""


def run(command: Command, place: Path, *, quiet: bool = False) -> tuple[Found, Path]:
    """Runs a trainer and tells its seconds, memory and steps, and where its product is.

    Raises:
        PeerError: it failed, or took too long.
    """
    steps, log = place / "steps", place / "log"
    env = {**os.environ, "PYTHONPATH": str(CLOCK), "BENCH_STEPS": str(steps), "HF_HUB_OFFLINE": "1"}
    env |= {"HF_DATASETS_CACHE": str(place / "datasets"), **command.env, **(QUIET_OPENMP if quiet else {})}
    began = time.monotonic()
    child = Child(command.words, log=log, env=env)
    try:
        with _Peak(child.pid) as peak:
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


class _Peak:
    """The most memory that a process and its children had at once, shared pages counted once (PSS)."""

    def __init__(self, pid: int) -> None:
        self.mib = 0.0
        self._process = psutil.Process(pid)
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
            try:
                there = [self._process, *self._process.children(recursive=True)]
                self.mib = max(self.mib, sum(p.memory_full_info().pss for p in there) / 2**20)
            except psutil.Error:  # one has just ended
                continue
