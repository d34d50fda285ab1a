"""Several processes that train one run together, one on each GPU, or side by side on a CPU.

`understudy train --processes N` starts them, and so do torchrun and `accelerate launch`. Each runs the whole command;
the main one alone writes files and talks. Nothing here imports torch before it is asked to.
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
"""Seconds between two looks at whether all still run."""
GONE = ("onnection closed by peer", "onnection reset by peer", "gloo", "NCCL", "TCPStore")
"""What torch says when a process that it waits for is not there any more."""
LOST = 75
"""Exit code of a process that ended because another one had gone."""
TOLD = (1, 2, 130)
"""Exit codes of a command that said why it ended."""
GRACE = 3.0
"""Seconds in which the others may end by themselves after one has ended: what is refused is refused by all."""


def count() -> int:
    """Processes that train together, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched() -> bool:
    """Whether a launcher started this process as one of several, or as the only one."""
    return "LOCAL_RANK" in os.environ and "RANK" in os.environ


def main_process() -> bool:
    """Whether this is the process that writes files and talks."""
    return os.environ.get("RANK", "0") == "0"


def usual(training: Training) -> int:
    """One process a GPU that can be seen, or fewer, so that they share the batch; one where there is no GPU."""
    import torch

    there = max(1, torch.cuda.device_count())
    return next(n for n in range(there, 0, -1) if training.batch_size % n == 0)


def shared(training: Training, processes: int) -> Training:
    """What each of `processes` does, so that together they take the steps of one: rows in memory are a process's.

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
    """Returns when every process has come here; joins them first, if that has not been done."""
    if count() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


@contextmanager
def joined() -> Iterator[None]:
    """Ends what joins the processes at the end, and ends this one without a word when another one has gone: whoever
    started them tells which."""
    try:
        yield
        if count() > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()
    except RuntimeError as error:
        lost = not isinstance(error, UnderstudyError) and any(word in str(error) for word in GONE)
        if count() > 1 and lost:
            os._exit(LOST)  # an orderly end would wait for the one that has gone
        raise


def launch(arguments: Sequence[str], processes: int) -> int:
    """Runs `understudy ARGUMENTS` in `processes` processes and returns the main one's exit code.

    When one ends badly, all end; when this process is ended, however, so are they.

    Raises:
        TrainingError: a process failed and the main one has not told why.
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
            log = folder / f"{rank}.log" if rank else None  # the main one writes where we write
            children.append(Child(command, log=log, env={**together, "RANK": str(rank), "LOCAL_RANK": str(rank)}))
        yield children
    finally:
        for child in children:
            child.stop()


def _outcome(codes: Sequence[int | None], children: Sequence[Child]) -> int:
    """The main process's exit code when it told its troubles itself."""
    failed = next((n for n, code in enumerate(codes) if code not in (None, 0, LOST)), 0)
    code = codes[failed] or 0
    if not code or codes[0] in TOLD:
        return codes[0] or 0
    words = children[failed].log_tail(1).strip().removeprefix("error: ")
    why = f"signal {code - 128} ended it" if code > 128 else words or f"it ended with exit code {code}"
    raise TrainingError(
        f"process {failed + 1} of {len(codes)} failed and the others were ended: {why}; the same command goes on from "
        "the last checkpoint"
    )
