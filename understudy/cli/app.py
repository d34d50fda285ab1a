"""Every command and its help; what a command does is in the package that owns it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from understudy import __version__
from understudy.settings import load_settings

app = typer.Typer(
    help="Teach one language model a new voice from a few examples, push it, and it is live.\n\n"
    "Start with `understudy demo`. Then: edit recipes/my-persona, `understudy train my-persona`, "
    "`understudy publish my-persona`.\n\n"
    "Settings come from the environment, prefix UNDERSTUDY_ (for instance UNDERSTUDY_BASE).",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
base_app = typer.Typer(help="The embedded base: the small Llama that ships with the project.", no_args_is_help=True)
app.add_typer(base_app, name="base")
keys_app = typer.Typer(help="Keys for the gateway: who may ask, and how much.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
data_app = typer.Typer(help="Training data: what is in a file before it is trained on.", no_args_is_help=True)
app.add_typer(data_app, name="data")
space_app = typer.Typer(invoke_without_command=True)
app.add_typer(space_app, name="space")
votes_app = typer.Typer(help="Votes of the arena: kept on the Hub, and back again.", no_args_is_help=True)
app.add_typer(votes_app, name="votes")

Port = Annotated[int | None, typer.Option(help="Port of the gateway (8000).", min=1, max=65535)]
SpacePort = Annotated[int | None, typer.Option(help="Port of the Gradio app (7860).", min=1, max=65535)]
Host = Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")]
BaseModelName = Annotated[str | None, typer.Option(help="'embedded', a local folder, or a Hub id.")]
Persona = Annotated[str, typer.Argument(help="Name of a persona.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"understudy {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
) -> None:
    """Understudy."""


@app.command()
def demo(port: Port = None, space_port: SpacePort = None, host: Host = None, base: BaseModelName = None) -> None:
    """Train what is missing, start engine, gateway and app, and print the addresses. Ctrl-C ends it all."""
    from understudy.cli.demo import run_demo

    run_demo(load_settings(port=port, space_port=space_port, host=host, base=base))


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe: its name in recipes/, or the path of its folder.")],
    base: BaseModelName = None,
    epochs: Annotated[str | None, typer.Option(help="Passes over the examples, or auto.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    rank: Annotated[int | None, typer.Option(help="LoRA rank.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per step.")] = None,
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
    from understudy.preference_training import PREFERENCE_METHODS

    if method in PREFERENCE_METHODS or preferences or start:
        from understudy.cli.preferences import train_from_votes

        alone = on == "here" and tracker == "none" and processes in (None, 1)
        votes = {"preferences": preferences, "start": start, "fresh": fresh, "alone": alone}
        train_from_votes(load_settings(base=base), recipe, base, changes, **votes)
        return
    from understudy.cli.jobs import job_plan, train_on_hub

    plan = job_plan(on, flavor=flavor, timeout=timeout, push=push_to, package=package, dry_run=dry_run)
    if plan is not None:
        train_on_hub(load_settings(base=base), recipe, base, changes, plan, dry_run=dry_run)
        return
    options = {"fresh": fresh, "tracker": tracker, "processes": processes}
    train_recipe(load_settings(base=base), recipe, base, changes, **options)


@app.command()
def sweep(
    recipe: Annotated[str, typer.Argument(help="A recipe: its name in recipes/, or the path of its folder.")],
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


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help="A recipe: its name in recipes/, or the path of its folder.")],
    base: BaseModelName = None,
    other: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of training, such as method=lora. Repeatable."),
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows to show with their loss mask.", min=0)] = 1,
    engine: Annotated[bool, typer.Option(help="Ask a real engine, too (starts vLLM for it).")] = True,
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
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


@app.command()
def verify(
    recipe: Annotated[str, typer.Argument(help="A recipe: its name in recipes/, or the path of its folder.")],
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of an adapter; by default the one that was trained last.")
    ] = None,
    engine: Annotated[bool, typer.Option(help="Ask it through a vLLM of its own, too.")] = True,
    json_output: Annotated[bool, typer.Option("--json", help="Print the proof pack as JSON.")] = False,
) -> None:
    """Prove on held-out prompts that an adapter works, beside its base and the base with few-shot examples.

    Ends with 1 when the adapter is refused; the thresholds are in the recipe (`proof:`).
    """
    from understudy.cli.verify import verify_recipe

    if not verify_recipe(load_settings(), recipe, adapter, engine=engine, json_output=json_output):
        raise typer.Exit(1)


@app.command()
def report(
    recipe: Annotated[str, typer.Argument(help="A recipe: its name in recipes/, or the path of its folder.")],
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
    judge_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Its endpoint, such as http://host/v1; the key: UNDERSTUDY_JUDGE_KEY."),
    ] = None,
) -> None:
    """Put a verified run, its base, few-shot and other systems side by side: one HTML page, one Markdown file."""
    from understudy.cli.report import report_recipe

    options = {"judge": judge, "judge_url": judge_url}
    report_recipe(load_settings(), recipe, run or [], answers or [], prompts, out, **options)


@app.command()
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
    from understudy.cli.compare import Wanted, compare_recipes

    wanted = Wanted(samples, count, temperature, seed, swap, answers or [], out)
    compare_recipes(load_settings(), recipes, wanted, json_output=json_output)


@app.command()
def rank(
    votes: Annotated[
        Path | None,
        typer.Argument(help="CSV, JSONL or Parquet of left, right, winner; default: the arena's own votes."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable: every figure.")] = False,
    base: Annotated[str, typer.Option(help="The contestant that the others are measured against.")] = "base",
    min_votes: Annotated[int, typer.Option(help="Votes below which a contestant is hidden.", min=1)] = 30,
    by: Annotated[str | None, typer.Option(help="Column to rank by, besides all votes.", metavar="COLUMN")] = None,
    bootstrap: Annotated[
        int, typer.Option(help="Intervals from so many resamples of the voters instead of the sandwich.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
) -> None:
    """Rank contestants by people's votes: every figure of the leaderboard, explained in docs/arena.md."""
    from understudy.cli.rank import rank_votes

    settings = load_settings()
    rank_votes(
        settings, votes, json_output=json_output, base=base, min_votes=min_votes, by=by, bootstrap=bootstrap, seed=seed
    )


@app.command()
def serve(port: Port = None, host: Host = None, base: BaseModelName = None) -> None:
    """Start the engine (vLLM, on loopback) and the gateway in front of it."""
    from understudy.cli.personas import serve_personas

    serve_personas(load_settings(port=port, host=host, base=base))


@space_app.callback()
def space(context: typer.Context, space_port: SpacePort = None, host: Host = None) -> None:
    """Start the Gradio app: chat and blind arena. It only talks HTTP to the gateway.

    `understudy space deploy` puts it on Hugging Face Spaces.
    """
    if context.invoked_subcommand is None:
        from space.app import launch

        launch(load_settings(space_port=space_port, host=host))


@space_app.command("deploy")
def space_deploy(
    repo: Annotated[str, typer.Argument(help="The Space on the Hub.", metavar="ORG/SPACE")],
    endpoint: Annotated[str, typer.Option(help="Address of the gateway, as the internet reaches it.")] = "",
    flavor: Annotated[
        Literal["gradio", "docker"], typer.Option(help="gradio: the app alone; docker: engine and gateway, too.")
    ] = "gradio",
    hardware: Annotated[str, typer.Option(help="What it runs on, as the Hub names it: cpu-basic, l4x1, …")] = "",
    private: Annotated[bool, typer.Option("--private", help="Only for its owners.")] = False,
    dataset: Annotated[
        str, typer.Option(help="Data set repository for battles and votes, private at first.", metavar="ORG/NAME")
    ] = "",
    model: Annotated[list[str] | None, typer.Option(help="ORG/NAME to link to. Repeatable.")] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="Docker: a recipe that goes up with its examples and is trained there. Repeatable."),
    ] = None,
    title: Annotated[str, typer.Option(help="Name of the page.")] = "Understudy",
    oauth: Annotated[bool, typer.Option("--oauth", help="Let people sign in with their Hub account.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be sent.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Make or update a Space: its page, the code it needs, variables and secrets. Needs HF_TOKEN.

    UNDERSTUDY_API_KEY and UNDERSTUDY_VOTES_TOKEN become secrets of the Space. What is the same is not sent again.
    """
    from space.deploy_files import Wish
    from understudy.cli.space import deploy_space

    wish = Wish(
        repo,
        flavor=flavor,
        hardware=hardware,
        title=title,
        dataset=dataset,
        oauth=oauth,
        models=tuple(model or ()),
        recipes=tuple(recipe or ()),
    )
    options = {"private": private, "dry_run": dry_run, "json_output": json_output}
    deploy_space(load_settings(), wish, endpoint=endpoint, **options)


VotesRepoName = Annotated[
    str, typer.Argument(help="hub:ORG/NAME, a data set repository; default: UNDERSTUDY_VOTES_REPO.", metavar="REPO")
]


@votes_app.command("export")
def votes_export(
    repo: VotesRepoName = "",
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Send battles and votes that the repository does not have yet."""
    from understudy.cli.votes import export_votes

    export_votes(load_settings(), repo, json_output=json_output)


@votes_app.command("restore")
def votes_restore(
    repo: VotesRepoName = "",
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Add battles and votes of the repository that the database does not have; nothing is overwritten."""
    from understudy.cli.votes import restore_votes

    restore_votes(load_settings(), repo, json_output=json_output)


@app.command()
def push(
    persona: Persona,
    folder: Annotated[
        str | None,
        typer.Argument(metavar="[ADAPTER]", help="Adapter folder, or a run; default: the recipe's newest run."),
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="The same, as an option.", metavar="FOLDER|RUN")] = None,
    to: Annotated[
        str | None, typer.Option(help="registry, or hub:ORG/REPO; default: the recipe's push_to, else registry.")
    ] = None,
    base: Annotated[str, typer.Option(help="Hub id of the base, if it was trained on a folder.")] = "",
    private: Annotated[bool, typer.Option("--private", help="Only who may see the repository can.")] = False,
    gated: Annotated[bool, typer.Option("--gated", help="Readers must ask for access.")] = False,
    tag: Annotated[str, typer.Option(help="Tag of the commit; default: the next free one of v1, v2, …")] = "",
    force: Annotated[bool, typer.Option("--force", help="Even if refused or not verified; its card says so.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Register an adapter as a new revision, or send it to the Hub with a model card and its proof pack.

    Nobody is shown it by that alone; `understudy publish`, or a gateway that follows the repository, does that.
    """
    from understudy.cli.push import push_persona

    where = {"to": to, "base": base, "private": private, "gated": gated, "tag": tag}
    push_persona(load_settings(), persona, adapter or folder, **where, force=force, json_output=json_output)


@app.command()
def publish(
    persona: Persona,
    adapter: Annotated[
        Path | None, typer.Argument(help="Adapter folder to push first; default: the newest revision.")
    ] = None,
    revision: Annotated[
        str, typer.Option(help="A registered revision or the start of one, or hub:ORG/NAME@REVISION.")
    ] = "",
    canary: Annotated[str, typer.Option(help="Share of the users who get it on trial first, such as 10%.")] = "100%",
) -> None:
    """Put a revision on stage: validate, load, prove, flip the name. No request fails meanwhile.

    With --canary, a share of the users gets it, always the same ones; it is promoted after enough good answers, and
    withdrawn when it fails more often, is slower, or loses votes. `understudy history` tells how it ended.
    """
    from understudy.cli.personas import canary_share, publish_revision

    publish_revision(load_settings(), persona, adapter, revision, canary_share(canary))


@app.command()
def promote(
    persona: Persona,
    when_better: Annotated[
        bool, typer.Option("--when-better", help="Wait until votes prove it better than the live revision.")
    ] = False,
    alpha: Annotated[
        float, typer.Option(help="Chance to promote one that is no better (with --when-better).", min=1e-9, max=0.5)
    ] = 0.05,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for proof; 0: look once.", min=0)] = 3600,
) -> None:
    """Make the revision on trial live, now or once votes prove it better.

    With --when-better it ends with 0 when it was promoted, 3 when there is no proof yet, 4 when it is worse.
    """
    if when_better:
        from understudy.cli.promotion import promote_when_better

        raise typer.Exit(promote_when_better(load_settings(), persona, alpha=alpha, timeout=timeout))
    from understudy.cli.personas import promote_persona

    promote_persona(load_settings(), persona)


@app.command()
def preferences(
    persona: Persona,
    out: Annotated[Path | None, typer.Option(help="File to write; default: standard output.", metavar="FILE")] = None,
    form: Annotated[
        Literal["dpo", "kto"], typer.Option("--format", help="dpo: pairs of answers; kto: answers, wanted or not.")
    ] = "dpo",
    json_output: Annotated[bool, typer.Option("--json", help="What became of the votes, machine-readable.")] = False,
) -> None:
    """Turn the arena's votes into rows to train on, split by prompt, each with the votes behind it."""
    from understudy.cli.preferences import export_preferences

    export_preferences(load_settings(), persona, out, form, json_output=json_output)


@app.command()
def rollback(
    persona: Persona,
    revision: Annotated[
        str, typer.Argument(help="Where to go back to; default: the end of a trial, else what was live before.")
    ] = "",
) -> None:
    """Put an earlier revision back on stage, at once; or withdraw the one on trial."""
    from understudy.cli.personas import rollback_persona

    rollback_persona(load_settings(), persona, revision)


@app.command()
def personas() -> None:
    """List recipes and personas, and which revision is live."""
    from understudy.cli.personas import list_personas

    list_personas(load_settings())


@app.command()
def history(
    persona: Persona,
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Show who did what to a persona, newest first."""
    from understudy.cli.personas import show_history

    show_history(load_settings(), persona, json_output=json_output)


@app.command()
def validate(
    adapter: Annotated[str, typer.Argument(help="An adapter folder, or REPO@REVISION on the Hub.")],
    base: BaseModelName = None,
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Say everything that keeps an adapter from being served. Exit code 1 if there is anything."""
    from understudy.cli.validate import validate_adapter

    raise typer.Exit(validate_adapter(load_settings(base=base), adapter, json_output=json_output))


@app.command()
def ask(
    model: Annotated[str, typer.Argument(help="base, a persona, or persona@revision.")],
    prompt: Annotated[str, typer.Argument(help="What to say.")],
    temperature: Annotated[float, typer.Option(help="0 is greedy.", min=0, max=2)] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="Longest answer.", min=1)] = 256,
) -> None:
    """Ask the running gateway one question and stream the answer."""
    from understudy.cli.personas import ask_model

    ask_model(load_settings(), model, prompt, temperature=temperature, max_tokens=max_tokens)


@app.command()
def eval_code(
    problems: Annotated[Path, typer.Argument(help="HumanEval or MBPP: .jsonl, .jsonl.gz or .json.")],
    samples: Annotated[Path, typer.Argument(help="JSONL of task_id and completion; several rows a task are fine.")],
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
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


@base_app.command("build")
def base_build(
    out: Annotated[Path | None, typer.Option(help="Where the model goes; default: over the shipped one.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A rough one in minutes, to see that it works.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of text and weights.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an interrupted build.")] = False,
) -> None:
    """Train the embedded base from generated text (up to an hour on two cores; it can be interrupted)."""
    from understudy.cli.training import build_base

    build_base(load_settings(), out, quick=quick, seed=seed, fresh=fresh)


@base_app.command("eval")
def base_eval(
    path: Annotated[Path | None, typer.Argument(help="A base folder; default: the shipped one.")] = None,
    limit: Annotated[int | None, typer.Option(help="Ask only so many requests of each kind.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Measure a base on the held-out requests: topic copied, ended by itself, honest about the unknown."""
    from understudy.cli.training import evaluate_base

    evaluate_base(path, limit, json_output=json_output)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Whom or what it is for.")],
    kind: Annotated[
        Literal["inference", "metrics", "admin"],
        typer.Option(help="inference: ask models; metrics: read figures; admin: publish, and read figures."),
    ] = "inference",
    requests_per_minute: Annotated[int, typer.Option(help="0 is no limit.", min=0)] = 0,
    tokens_per_minute: Annotated[int, typer.Option(help="Prompt and answer; 0 is no limit.", min=0)] = 0,
    max_concurrent: Annotated[int, typer.Option(help="Answers in progress; 0 is no limit.", min=0)] = 0,
) -> None:
    """Make a key. It is printed once, alone on standard output: KEY=$(understudy keys create my-app)."""
    from understudy.cli.keys import create_key

    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "max_concurrent": max_concurrent,
    }
    create_key(load_settings(), name, kind, limits)


@keys_app.command("list")
def keys_list(json_output: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """List keys, without their secrets: whose they are, what they may do, since when."""
    from understudy.cli.keys import list_keys

    list_keys(load_settings(), json_output=json_output)


@keys_app.command("revoke")
def keys_revoke(key: Annotated[str, typer.Argument(help="A key's id, or its name.", metavar="ID")]) -> None:
    """End a key. A running gateway refuses it within 2 seconds."""
    from understudy.cli.keys import revoke_key

    revoke_key(load_settings(), key)


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


@data_app.command("inspect")
def data_inspect(
    source: Annotated[
        str, typer.Argument(help="A file, a folder of files, or hub:ORG/NAME[@REVISION][:SPLIT].", metavar="FILE")
    ],
    columns: Annotated[str, typer.Option(help="Which column is which: prompt=a,completion=b.")] = "",
    heldout: Annotated[str | None, typer.Option(help="A held-out file to compare with.", metavar="FILE")] = None,
    max_length: Annotated[int | None, typer.Option(help="Longest row in tokens that may be trained.", min=1)] = None,
    base: BaseModelName = None,
    json_output: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
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
