"""Commands that say what an adapter is worth: verify, report, compare, validate, eval-code."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.commands.options import BaseModelName, Json, RecipeName
from understudy.config.settings import load_settings

app = typer.Typer()

JudgeUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Its endpoint, such as http://host/v1; the key: UNDERSTUDY_JUDGE_KEY."),
]


class EngineChoice(StrEnum):
    """Whose vLLM answers an evaluation."""

    auto = "auto"
    own = "own"
    gateway = "gateway"


@app.command(short_help="Prove on held-out prompts that an adapter works.")
def verify(
    recipe: RecipeName,
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of an adapter; by default the one that was trained last.")
    ] = None,
    engine: Annotated[
        EngineChoice,
        typer.Option(help="Which engine is asked: the running gateway's, or one of its own; auto: if it can."),
    ] = EngineChoice.auto,
    judge: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A model that says which answers are more helpful.")
    ] = None,
    judge_url: JudgeUrl = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the report card as JSON.")] = False,
) -> None:
    """Prove on held-out prompts that an adapter works, beside its base and the base with a description or examples.

    Ends with 1 when the adapter is refused; the thresholds are in the recipe (`proof:`).
    """
    from understudy.cli.verify import verify_recipe

    passed = verify_recipe(
        load_settings(),
        recipe,
        adapter,
        engine=engine.value,
        judge=judge,
        judge_url=judge_url,
        json_output=json_output,
    )
    if not passed:
        raise typer.Exit(1)


@app.command(short_help="Adapter, base and other systems side by side, on a page.")
def report(
    recipe: RecipeName,
    run: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A verified run; default: the one verified last. Repeatable: side by side."),
    ] = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Another system's answers (prompt, answer) to compare. Repeatable."),
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="File of the prompts to show; default: all held-out.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default: report/ in the run's.")] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A model that compares every answer with the base's.")
    ] = None,
    judge_url: JudgeUrl = None,
) -> None:
    """Put a verified run, its base, few-shot and other systems side by side: one HTML page, one Markdown file."""
    from understudy.cli.report import report_recipe

    report_recipe(load_settings(), recipe, run or [], answers or [], prompts, out, judge=judge, judge_url=judge_url)


@app.command(short_help="Consistency and bias of what several adapters write.")
def compare(
    recipes: Annotated[list[str], typer.Argument(help="Recipes with a finished run; the first gives the records.")],
    samples: Annotated[int, typer.Option(help="Answers to each prompt.", min=1, max=100)] = 5,
    count: Annotated[int, typer.Option(help="Held-out records to ask.", min=2)] = 10,
    temperature: Annotated[float, typer.Option(help="At which everybody is sampled.", min=0.05, max=2)] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the samples.", min=0)] = 0,
    swap: Annotated[
        str, typer.Option(metavar="ATTRIBUTE=ONE/OTHER", help="Values that take each other's place.")
    ] = "pronoun=she/he",
    answers: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Another system's answers (prompt, answer, sample). Repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default: runs/compared/...")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
) -> None:
    """Compare what adapters, their base and other systems write of the same records: consistency and bias.

    Writes one HTML page and one Markdown file, all answers (profiles.json), and the prompts to ask other systems.
    """
    from understudy.cli.compare import ComparisonOptions, compare_recipes

    wanted = ComparisonOptions(samples, count, temperature, seed, swap, answers or [], out)
    compare_recipes(load_settings(), recipes, wanted, json_output=json_output)


@app.command(short_help="Say everything that keeps an adapter from being served.")
def validate(
    adapter: Annotated[str, typer.Argument(help="An adapter folder, or REPO@REVISION on the Hub.")],
    base: BaseModelName = None,
    json_output: Json = False,
) -> None:
    """Say everything that keeps an adapter from being served. Exit code 1 if there is anything."""
    from understudy.cli.validate import validate_adapter

    raise typer.Exit(validate_adapter(load_settings(base=base), adapter, json_output=json_output))


@app.command(short_help="Run generated Python against its tests: pass@k.")
def eval_code(
    problems: Annotated[Path, typer.Argument(help="HumanEval or MBPP: .jsonl, .jsonl.gz or .json.")],
    samples: Annotated[Path, typer.Argument(help="JSONL of task_id and completion; several rows a task are fine.")],
    json_output: Json = False,
    timeout: Annotated[float, typer.Option(help="Seconds for each program.", min=0.1, max=3600)] = 5.0,
    memory: Annotated[int, typer.Option(help="MiB of memory for each program.", min=64)] = 1024,
    workers: Annotated[int | None, typer.Option(help="Programs at a time; default: cores - 1.", min=1)] = None,
    k: Annotated[str, typer.Option(help="Which pass@k.", metavar="K,K,...")] = "1,5,10,100",
) -> None:
    """Run generated Python against its tests: pass@k with intervals. The code runs on this machine."""
    from understudy.cli import evaluation

    evaluation.eval_code(
        problems, samples, json_output=json_output, timeout=timeout, memory=memory, workers=workers, k=k
    )
