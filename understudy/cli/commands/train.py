"""Commands that make an adapter from examples: data, check, train, sweep, base."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from understudy.cli.commands.options import BaseModelName, Json, RecipeName
from understudy.config.settings import load_settings
from understudy.errors import ConfigError

app = typer.Typer()
data_app = typer.Typer(help="Training data: what is in a file before it is trained on.", no_args_is_help=True)
app.add_typer(data_app, name="data", short_help="Look into training data before it is trained on; make more.")
base_app = typer.Typer(help="Prepare the default base; build and measure the tests' one.", no_args_is_help=True)
app.add_typer(base_app, name="base", short_help="Prepare the default base; build and measure the tests' one.")


@data_app.command("inspect")
def data_inspect(
    source: Annotated[
        str, typer.Argument(help="A file, a folder of files, or hub:ORG/NAME[@REVISION][:SPLIT].", metavar="FILE")
    ],
    columns: Annotated[str, typer.Option(help="Which column is which: prompt=a,completion=b.")] = "",
    heldout: Annotated[str | None, typer.Option(help="A held-out file to compare with.", metavar="FILE")] = None,
    max_length: Annotated[int | None, typer.Option(help="Longest row in tokens that may be trained.", min=1)] = None,
    base: BaseModelName = None,
    json_output: Json = False,
) -> None:
    """Say what is in training data: its schema, bad rows, duplicates, lengths, secrets. Exit code 1 if rows are bad.

    Reads .jsonl, .json, .csv, .tsv and .parquet. Tokens are counted when --base or --max-length is given.
    """
    from understudy.cli.data import print_inspection

    tokens = max_length is not None or base is not None
    code = print_inspection(
        source,
        columns=columns,
        heldout=heldout,
        base=load_settings(base=base).base if tokens else None,
        max_length=max_length,
        json_output=json_output,
    )
    raise typer.Exit(code)


@data_app.command("augment")
def data_augment(
    source: Annotated[
        str, typer.Argument(help="A recipe, or a file of rows or of records of people.", metavar="RECIPE_OR_FILE")
    ],
    out: Annotated[str | None, typer.Option(help="File to write; default: standard output.", metavar="FILE")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    times: Annotated[int, typer.Option(help="Other wordings of each prompt (rows, not records).", min=1, max=3)] = 1,
) -> None:
    """Make more rows from rows: each names its parent, and stays on its side of every split.

    Records of people become paraphrased, swapped and balanced profiles; other rows get other wordings of their prompts.
    """
    from understudy.cli.data import augment_data

    augment_data(load_settings(), source, out, seed=seed, times=times)


@app.command(short_help="Preflight: what the model sees, and why not to train yet.")
def check(
    recipe: RecipeName,
    base: BaseModelName = None,
    other: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of training, such as method=lora. Repeatable."),
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows to show with their loss mask.", min=0)] = 1,
    engine: Annotated[bool, typer.Option(help="Ask a real engine, too (starts vLLM for it).")] = True,
    json_output: Json = False,
) -> None:
    """Preflight: what the model will see, which tokens carry loss, and every reason not to train yet.

    Ends with 1 when there is one.
    """
    from understudy.cli.check import check_recipe
    from understudy.cli.training import said

    changes = said(other or [])
    options = {"shown": rows, "engine": engine, "json_output": json_output}
    if not check_recipe(load_settings(base=base), recipe, base, changes, **options):
        raise typer.Exit(1)


@app.command(short_help="Teach the base a persona from examples, or from votes.")
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
        Literal["tensorboard", "trackio", "none"], typer.Option(help="Where its losses can be watched meanwhile.")
    ] = "none",
    processes: Annotated[
        int | None, typer.Option(help="Processes that share each batch; default: one a GPU.", min=1)
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew, even if this run exists.")] = False,
    preferences: Annotated[
        Path | None, typer.Option(help="Pairs or labels to go on from; default: the arena's votes.", metavar="FILE")
    ] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="REVISION", help="What votes are taught to; default: the live revision.")
    ] = "",
    on: Annotated[
        Literal["here", "hf-jobs"], typer.Option(help="Train on this machine, or as a job on the Hub's.")
    ] = "here",
    flavor: Annotated[str | None, typer.Option(help="A job's hardware (a10g-large).")] = None,
    timeout: Annotated[str | None, typer.Option(help="Longest time that a job may take (2h).")] = None,
    push_to: Annotated[
        str | None, typer.Option("--push", metavar="hub:ORG/NAME", help="Where a job pushes the adapter.")
    ] = None,
    package: Annotated[
        str | None, typer.Option(help="What a job installs us from (git+https://...); default: what is here.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print a job instead of submitting it.")] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print each step and the outcome as JSON, an object a line.")
    ] = False,
) -> None:
    """Teach the base a persona (TRL SFTTrainer, QLoRA) and register the adapter.

    The same settings and data are the same run: if it was interrupted, the command goes on where it stopped.
    With --method dpo, kto, grpo or rloo the live revision goes on learning from people's votes.
    """
    from understudy.cli.training import said, train_recipe

    changes = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "rank": rank,
        "batch_size": batch_size,
        "seed": seed,
        "method": method,
        **said(other or []),
    }
    from understudy.config.preference import PREFERENCE_METHODS

    if method in PREFERENCE_METHODS or preferences or start:
        from understudy.cli.preferences import train_from_votes

        alone = on == "here" and tracker == "none" and processes in (None, 1) and not json_output
        votes = {"preferences": preferences, "start": start, "fresh": fresh, "alone": alone}
        train_from_votes(load_settings(base=base), recipe, base, changes, **votes)
        return
    from understudy.cli.jobs import job_plan, train_on_hub

    plan = job_plan(on, flavor=flavor, timeout=timeout, push=push_to, package=package, dry_run=dry_run)
    if plan is not None:
        if json_output:
            raise ConfigError("--json tells of training on this machine; leave it out with --on hf-jobs")
        train_on_hub(load_settings(base=base), recipe, base, changes, plan, dry_run=dry_run)
        return
    from understudy.cli.json_lines import json_lines

    options = {"fresh": fresh, "tracker": tracker, "processes": processes}
    with json_lines(json_output) as report:
        train_recipe(load_settings(base=base), recipe, base, changes, **options, report=report)


@app.command(short_help="Find better settings by trials, each cross-validated.")
def sweep(
    recipe: RecipeName,
    trials: Annotated[int, typer.Option(help="Trials in all; a sweep goes on from those it has.", min=1)] = 20,
    over: Annotated[
        str | None,
        typer.Option(help="Settings to sweep over, commas between: learning_rate,epochs,batch_size,rank,scheduler,…"),
    ] = None,
    bases: Annotated[list[str] | None, typer.Option("--base", help="A base to try; repeat it for several.")] = None,
    write: Annotated[str | None, typer.Option(help="Name of a new recipe with the best settings.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print everything found as JSON.")] = False,
) -> None:
    """Find settings by trials, each judged by cross-validation on the examples; held-out rows stay unseen."""
    from understudy.cli.sweep import sweep_recipe

    names = [name.strip() for name in (over or "").split(",") if name.strip()]
    options = {"trials": trials, "over": names, "write": write, "json_output": json_output}
    sweep_recipe(load_settings(), recipe, bases or [], **options)


@app.command("bases", short_help="List the bases that are known by name.")
def bases(json_output: Json = False) -> None:
    """List the bases that are known by name: size, memory, licence, origin, and whether they are on this machine."""
    from understudy.cli.bases import show_bases

    show_bases(load_settings(), json_output=json_output)


@base_app.command("prepare")
def base_prepare(
    name: Annotated[str, typer.Argument(help="A base of `understudy bases`, a folder, or a Hub id.")] = "smollm2",
) -> None:
    """Make a base ready to be trained on and served; does nothing when it is."""
    from understudy.cli.bases import prepare_base

    typer.echo(f"{name} is ready: {prepare_base(name).location}")


@base_app.command("build")
def base_build(
    out: Annotated[Path | None, typer.Option(help="Where the model goes; default: over the shipped one.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A rough one in minutes, to see that it works.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of text and weights.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an interrupted build.")] = False,
) -> None:
    """Train `tiny`, the tests' base, from generated text (up to an hour on two cores; it can be interrupted)."""
    from understudy.cli.training import build_base

    build_base(load_settings(), out, quick=quick, seed=seed, fresh=fresh)


@base_app.command("eval")
def base_eval(
    path: Annotated[Path | None, typer.Argument(help="A folder with a build of it; default: the shipped one.")] = None,
    limit: Annotated[int | None, typer.Option(help="Ask only so many requests of each kind.")] = None,
    json_output: Json = False,
) -> None:
    """Measure `tiny`, the base of the tests, on held-out requests: on topic, ended, honest about the unknown."""
    from understudy.cli.training import evaluate_base

    evaluate_base(path, limit, json_output=json_output)
