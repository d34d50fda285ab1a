"""Commands that serve revisions: demo, serve, push, publish, ask, promote, rollback."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.commands.options import (
    BaseIs,
    BaseModelName,
    Host,
    JobDryRun,
    JobFlavor,
    JobPackage,
    JobTimeout,
    Json,
    Persona,
    Port,
    SpacePort,
    Where,
)
from understudy.config.settings import Settings, load_settings
from understudy.errors import ConfigError
from understudy.terminal import printable

TRIAL_EXIT_CODES = {"promoted": 0, "not yet": 3, "worse": 4}
"""Exit codes of `promote --when-better`."""

app = typer.Typer()


@app.command(short_help="Start everything, then train the personas of the demo.")
def demo(port: Port = None, space_port: SpacePort = None, host: Host = None, base: BaseModelName = None) -> None:
    """Start engine, gateway and app and print the addresses; then train and publish what is missing.

    The base answers meanwhile, and each persona as soon as it is live. Ctrl-C ends it all.
    """
    from understudy.cli.show_demo import TerminalDisplay
    from understudy.workflows.demo import run_demo

    settings = load_settings(port=port, space_port=space_port, host=host, base=base)
    run_demo(settings, TerminalDisplay(settings))


@app.command(short_help="Start the engine (vLLM) and the gateway in front of it.")
def serve(
    port: Port = None,
    host: Host = None,
    base: BaseModelName = None,
    on: Where = "here",
    flavor: JobFlavor = None,
    timeout: JobTimeout = None,
    package: JobPackage = None,
    dry_run: JobDryRun = False,
) -> None:
    """Start the engine (vLLM, on loopback) and the gateway in front of it.

    With --on hf-jobs it is a job of the Hub that serves what UNDERSTUDY_PERSONAS_FILE follows, until its time-out.
    """
    from understudy.hub_jobs.plan import job_options

    settings = load_settings(port=port, host=host, base=base)
    options = job_options(on, {"flavor": flavor, "timeout": timeout, "package": package}, dry_run=dry_run)
    if options is not None:
        _serve_as_job(settings, options, dry_run=dry_run)
        return
    from arena.votes.votes import BattleVotes
    from serve.app import serve as serve_gateway
    from understudy.registry.registry import open_registry

    serve_gateway(settings, BattleVotes(open_registry(settings).engine))


def _serve_as_job(settings: Settings, options: dict[str, str], *, dry_run: bool) -> None:
    from serve.hf_job import write_serving_job
    from understudy.cli.show_jobs import show_job, submit_and_follow
    from understudy.hub_jobs.plan import JobPlan

    job, secrets = write_serving_job(settings, JobPlan.model_validate(options))
    show_job(job, f"a gateway with {settings.base}")
    submit_and_follow(settings, job, secrets, dry_run=dry_run)


@app.command(short_help="Register an adapter as a revision here, or on the Hub.")
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
    base_is: BaseIs = "",
    private: Annotated[bool, typer.Option("--private", help="Only the owner's members can read it.")] = False,
    gated: Annotated[bool, typer.Option("--gated", help="Readers must ask for access.")] = False,
    space: Annotated[
        str | None, typer.Option(help="A Space that shows it; its card links it.", metavar="ORG/NAME")
    ] = None,
    tag: Annotated[str, typer.Option(help="Tag of the commit; default: the next free one of v1, v2, …")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Push even if refused or not verified; the card says so.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Register an adapter as a new revision, or send it to the Hub with a model card and its proof pack.

    That alone shows it to nobody; `understudy publish`, or a gateway that follows the repository, does.
    """
    from understudy.workflows.push import REGISTRY, destination, push_to_hub, register_adapter

    settings = load_settings(space_repo=space)
    to = destination(settings, persona, to)
    adapter = adapter or folder
    if to == REGISTRY:
        if private or gated or tag or base or force:
            raise ConfigError("--private, --gated, --tag, --base and --force are for the Hub; add --to hub:ORG/REPO")
        revision = register_adapter(settings, persona, adapter, base_is=base_is).id
        print(json.dumps({"persona": persona, "to": REGISTRY, "revision": revision}) if json_output else revision)
        return
    from understudy.cli.console import out, prepare, status
    from understudy.cli.show_personas import show_release

    prepare()
    with status("reading the release") as say:
        release = push_to_hub(
            settings,
            persona,
            adapter,
            to=to,
            base=base or base_is,
            private=private,
            gated=gated,
            tag=tag,
            force=force,
            progress=out.is_terminal and not json_output,
            say=say,
        )
    if not json_output:
        show_release(persona, release)
        return
    pushed = release.pushed
    facts = {"persona": persona, "to": f"hub:{pushed.repo}", "repo": pushed.repo, "commit": pushed.commit}
    facts |= {"tag": pushed.tag, "new": pushed.new, "url": pushed.url, "verdict": release.verdict}
    print(json.dumps(facts))


@app.command(short_help="Make a revision live, for all users or a share.")
def publish(
    persona: Persona,
    adapter: Annotated[
        Path | None, typer.Argument(help="Adapter folder to push first; default: the newest revision.")
    ] = None,
    revision: Annotated[
        str, typer.Option(help="A registered revision or the start of one, or hub:ORG/NAME@REVISION.")
    ] = "",
    canary: Annotated[str, typer.Option(help="Share of the users that get it on trial first, such as 10%.")] = "100%",
    base_is: BaseIs = "",
) -> None:
    """Make a revision live: validate, load, probe, then switch the name to it. No request fails meanwhile.

    With --canary, a share of the users gets it, always the same ones; it is promoted after enough good answers, and
    withdrawn when it fails more often, is slower, or loses votes. `understudy history` shows how it ended.
    """
    from understudy.cli.show_personas import show_published
    from understudy.workflows.personas import canary_share
    from understudy.workflows.personas import publish as publish_revision

    share = canary_share(canary)
    settings = load_settings()
    found = publish_revision(settings, persona, adapter=adapter, revision=revision, share=share, base_is=base_is)
    show_published(found)


@app.command(short_help="Ask the running gateway one question.")
def ask(
    model: Annotated[str, typer.Argument(help="base, a persona, or persona@revision.")],
    prompt: Annotated[str, typer.Argument(help="The question.")],
    temperature: Annotated[float | None, typer.Option(help="0: greedy; default: the base's own.", min=0, max=2)] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.", min=1)] = 256,
) -> None:
    """Ask the running gateway one question and stream the answer."""
    from understudy.workflows.gateway_admin import ask as ask_gateway

    for piece in ask_gateway(load_settings(), model, prompt, temperature=temperature, max_tokens=max_tokens):
        print(printable(piece) if sys.stdout.isatty() else piece, end="", flush=True)
    print()


@app.command(short_help="Make the revision on trial live, now or once votes decide.")
def promote(
    persona: Persona,
    when_better: Annotated[
        bool, typer.Option("--when-better", help="Wait until votes show that it is better than the live revision.")
    ] = False,
    alpha: Annotated[
        float,
        typer.Option(help="Chance to promote one that is no better (with --when-better).", min=1e-9, max=0.5),
    ] = 0.05,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for enough votes; 0: look once.", min=0)] = 3600,
) -> None:
    """Make the revision on trial live, now or once votes show that it is better.

    With --when-better it ends with 0 when it was promoted, 3 when the votes do not decide yet, 4 when it is no better.
    """
    from understudy.cli.show_personas import show_evidence, show_live, show_trial

    settings = load_settings()
    if not when_better:
        from understudy.workflows.personas import promote as promote_revision

        show_live(promote_revision(settings, persona))
        return
    from understudy.workflows.promote_when_better import promote_when_better

    outcome = promote_when_better(settings, persona, alpha=alpha, timeout=timeout, on_evidence=show_evidence)
    show_trial(outcome, alpha=alpha)
    raise typer.Exit(TRIAL_EXIT_CODES[outcome.kind])


@app.command(short_help="Make an earlier revision live again, or end a trial.")
def rollback(
    persona: Persona,
    revision: Annotated[
        str, typer.Argument(help="The revision; default: end the trial, else the one that was live before.")
    ] = "",
) -> None:
    """Make an earlier revision live again, at once; or withdraw the one on trial."""
    from understudy.cli.show_personas import show_live
    from understudy.workflows.personas import rollback as rollback_revision

    show_live(rollback_revision(load_settings(), persona, revision))
