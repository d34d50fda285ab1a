"""What all commands share to show people: one console on standard error, tables on standard output, progress."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from understudy.processes import BRISK_OPENMP, QUIET_OPENMP, openmp
from understudy.terminal import one_line, printable


class PlainConsole(Console):
    """Shows every text as it is: no markup, no emoji codes, and characters that steer a terminal as their escapes.

    So no name, path or message can raise an error, style, or forge what is printed; our own styles are given as such.
    """

    def __init__(
        self,
        *,
        stderr: bool = False,
        width: int | None = None,
        file: IO[str] | None = None,
        force_terminal: bool | None = None,
    ) -> None:
        where: dict[str, Any] = {"stderr": stderr, "width": width, "file": file, "force_terminal": force_terminal}
        super().__init__(**where, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def render_str(self, text: str, **how: Any) -> Text:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As Rich's, for a text made harmless."""
        return super().render_str(printable(text), **how)


console = PlainConsole(stderr=True)
"""For people: progress, warnings, what was done."""
out = PlainConsole()
"""For results that a command prints as a table or a text; JSON is printed without it."""


def prepare(*, trains: bool = False) -> None:
    """Set how idle threads wait, and quieten libraries; call it before torch is imported.

    Idle threads sleep, because an engine may share the cores; a command that only `trains` lets them spin if it has the
    machine for itself.
    """
    if not {*QUIET_OPENMP, *BRISK_OPENMP} & os.environ.keys():
        os.environ.update(openmp() if trains else QUIET_OPENMP)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def warn(text: str) -> None:
    """Print a line that people should not miss."""
    console.print(text, style="yellow")


def dim(text: str) -> None:
    """Print a line that people may skip."""
    console.print(text, style="dim")


def plain(text: str) -> Text:
    """The text for what takes markup in strings, such as a status line."""
    return Text(one_line(text))


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done on a terminal, nothing elsewhere; yields a function that takes what is done next."""
    if console.is_terminal:
        with console.status(plain(text)) as shown:
            yield lambda now: shown.update(plain(now))
    else:
        yield lambda _: None


class Steps:
    """A progress display: call it with work done, work in all, and a loss.

    `say` takes what is being done; an empty text is the work itself.
    """

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
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(one_line(title), total=None, loss="")

        def on_step(done: int, total: int, loss: float | None) -> None:
            progress.update(task, completed=done, total=total, loss="" if loss is None else f"loss {loss:.3f}")

        def say(text: str) -> None:
            progress.update(task, description=one_line(f"{title}: {text}" if text else title))

        yield Steps(on_step, say)


def _lines(title: str) -> Any:
    last = -1

    def on_step(done: int, total: int, loss: float | None) -> None:
        nonlocal last
        tenth = 10 * done // max(total, 1)
        if tenth > last:
            last = tenth
            text = f"{title}: {done}/{total}" + ("" if loss is None else f", loss {loss:.3f}")
            print(printable(text), file=sys.stderr, flush=True)

    return on_step


@contextmanager
def base_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show how far a base is prepared: a bar on a terminal, a line for each part elsewhere, nothing if it is ready.

    Yields the `on_progress` of `resolve_base` and `require_base`.
    """
    with ExitStack() as stack:
        yield _bars(stack) if console.is_terminal else _parts()


def _bars(stack: ExitStack) -> Callable[[str, int, int], None]:
    columns = (TextColumn("preparing the base: {task.description}", markup=False), BarColumn(), TaskProgressColumn())
    shown: list[Progress] = []

    def on_progress(what: str, done: int, total: int) -> None:
        if not shown:
            shown.append(stack.enter_context(Progress(*columns, console=console, transient=True)))
        (progress,) = shown
        what = one_line(what)
        known = {task.description: task.id for task in progress.tasks}
        task = known[what] if what in known else progress.add_task(what)
        progress.update(task, completed=done, total=total)

    return on_progress


def _parts() -> Callable[[str, int, int], None]:
    shown: set[str] = set()

    def on_progress(what: str, done: int, total: int) -> None:
        if what not in shown:
            shown.add(what)
            console.print(f"preparing the base: {what}")

    return on_progress
