"""Trains one run in several processes: one on each GPU, or side by side on a CPU.

`understudy train --processes N` starts them, and so do torchrun and `accelerate launch`. Each runs the whole command;
only the main one writes files and prints. This module imports torch only inside the functions that need it.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from understudy.config.training import Training
from understudy.errors import TrainingError, UnderstudyError
from understudy.processes import Child, free_port

POLL = 0.1
"""Seconds between two checks that all processes still run."""
PEER_LOST_MESSAGES = ("onnection closed by peer", "onnection reset by peer", "gloo", "NCCL", "TCPStore")
"""Parts of torch's messages when a process that it waits for has ended."""
EXIT_PEER_LOST = 75
"""Exit code of a process that ended because another one had ended."""
EXPLAINED_CODES = (1, 2, 130)
"""Exit codes of a command that has printed why it ended."""
GRACE = 3.0
"""Seconds that the others get to end by themselves after one has ended: what one refuses, all refuse."""


def count() -> int:
    """Return how many processes train together, as the launcher set it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched() -> bool:
    """Return whether a launcher started this process, as one of several or as the only one."""
    return "LOCAL_RANK" in os.environ and "RANK" in os.environ


def main_process() -> bool:
    """Return whether this is the process that writes files and prints."""
    return os.environ.get("RANK", "0") == "0"


def default_processes(training: Training) -> int:
    """Return the default number of processes: one for each visible GPU, or fewer so that they divide the batch."""
    import torch

    there = max(1, torch.cuda.device_count())
    return next(n for n in range(there, 0, -1) if training.batch_size % n == 0)


def shared(training: Training, processes: int) -> Training:
    """Return the settings for each of `processes`, so that together they take the same steps as one process.

    Raises:
        TrainingError: the batch cannot be divided among them.
    """
    if processes == 1:
        return training
    fitting = [n for n in range(1, training.batch_size + 1) if training.batch_size % n == 0]
    if processes not in fitting:
        raise TrainingError(
            f"a batch of {training.batch_size} rows cannot be divided among {processes} processes; "
            f"use {', '.join(map(str, fitting))} processes, or a batch_size that is a multiple of {processes}"
        )
    each = training.batch_size // processes
    if training.micro_batch_size and each % min(training.micro_batch_size, each):
        raise TrainingError(
            f"each of {processes} processes has {each} rows of a batch of {training.batch_size}, "
            f"which is no multiple of micro_batch_size {training.micro_batch_size}; "
            "choose a micro_batch_size that divides it"
        )
    return training.model_copy(update={"micro_batch_size": min(training.micro_batch_size or each, each)})


def wait_for_all() -> None:
    """Wait until every process has come here; the first call connects them."""
    if count() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


@contextmanager
def joined() -> Iterator[None]:
    """Disconnect the processes at the end; if another one is lost, end this one silently (the launcher reports it)."""
    try:
        yield
        if count() > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()
    except RuntimeError as error:
        lost = not isinstance(error, UnderstudyError) and any(word in str(error) for word in PEER_LOST_MESSAGES)
        if count() > 1 and lost:
            os._exit(EXIT_PEER_LOST)  # an orderly exit would wait for the lost process
        raise


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run `understudy ARGUMENTS` in `processes` processes and return the main one's exit code.

    When one fails, all are ended; when this process is ended, in whatever way, so are they.

    Raises:
        TrainingError: a process failed, and the main one has not printed why.
    """
    with tempfile.TemporaryDirectory() as folder, _children(arguments, processes, Path(folder)) as children:
        while any(child.exit_code is None for child in children) and not any(child.exit_code for child in children):
            time.sleep(POLL)
        deadline = time.monotonic() + GRACE
        while any(child.exit_code is None for child in children) and time.monotonic() < deadline:
            time.sleep(POLL)
        return _outcome([child.exit_code for child in children], children)


@contextmanager
def _children(arguments: Sequence[str], processes: int, folder: Path) -> Iterator[list[Child]]:
    command = [sys.executable, "-m", "understudy", *arguments]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    together = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // processes))),
    }
    children: list[Child] = []
    try:
        for rank in range(processes):
            log = folder / f"{rank}.log" if rank else None  # the main one prints where this process prints
            children.append(Child(command, log=log, env={**together, "RANK": str(rank), "LOCAL_RANK": str(rank)}))
        yield children
    finally:
        for child in children:
            child.stop()


def _outcome(codes: Sequence[int | None], children: Sequence[Child]) -> int:
    """Return the main process's exit code; raise TrainingError for a failure that it has not explained itself."""
    failed = next((n for n, code in enumerate(codes) if code not in (None, 0, EXIT_PEER_LOST)), 0)
    code = codes[failed] or 0
    if not code or codes[0] in EXPLAINED_CODES:
        return codes[0] or 0
    words = children[failed].log_tail(1).strip().removeprefix("error: ")
    why = f"signal {code - 128} ended it" if code > 128 else words or f"it ended with exit code {code}"
    raise TrainingError(
        f"process {failed + 1} of {len(codes)} failed and the others were ended: {why}; the same command goes on from "
        "the last checkpoint"
    )
