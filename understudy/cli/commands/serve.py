"""Commands that bring revisions before people: demo, serve, push, publish, ask, promote, rollback."""

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.commands.options import BaseModelName, Host, Json, Persona, Port, SpacePort
from understudy.config.settings import load_settings

app = typer.Typer()


@app.command(short_help="Start everything, then train the personas of the demo.")
def demo(port: Port = None, space_port: SpacePort = None, host: Host = None, base: BaseModelName = None) -> None:
    """Start engine, gateway and app and print the addresses; then train and publish what is missing.

    The base answers meanwhile, and each persona as soon as it is live. Ctrl-C ends it all.
    """
    from understudy.cli.demo import run_demo

    run_demo(load_settings(port=port, space_port=space_port, host=host, base=base))


@app.command(short_help="Start the engine (vLLM) and the gateway in front of it.")
def serve(port: Port = None, host: Host = None, base: BaseModelName = None) -> None:
    """Start the engine (vLLM, on loopback) and the gateway in front of it."""
    from understudy.cli.personas import serve_personas

    serve_personas(load_settings(port=port, host=host, base=base))


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
    private: Annotated[bool, typer.Option("--private", help="Only who may see the repository can.")] = False,
    gated: Annotated[bool, typer.Option("--gated", help="Readers must ask for access.")] = False,
    tag: Annotated[str, typer.Option(help="Tag of the commit; default: the next free one of v1, v2, …")] = "",
    force: Annotated[bool, typer.Option("--force", help="Even if refused or not verified; its card says so.")] = False,
    json_output: Json = False,
) -> None:
    """Register an adapter as a new revision, or send it to the Hub with a model card and its proof pack.

    Nobody is shown it by that alone; `understudy publish`, or a gateway that follows the repository, does that.
    """
    from understudy.cli.push import push_persona

    where = {"to": to, "base": base, "private": private, "gated": gated, "tag": tag}
    push_persona(load_settings(), persona, adapter or folder, **where, force=force, json_output=json_output)


@app.command(short_help="Put a revision on stage, for all users or a share.")
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


@app.command(short_help="Ask the running gateway one question.")
def ask(
    model: Annotated[str, typer.Argument(help="base, a persona, or persona@revision.")],
    prompt: Annotated[str, typer.Argument(help="What to say.")],
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy; by default what suits the base.", min=0, max=2)
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest answer.", min=1)] = 256,
) -> None:
    """Ask the running gateway one question and stream the answer."""
    from understudy.cli.personas import ask_model

    ask_model(load_settings(), model, prompt, temperature=temperature, max_tokens=max_tokens)


@app.command(short_help="Make the revision on trial live, now or once votes prove it.")
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


@app.command(short_help="Put an earlier revision back, or end a trial.")
def rollback(
    persona: Persona,
    revision: Annotated[
        str, typer.Argument(help="Where to go back to; default: the end of a trial, else what was live before.")
    ] = "",
) -> None:
    """Put an earlier revision back on stage, at once; or withdraw the one on trial."""
    from understudy.cli.personas import rollback_persona

    rollback_persona(load_settings(), persona, revision)
