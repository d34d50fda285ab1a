"""What `understudy eval-code` shows: pass@k with intervals, and the hardest tasks."""

from typing import TYPE_CHECKING

from rich.table import Table

from understudy.cli.console import console, out, warn
from understudy.terminal import one_line

if TYPE_CHECKING:
    from evaluate.code.evaluation import CodeReport

SHOWN = 20
"""Most rows of the table of tasks."""


def warn_of_limits(report: "CodeReport") -> None:
    """Prints what limits the figures, on standard error."""
    if report.without_samples:
        named = ", ".join(report.without_samples[:5]) + (", ..." if len(report.without_samples) > 5 else "")
        console.print(f"warning: tasks without samples ({len(report.without_samples)}): {named}")
    if report.too_few_samples_for:
        named = ", ".join(f"pass@{k}" for k in report.too_few_samples_for)
        fewest = min(task.samples for task in report.tasks)
        console.print(f"no {named}: a task has only {fewest} samples")
    if not report.network_cut:
        warn("warning: this system allows no namespaces: the programs had a network")
    elif not report.writes_confined:
        warn("warning: this system allows no mounts: the programs could write files")


def show_code_report(report: "CodeReport") -> None:
    """Prints the figures with their intervals, the outcomes, and the hardest tasks."""
    figures = Table("figure", "value", "95 % interval over problems", box=None, pad_edge=False)
    for k, mean in report.pass_at.items():
        figures.add_row(f"pass@{k}", f"{mean.value:.1%}", f"{mean.low:.1%} to {mean.high:.1%}")
    figures.add_row("parses", f"{report.parse_rate:.1%}", "")
    if report.exact_match is not None:
        figures.add_row("is the reference", f"{report.exact_match:.1%}", "")
    if report.chrf is not None:
        figures.add_row("chrF", f"{report.chrf:.1f} of 100", "")
    out.print(figures)
    out.print(f"\n{report.samples} samples of {report.problems} problems in {report.seconds:.1f} s: ", end="")
    out.print(_counted(report.outcomes))
    worst = sorted(report.tasks, key=lambda task: task.passed / task.samples)[:SHOWN]
    table = Table("task", "passed", "outcomes", box=None, pad_edge=False)
    for task in worst:
        table.add_row(one_line(task.task_id), f"{task.passed}/{task.samples}", _counted(task.outcomes))
    out.print("\nhardest first:" if len(worst) == len(report.tasks) else f"\nthe hardest {len(worst)}:")
    out.print(table)


def _counted(outcomes: dict) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items(), key=lambda item: -item[1]))
