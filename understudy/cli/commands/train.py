"""Commands that make an adapter from examples or votes: check, train, sweep."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from understudy.cli.commands.options import (
    BaseModelName,
    JobDryRun,
    JobFlavor,
    JobPackage,
    JobTimeout,
    Json,
    RecipeName,
    Where,
    parse_settings,
)
from understudy.config.settings import Settings, load_settings
from understudy.errors import ConfigError

if TYPE_CHECKING:
    from train.sft_trainer import Tracker

app = typer.Typer()


@app.command(short_help="Check a recipe: what the model sees, and why not to train yet.")
def check(
    recipe: RecipeName,
    base: BaseModelName = None,
    other: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of training, such as method=lora. Repeatable."),
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows to show with their loss mask.", min=0)] = 1,
    engine: Annotated[bool, typer.Option(help="Ask an engine, too (starts vLLM).")] = True,
    json_output: Json = False,
) -> None:
    """Check a recipe: what the model will see, which tokens carry loss, and every reason not to train yet.

    Exit code 1 if there is a reason.
    """
    import json

    from understudy.cli.console import prepare, status, warn
    from understudy.cli.show_training import show_check
    from understudy.workflows.check import check_recipe

    prepare()
    changes = parse_settings(other or [])
    with status("reading the recipe") as say:
        checked = check_recipe(
            load_settings(base=base), recipe, base, changes, rows=rows, engine=engine, say=say, report=warn
        )
    if json_output:
        print(json.dumps({"passed": checked.passed, "findings": [one.model_dump() for one in checked.findings]}))
    else:
        show_check(checked)
    if not checked.passed:
        raise typer.Exit(1)


@app.command(short_help="Train a persona from examples, or from votes.")
def train(
    recipe: RecipeName,
    base: BaseModelName = None,
    epochs: Annotated[str | None, typer.Option(help="Passes over the examples, auto, or cross-validated.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate; default: automatic.")] = None,
    rank: Annotated[int | None, typer.Option(help="LoRA rank; default: automatic.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per step; default: automatic.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    method: Annotated[
        str | None,
        typer.Option(help="qlora, lora, lora-8bit or full; from votes: dpo, kto, reward, grpo or rloo."),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any other setting of training, such as neftune=5. Repeatable."
        ),
    ] = None,
    tracker: Annotated[
        Literal["tensorboard", "trackio", "none"], typer.Option(help="Where to watch the losses.")
    ] = "none",
    processes: Annotated[
        int | None, typer.Option(help="Processes that share each batch; default: one a GPU.", min=1)
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, even if this run exists.")] = False,
    preferences: Annotated[
        Path | None, typer.Option(help="Pairs or labels to learn from; default: the arena's votes.", metavar="FILE")
    ] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="REVISION", help="Revision that votes continue; default: the live one.")
    ] = "",
    on: Where = "here",
    flavor: JobFlavor = None,
    timeout: JobTimeout = None,
    push_to: Annotated[
        str | None, typer.Option("--push", metavar="hub:ORG/NAME", help="Where a job pushes the adapter.")
    ] = None,
    package: JobPackage = None,
    dry_run: JobDryRun = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print each step and the outcome as JSON, an object a line.")
    ] = False,
) -> None:
    """Train an adapter for a persona (TRL SFTTrainer, QLoRA) and register it.

    The same settings and data are the same run: an interrupted one continues where it stopped.
    With --method dpo, kto, grpo or rloo, training continues the live revision from people's votes.
    """
    from understudy.config.preference import PREFERENCE_METHODS

    settings = load_settings(base=base)
    changes = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "rank": rank,
        "batch_size": batch_size,
        "seed": seed,
        "method": method,
        **parse_settings(other or []),
    }
    if method in PREFERENCE_METHODS or preferences or start:
        if on != "here" or tracker != "none" or processes not in (None, 1) or json_output:
            raise ConfigError(
                "learning from votes runs here in one process: leave --on, --tracker, --processes and --json out"
            )
        _train_from_votes(settings, recipe, base, changes, preferences=preferences, start=start, fresh=fresh)
        return
    from understudy.hub_jobs.plan import job_options

    given = {"flavor": flavor, "timeout": timeout, "push": push_to, "package": package}
    options = job_options(on, given, dry_run=dry_run)
    if options is None:
        _train_here(
            settings,
            recipe,
            base,
            changes,
            fresh=fresh,
            tracker=tracker,
            processes=processes,
            json_output=json_output,
        )
    elif json_output:
        raise ConfigError("--json is for training on this machine; leave it out with --on hf-jobs")
    else:
        _train_as_job(settings, recipe, base, changes, options, dry_run=dry_run)


@app.command(short_help="Find better settings by trials, each cross-validated.")
def sweep(
    recipe: RecipeName,
    trials: Annotated[int, typer.Option(help="Trials in all; a sweep continues from those it has.", min=1)] = 20,
    over: Annotated[
        str | None,
        typer.Option(help="Settings to sweep over, commas between: learning_rate,epochs,batch_size,rank,scheduler,…"),
    ] = None,
    bases: Annotated[list[str] | None, typer.Option("--base", help="A base to try; repeat it for several.")] = None,
    write: Annotated[str | None, typer.Option(help="Name of a new recipe with the best settings.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print everything found as JSON.")] = False,
) -> None:
    """Find settings by trials, each judged by cross-validation on the examples; held-out rows stay unseen."""
    from understudy.cli.console import prepare, steps, warn
    from understudy.cli.show_sweep import show_sweep
    from understudy.workflows.sweep import sweep_recipe

    prepare()
    with steps(f"sweeping {Path(recipe).name}") as on_trial:
        swept = sweep_recipe(
            load_settings(),
            recipe,
            bases=bases or [],
            trials=trials,
            over=[name.strip() for name in (over or "").split(",") if name.strip()],
            write=write,
            say=on_trial.say,
            report=warn,
            on_trial=on_trial,
        )
    show_sweep(swept, json_output=json_output)


def _train_here(
    settings: Settings,
    name: str,
    base: str | None,
    changes: dict[str, Any],
    *,
    fresh: bool,
    tracker: "Tracker",
    processes: int | None,
    json_output: bool,
) -> None:
    """Train in this process, or leave it to several processes and exit as the main one does."""
    from understudy.cli.console import console, dim, prepare, steps, warn
    from understudy.cli.json_lines import json_lines
    from understudy.cli.show_training import outcome_record, show_outcome, show_plan
    from understudy.workflows import train as workflow

    prepare(trains=True)
    with json_lines(json_output) as write:
        plan = workflow.plan_training(settings, name, base, changes, report=warn)
        count = workflow.process_count(plan, processes)
        if count > 1:
            console.print(f"{count} processes, {plan.training.batch_size // count} rows of each batch to each")
            raise typer.Exit(workflow.launch_training(plan, count, sys.argv[1:]))
        console.quiet = not workflow.is_main_process()
        show_plan(plan)
        with steps(f"training {plan.recipe.name}") as show:

            def on_step(done: int, total: int, loss: float | None) -> None:
                show(done, total, loss)
                write({"step": done, "of": total, "loss": loss})

            def on_fold(done: int, total: int) -> None:
                if done < total:
                    dim(f"choosing the number of epochs: fold {done + 1} of {total}")

            outcome = workflow.run_training(
                settings,
                plan,
                fresh=fresh,
                tracker=tracker,
                say=show.say,
                report=dim,
                on_step=on_step,
                on_fold=on_fold,
            )
        if workflow.is_main_process():
            show_outcome(outcome, settings)
            write(outcome_record(outcome))


def _train_from_votes(
    settings: Settings,
    name: str,
    base: str | None,
    changes: dict[str, Any],
    *,
    preferences: Path | None,
    start: str,
    fresh: bool,
) -> None:
    from understudy.cli.console import prepare, steps
    from understudy.cli.show_preferences import show_preference_outcome, show_preference_plan
    from understudy.workflows.train_from_votes import plan_preference_training, train_from_votes

    plan = plan_preference_training(settings, name, base, changes, preferences=preferences, start=start)
    prepare(trains=True)
    show_preference_plan(plan)
    with steps(f"training {plan.recipe.name}") as on_step:
        outcome = train_from_votes(settings, plan, fresh=fresh, say=on_step.say, on_step=on_step)
    show_preference_outcome(outcome)


def _train_as_job(
    settings: Settings, name: str, base: str | None, changes: dict[str, Any], options: dict[str, str], *, dry_run: bool
) -> None:
    from understudy.cli.show_jobs import show_job, submit_and_follow
    from understudy.cli.show_training import show_finished_job
    from understudy.workflows.train_remote import write_remote_job

    job = write_remote_job(settings, name, base, changes, options)
    show_job(job.written, f"{job.recipe.name} on {job.base}")
    submitted = submit_and_follow(settings, job.written, dry_run=dry_run)
    if submitted is not None:
        show_finished_job(job, submitted, settings.runs_dir)
