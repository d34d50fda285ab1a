"""What `understudy train` and `understudy check` show of a recipe, its settings, and its run."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.text import Text

from understudy.bases import resolve_base
from understudy.cli.console import console, out, warn
from understudy.config.recipe import FEW_ROWS
from understudy.config.settings import Settings
from understudy.hub_jobs.submit import SubmittedJob
from understudy.registry.adapters import short
from understudy.terminal import printable
from understudy.workflows.check import CheckedRecipe
from understudy.workflows.train import TrainingOutcome, TrainingPlan
from understudy.workflows.train_remote import RemoteJob

if TYPE_CHECKING:
    from train.sft import Trained

FIGURES = ("steps", "epochs", "loss", "seconds", "tokens_per_second", "peak_memory_mib")
"""Figures of a run that `--json` prints."""
ALWAYS_SHOWN = ("learning_rate", "rank", "batch_size", "seed")
"""Settings that are printed before a run even if they are the recipe's."""


def show_plan(plan: TrainingPlan) -> None:
    """What is trained, on how many rows, with which settings of the recipe and of the command line."""
    recipe, training, rows = plan.recipe, plan.training, len(plan.examples)
    if rows < FEW_ROWS:
        warn(f"warning: {recipe.name} has only {rows} examples; expect it to repeat them")
    epochs = f"epochs: {training.epochs}" if isinstance(training.epochs, str) else f"{training.epochs:g} epochs"
    values = training.model_dump()
    inherited = ", ".join(f"{k} {v}" for k, v in values.items() if k in ALWAYS_SHOWN and k not in plan.overrides)
    overridden = ", ".join(f"{name} {values[name]}" for name in plan.overrides)
    console.print(f"{recipe.name}: {training.method} on {plan.base}, {rows} examples, {epochs}")
    console.print(
        f"  from {recipe.folder / 'recipe.yaml'}: {inherited}" + (f"; overridden: {overridden}" if overridden else "")
    )
    if plan.split:
        console.print(f"  data from {plan.split}")


def show_outcome(outcome: TrainingOutcome, settings: Settings) -> None:
    """What the run did, and what to do with it."""
    trained, name = outcome.trained, outcome.plan.recipe.name
    show_run(trained)
    if trained.settings.training.method == "full":
        console.print(f"a whole model, no adapter: {trained.run.product}; serve it with UNDERSTUDY_BASE set to that")
    if outcome.revision is None:
        return
    console.print(f"registered as {name}@{short(outcome.revision)}; to publish it: understudy publish {name}")
    base = outcome.plan.base
    if resolve_base(settings.base).name != base:
        console.print(f"it needs the base that it was trained on: UNDERSTUDY_BASE={base} understudy serve")


def show_run(trained: "Trained") -> None:
    """Steps, time, loss and memory, or that the run had finished before."""
    if trained.reused:
        console.print(f"already trained with these settings and examples: {trained.run.folder} (--fresh trains anew)")
        return
    resumed = f", went on from step {trained.resumed_at}" if trained.resumed_at else ""
    console.print(
        f"{trained.steps} steps ({trained.epochs:g} epochs) in {trained.seconds:.1f} s{resumed}, "
        f"last loss {trained.loss:.3f}, "
        f"{trained.tokens_per_second:,.0f} tokens/s, at most {trained.peak_memory_mib:,.0f} MiB"
    )


def outcome_record(outcome: TrainingOutcome) -> dict[str, Any]:
    """The last line of `understudy train --json`."""
    trained = outcome.trained
    return {
        "outcome": "reused" if trained.reused else "trained",
        "persona": outcome.plan.recipe.name,
        "revision": outcome.revision,
        "base": outcome.plan.base,
        "run": str(trained.run.folder),
        **{name: getattr(trained, name) for name in FIGURES},
    }


def show_check(checked: CheckedRecipe) -> None:
    """The first rows as the model sees them, with loss in green, and the answer to each question."""
    for number, row in enumerate(checked.rows, 1):
        text = Text(f"row {number} ", style="bold")
        for span in row:
            text.append(printable(span.text), style="green" if span.trained else "dim")
        out.print(text, end="\n\n")
    for finding in checked.findings:
        mark, style = ("✓", "green") if finding.passed else ("✗", "red")
        out.print(f"{mark} {finding.question}: {finding.detail}", style=style)
    if checked.passed and not checked.engine_asked:
        out.print(
            "not asked: whether the engine sees the same prompts and takes the adapter (--no-engine)", style="yellow"
        )


def show_finished_job(written: RemoteJob, job: SubmittedJob, runs_dir: Path) -> None:
    """Where the adapter of a finished job is."""
    if written.plan.push:
        console.print(f"trained, and pushed to {written.plan.push}")
    for bucket in job.buckets:
        console.print(
            f"the run is kept in your bucket; to have it here:\n"
            f"  hf buckets sync hf://buckets/{bucket}/runs {quote(str(runs_dir))}\n"
            f"  understudy push {written.recipe.name}"
        )
