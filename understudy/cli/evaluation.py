"""`understudy eval-code`: how many generated programs do what they should."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from understudy.errors import ExamplesError

if TYPE_CHECKING:
    from evaluate.code.evaluation import CodeReport

console = Console(highlight=False, soft_wrap=True)
aside = Console(highlight=False, soft_wrap=True, stderr=True)
SHOWN = 20
"""Rows of the table of tasks."""


def eval_code(
    problems: Path,
    samples: Path,
    *,
    json_output: bool,
    timeout: float,
    memory: int,
    workers: int | None,
    k: str,
) -> None:
    """Runs the samples against the problems' tests and prints the report, as tables or JSON.

    `timeout` is in seconds and `memory` in MiB for each program; `k` is written `1,5,10`.

    Raises:
        ExamplesError: a file or option is malformed, or code cannot be run here.
    """
    try:
        from evaluate.code.evaluation import default_workers, evaluate
        from evaluate.code.problems import read_problems, read_samples
        from evaluate.code.sandbox import SandboxLimits
    except ModuleNotFoundError as error:
        raise ExamplesError(
            f"eval-code needs {error.name}; install it with: pip install 'understudy[verify]'"
        ) from None
    ks = parse_ks(k)
    tasks = read_problems(problems)
    answers = read_samples(samples, tasks)
    workers = workers or default_workers()
    aside.print(
        f"warning: running {len(answers)} generated programs on this machine, {workers} at a time; "
        "use a container if you do not trust the model",
        style="yellow",
    )
    limits = SandboxLimits(seconds=timeout, memory_mib=memory)
    with _progress() as on_progress:
        report = evaluate(tasks, answers, limits=limits, workers=workers, ks=ks, on_progress=on_progress)
    _warn(report)
    if json_output:
        print(report.model_dump_json(indent=2))
    else:
        _print(report)


def parse_ks(text: str) -> tuple[int, ...]:
    """`1,5,10` as numbers.

    Raises:
        ExamplesError: a part is not a whole number of at least 1.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) for part in parts):
        raise ExamplesError(f"--k: found {text!r}; write whole numbers of at least 1, as in 1,5,10")
    return tuple(int(part) for part in parts)


def _warn(report: "CodeReport") -> None:
    """What a reader of the figures should know, on standard error."""
    if report.without_samples:
        named = ", ".join(report.without_samples[:5]) + (", ..." if len(report.without_samples) > 5 else "")
        aside.print(f"warning: tasks without samples ({len(report.without_samples)}): {named}", markup=False)
    if report.too_few_samples_for:
        named = ", ".join(f"pass@{k}" for k in report.too_few_samples_for)
        fewest = min(task.samples for task in report.tasks)
        aside.print(f"no {named}: a task has only {fewest} samples", markup=False)
    if not report.network_cut:
        aside.print("warning: this system allows no namespaces: the programs had a network", style="yellow")
    elif not report.writes_confined:
        aside.print("warning: this system allows no mounts: the programs could write files", style="yellow")


def _print(report: "CodeReport") -> None:
    figures = Table("figure", "value", "95 % interval over problems", box=None, pad_edge=False)
    for k, mean in report.pass_at.items():
        figures.add_row(f"pass@{k}", f"{mean.value:.1%}", f"{mean.low:.1%} to {mean.high:.1%}")
    figures.add_row("parses", f"{report.parse_rate:.1%}", "")
    if report.exact_match is not None:
        figures.add_row("is the reference", f"{report.exact_match:.1%}", "")
    if report.chrf is not None:
        figures.add_row("chrF", f"{report.chrf:.1f} of 100", "")
    console.print(figures)
    console.print(f"\n{report.samples} samples of {report.problems} problems in {report.seconds:.1f} s: ", end="")
    console.print(_counted(report.outcomes))
    worst = sorted(report.tasks, key=lambda task: task.passed / task.samples)[:SHOWN]
    table = Table("task", "passed", "outcomes", box=None, pad_edge=False)
    for task in worst:
        table.add_row(escape(task.task_id), f"{task.passed}/{task.samples}", _counted(task.outcomes))
    console.print("\nhardest first:" if len(worst) == len(report.tasks) else f"\nthe hardest {len(worst)}:")
    console.print(table)


def _counted(outcomes: dict) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items(), key=lambda item: -item[1]))


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere; yields on_progress(done, total)."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=aside, transient=True) as progress:
        task = progress.add_task("running", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
