"""Commands that look and tidy: personas, history, keys."""

from typing import Annotated, Literal

import typer

from understudy.cli.commands.options import Json, Persona
from understudy.config.settings import load_settings

app = typer.Typer()
keys_app = typer.Typer(help="Keys for the gateway: who may ask, and how much.", no_args_is_help=True)
app.add_typer(keys_app, name="keys", short_help="Keys for the gateway: who may ask, and how much.")


@app.command(short_help="List recipes and personas, and which revision is live.")
def personas() -> None:
    """List recipes and personas, and which revision is live."""
    from understudy.cli.personas import list_personas

    list_personas(load_settings())


@app.command(short_help="Show who did what to a persona, newest first.")
def history(
    persona: Persona,
    json_output: Json = False,
    limit: Annotated[
        int | None, typer.Option(help="How many; 0: all. Default: the newest 50, with --json all.")
    ] = None,
) -> None:
    """Show who did what to a persona, newest first."""
    from understudy.cli.personas import show_history

    show_history(load_settings(), persona, json_output=json_output, limit=limit)


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
def keys_list(json_output: Json = False) -> None:
    """List keys, without their secrets: whose they are, what they may do, since when."""
    from understudy.cli.keys import list_keys

    list_keys(load_settings(), json_output=json_output)


@keys_app.command("revoke")
def keys_revoke(key: Annotated[str, typer.Argument(help="A key's id, or its name.", metavar="ID")]) -> None:
    """End a key. A running gateway refuses it within 2 seconds."""
    from understudy.cli.keys import revoke_key

    revoke_key(load_settings(), key)
