"""How far a base is prepared: a bar on a terminal, a line for each part elsewhere, nothing where it is ready."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn


@contextmanager
def base_progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Yields the `on_progress` of `resolve_base` and `require_base`."""
    with ExitStack() as stack:
        yield _bars(console, stack) if console.is_terminal else _lines(console)


def _bars(console: Console, stack: ExitStack) -> Callable[[str, int, int], None]:
    columns = (TextColumn("preparing the base: {task.description}"), BarColumn(), TaskProgressColumn())
    shown: list[Progress] = []

    def on_progress(what: str, done: int, total: int) -> None:
        if not shown:
            shown.append(stack.enter_context(Progress(*columns, console=console, transient=True)))
        (progress,) = shown
        known = {task.description: task.id for task in progress.tasks}
        task = known[what] if what in known else progress.add_task(what)
        progress.update(task, completed=done, total=total)

    return on_progress


def _lines(console: Console) -> Callable[[str, int, int], None]:
    told: set[str] = set()

    def on_progress(what: str, done: int, total: int) -> None:
        if what not in told:
            told.add(what)
            console.print(f"preparing the base: {what}")

    return on_progress
