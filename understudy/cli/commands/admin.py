"""Commands for administration: personas, history, keys."""

import json
from typing import Annotated, Literal

import typer

from understudy.cli.commands.options import Json, Persona
from understudy.config.settings import load_settings
from understudy.terminal import one_line

SHOWN = 50
"""Events that `history` shows unless more are asked for."""

app = typer.Typer()
keys_app = typer.Typer(help="Make, list and revoke the gateway's keys.", no_args_is_help=True)
app.add_typer(keys_app, name="keys", short_help="Make, list and revoke the gateway's keys.")


@app.command(short_help="List recipes and personas, and which revision is live.")
def personas() -> None:
    """List recipes and personas, and which revision is live."""
    from understudy.cli.show_personas import show_personas
    from understudy.workflows.personas import list_personas

    show_personas(list_personas(load_settings()))


@app.command(short_help="Show who did what to a persona, newest first.")
def history(
    persona: Persona,
    json_output: Json = False,
    limit: Annotated[
        int | None, typer.Option(help="How many; 0: all. Default: the newest 50, with --json all.", min=0)
    ] = None,
) -> None:
    """Show who did what to a persona, newest first."""
    from understudy.workflows.personas import history as persona_history

    most = (0 if json_output else SHOWN) if limit is None else limit
    events, more = persona_history(load_settings(), persona, limit=most)
    if json_output:
        print(json.dumps([event.model_dump(mode="json") for event in events]))
    else:
        from understudy.cli.show_personas import show_history

        show_history(events, more=more)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="The person or program that the key is for.")],
    kind: Annotated[
        Literal["inference", "metrics", "admin"],
        typer.Option(help="inference: ask models; metrics: read figures; admin: publish, and read figures."),
    ] = "inference",
    requests_per_minute: Annotated[int, typer.Option(help="0 is no limit.", min=0)] = 0,
    tokens_per_minute: Annotated[int, typer.Option(help="Prompt and answer; 0 is no limit.", min=0)] = 0,
    max_concurrent: Annotated[int, typer.Option(help="Answers in progress; 0 is no limit.", min=0)] = 0,
) -> None:
    """Make a key. It is printed once, alone on standard output: KEY=$(understudy keys create my-app)."""
    from understudy.cli.console import console
    from understudy.cli.show_personas import key_limits
    from understudy.registry.api_keys import open_keys
    from understudy.registry.events import actor

    key, secret = open_keys(load_settings()).create(
        name,
        kind,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        max_concurrent=max_concurrent,
        created_by=actor(),
    )
    print(secret)
    console.print(
        f"{key.kind} key {key.id} for {one_line(key.name)}, {key_limits(key)}. It is shown only now and not stored: "
        "keep it. Send it as 'Authorization: Bearer KEY'."
    )


@keys_app.command("list")
def keys_list(json_output: Json = False) -> None:
    """List keys without their secrets: name, kind, limits, when they were made and by whom."""
    from understudy.registry.api_keys import open_keys

    found = open_keys(load_settings()).list()
    if json_output:
        print(json.dumps([key.model_dump(mode="json") for key in found], indent=2))
    else:
        from understudy.cli.show_personas import show_keys

        show_keys(found)


@keys_app.command("revoke")
def keys_revoke(key: Annotated[str, typer.Argument(help="A key's id, or its name.", metavar="ID")]) -> None:
    """Revoke a key. A running gateway refuses it within 2 seconds."""
    from understudy.cli.console import console
    from understudy.registry.api_keys import open_keys
    from understudy.registry.events import actor

    revoked = open_keys(load_settings()).revoke(key, by=actor())
    console.print(f"revoked: {revoked.id} ({one_line(revoked.name)}); a running gateway refuses it within 2 s")
