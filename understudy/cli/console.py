"""What all commands share to talk to people: one console on standard error, progress, quiet libraries."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from understudy.processes import BRISK_OPENMP, QUIET_OPENMP, openmp

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""For people; what programs read goes to standard output."""


def prepare(*, trains: bool = False) -> None:
    """Before torch is imported: how threads wait, and libraries say only what matters.

    With an engine of its own beside it, threads that wait sleep; what only `trains` looks whether it is alone.
    """
    if not {*QUIET_OPENMP, *BRISK_OPENMP} & os.environ.keys():
        os.environ.update(openmp() if trains else QUIET_OPENMP)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Shows what is being done; yields a function that says what is done next. Quiet where there is no terminal."""
    if console.is_terminal:
        with console.status(text) as shown:
            yield shown.update
    else:
        yield lambda _: None


class Steps:
    """A progress display: call it with work done and known, and a loss; `say` names what is being done."""

    def __init__(self, show: Callable[[int, int, float | None], None], say: Callable[[str], None]) -> None:
        self._show, self.say = show, say

    def __call__(self, done: int, total: int, loss: float | None) -> None:
        self._show(done, total, loss)


@contextmanager
def steps(title: str) -> Iterator[Steps]:
    """A progress bar on a terminal, a line every tenth of the way elsewhere; yields on_step(done, total, loss)."""
    if not console.is_terminal:
        yield Steps(_lines(title), lambda _: None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(title, total=None, loss="")

        def on_step(done: int, total: int, loss: float | None) -> None:
            progress.update(task, completed=done, total=total, loss="" if loss is None else f"loss {loss:.3f}")

        yield Steps(on_step, lambda text: progress.update(task, description=f"{title}: {text}"))


def _lines(title: str) -> Any:
    last = -1

    def on_step(done: int, total: int, loss: float | None) -> None:
        nonlocal last
        tenth = 10 * done // max(total, 1)
        if tenth > last:
            last = tenth
            text = f"{title}: {done}/{total}" + ("" if loss is None else f", loss {loss:.3f}")
            print(text, file=sys.stderr, flush=True)

    return on_step
