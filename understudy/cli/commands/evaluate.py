"""Commands that evaluate an adapter: verify, report, compare, validate, eval-code."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.commands.options import BaseIs, BaseModelName, Json, RecipeName
from understudy.config.settings import load_settings
from understudy.errors import ConfigError
from understudy.terminal import printable

app = typer.Typer()

JudgeUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The judge's endpoint, such as http://host/v1; key: UNDERSTUDY_JUDGE_KEY."),
]


class EngineChoice(StrEnum):
    """The vLLM that an evaluation asks."""

    auto = "auto"
    own = "own"
    gateway = "gateway"


@app.command(short_help="Test on held-out prompts whether an adapter works.")
def verify(
    recipe: RecipeName,
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter; default: the one trained last.")] = None,
    engine: Annotated[
        EngineChoice,
        typer.Option(help="gateway: the running gateway's; own: a new one; auto: the gateway's if it can."),
    ] = EngineChoice.auto,
    judge: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A model that judges which answers are more helpful.")
    ] = None,
    judge_url: JudgeUrl = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the report card as JSON.")] = False,
    no_engine: Annotated[bool, typer.Option("--no-engine", hidden=True)] = False,
) -> None:
    """Test on held-out prompts whether an adapter works, beside its base and the base with a description or examples.

    Ends with 1 when the adapter is refused; the thresholds are in the recipe (`proof:`).
    """
    if no_engine:
        raise typer.BadParameter("an engine is needed now; use --engine own|gateway|auto", param_hint="--no-engine")
    from understudy.cli.console import prepare, status, steps, warn
    from understudy.config.recipe import load_recipe
    from understudy.workflows.choose_base import choose_base

    prepare()
    settings = load_settings()
    chosen = load_recipe(recipe, settings.recipes_dir)
    with status("loading libraries"):
        from evaluate.verified_runs import proof_file
        from understudy.workflows.evaluation.helpfulness import Judge, helpfulness
        from understudy.workflows.evaluation.verify import verify as verify_adapter
    asked = Judge(judge, judge_url, settings.judge_key) if judge else None
    with steps(f"verifying {chosen.name}") as on_step:
        found = verify_adapter(
            settings,
            chosen,
            adapter,
            choose_base=lambda: choose_base(settings, chosen, None, report=warn),
            where=engine.value,
            helpfulness=lambda record: helpfulness(settings, record, asked),
            say=on_step.say,
            on_progress=lambda done, known: on_step(done, known, None),
        )
    if json_output:
        print(json.dumps(proof_file(found.card)))
    else:
        from understudy.cli.show_verdict import show_verdict

        show_verdict(found)
    if not found.verdict.passed:
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
    html: Annotated[bool, typer.Option("--html", help="Also write the report as one HTML page.")] = False,
) -> None:
    """Put a verified run, its base, few-shot and other systems side by side on a Markdown page."""
    from understudy.cli.console import steps
    from understudy.cli.show_comparison import show_report
    from understudy.workflows.evaluation.report import write_report

    with steps(f"asking {judge}" if judge else "writing the report") as on_step:
        written = write_report(
            load_settings(),
            recipe,
            runs=run or (),
            answers=answers or (),
            prompts=prompts,
            folder=out,
            judge=judge,
            judge_url=judge_url,
            html=html,
            on_progress=lambda done, total: on_step(done, total, None),
        )
    show_report(written)


@app.command(short_help="Consistency and bias of what several adapters write.")
def compare(
    recipes: Annotated[list[str], typer.Argument(help="Recipes with a finished run; the first gives the records.")],
    samples: Annotated[int, typer.Option(help="Answers to each prompt.", min=1, max=100)] = 5,
    count: Annotated[int, typer.Option(help="Held-out records to ask.", min=2)] = 10,
    temperature: Annotated[float, typer.Option(help="Sampling temperature, the same for all.", min=0.05, max=2)] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the samples.", min=0)] = 0,
    swap: Annotated[
        str, typer.Option(metavar="ATTRIBUTE=ONE/OTHER", help="Two values to swap in the records.")
    ] = "pronoun=she/he",
    answers: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Another system's answers (prompt, answer, sample). Repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default: runs/compared/...")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
) -> None:
    """Compare what adapters, their bases and other systems write of the same records: consistency and bias.

    Writes a Markdown page, all answers (profiles.json), and the prompts to ask other systems.
    """
    from understudy.cli.console import prepare, steps
    from understudy.cli.show_comparison import show_comparison
    from understudy.workflows.evaluation.compare_profiles import ComparisonOptions, compare_profiles

    prepare()
    options = ComparisonOptions(samples, count, temperature, seed, swap, answers or [], out)
    with steps(f"asking {', '.join(recipes)} and base") as on_step:
        written = compare_profiles(
            load_settings(), recipes, options, on_progress=lambda done, total: on_step(done, total, None)
        )
    if json_output:
        print(written.comparison.model_dump_json())
    else:
        show_comparison(written)


@app.command(short_help="List the reasons why an adapter cannot be served.")
def validate(
    adapter: Annotated[str, typer.Argument(help="An adapter folder, or REPO@REVISION on the Hub.")],
    base: BaseModelName = None,
    base_is: BaseIs = "",
    json_output: Json = False,
) -> None:
    """List the reasons why an adapter cannot be served. Ends with 1 when there is one."""
    from serve.rollout.validate_adapter import validate_adapter
    from understudy.registry.adapters import short

    found = validate_adapter(load_settings(base=base), adapter, base_is=base_is)
    if json_output:
        print(found.model_dump_json(indent=2))
    elif found.valid:
        print(printable(f"valid: {adapter} can be served as {short(found.revision or '')}"))
    for problem in () if json_output else found.problems:
        print(printable(f"- {problem}"))
    if not found.valid:
        raise typer.Exit(1)


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
    from understudy.cli.console import steps, warn
    from understudy.cli.show_code_report import show_code_report, warn_of_limits

    try:
        from evaluate.code.evaluation import default_workers, evaluate
        from evaluate.code.problems import read_problems, read_samples
        from evaluate.code.sandbox import SandboxLimits
    except ModuleNotFoundError as error:
        raise ConfigError(f"eval-code needs {error.name}; install it with: pip install 'understudy[verify]'") from None
    ks = _parse_ks(k)
    tasks = read_problems(problems)
    programs = read_samples(samples, tasks)
    workers = workers or default_workers()
    warn(
        f"warning: running {len(programs)} generated programs on this machine, {workers} at a time; "
        "use a container if you do not trust the model"
    )
    limits = SandboxLimits(seconds=timeout, memory_mib=memory)
    with steps("running") as on_step:
        report = evaluate(
            tasks,
            programs,
            limits=limits,
            workers=workers,
            ks=ks,
            on_progress=lambda done, total: on_step(done, total, None),
        )
    warn_of_limits(report)
    if json_output:
        print(report.model_dump_json(indent=2))
    else:
        show_code_report(report)


def _parse_ks(text: str) -> tuple[int, ...]:
    """Reads `1,5,10` as numbers. Raises ConfigError where a part is not a whole number of at least 1."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) for part in parts):
        raise ConfigError(f"--k: found {text!r}; write whole numbers of at least 1, as in 1,5,10")
    return tuple(int(part) for part in parts)
