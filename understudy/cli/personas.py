"""`understudy serve`, `publish`, `promote`, `rollback`, `personas`, `history` and `ask`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from understudy.cli.admin import AdminClient
from understudy.cli.push import register
from understudy.config.recipe import load_recipe, recipe_names
from understudy.config.settings import Settings
from understudy.errors import GatewayError, UnderstudyError
from understudy.registry.actor import actor
from understudy.registry.adapters import short
from understudy.registry.persona_card import read_card
from understudy.registry.registry import Registry, Revision, open_registry, share_of
from understudy.workflows.recipe_card import card_of

console = Console(highlight=False)

SHOWN = 50
"""Events that a table of the history shows unless more are asked for."""

HUB = "hub:"
"""How the source of a revision from the Hub begins."""


def serve_personas(settings: Settings) -> None:
    """Runs gateway and engine; votes in the same database may decide trials."""
    from arena.votes.votes import BattleVotes
    from serve.run import serve

    serve(settings, BattleVotes(open_registry(settings).engine))


def canary_share(text: str) -> float:
    """What --canary says, as a number above 0 and up to 1. Raises UnderstudyError."""
    try:
        return share_of(text)
    except ValueError as error:
        raise UnderstudyError(f"--canary is {text!r}; {error}") from None


def publish_revision(settings: Settings, persona: str, adapter: Path | None, revision: str, share: float = 1.0) -> None:
    """Pushes if an adapter is given, or fetches it if `revision` is hub:ORG/NAME@REVISION; then asks the gateway."""
    registry = open_registry(settings)
    if revision.startswith(HUB):
        if adapter is not None:
            raise UnderstudyError(f"give an adapter folder or --revision {revision}, not both")
        revision = _add_hub_revision(settings, registry, persona, revision).id
    elif adapter is not None:
        revision = register(settings, registry, persona, adapter).id
    else:
        revision = registry.revision(persona, revision).id
    done = AdminClient(settings).publish(persona, revision, actor(), share=share)
    if not done["changed"]:
        console.print(f"{persona}@{short(revision)} is {'live' if share == 1 else 'on trial'} already")
        return
    if done["share"] < 1:
        console.print(
            f"on trial: {persona}@{short(done['revision'])} for {100 * done['share']:g}% of the users, "
            f"in {done['seconds']:.2f} s; end it with `understudy promote` or `understudy rollback`"
        )
        return
    was = f" (was {short(done['previous'])})" if done["previous"] else ""
    console.print(f"live: {persona}@{short(done['revision'])}{was}, in {done['seconds']:.2f} s")


def rollback_persona(settings: Settings, persona: str, revision: str) -> None:
    """Asks the gateway to go back."""
    open_registry(settings).persona(persona)
    done = AdminClient(settings).rollback(persona, revision, actor())
    console.print(f"live: {persona}@{short(done['revision'])}, in {done['seconds']:.2f} s")


def promote_persona(settings: Settings, persona: str) -> None:
    """Asks the gateway to end a trial well."""
    open_registry(settings).persona(persona)
    done = AdminClient(settings).promote(persona, actor())
    console.print(f"live: {persona}@{short(done['revision'])} (was {short(done['previous'])})")


def list_personas(settings: Settings) -> None:
    """A table of recipes and personas."""
    registry = open_registry(settings)
    known = {p.name: p for p in registry.personas()}
    table = Table(box=None, pad_edge=False)
    trained, on_stage = registry.newest(), {persona.name: revision for persona, revision in registry.live()}
    for header in ("persona", "live", "on trial", "newest", "from"):
        table.add_column(header, no_wrap=True)
    table.add_column("voice")
    for name in sorted({*known, *recipe_names(settings.recipes_dir)}):
        persona = known.get(name)
        voice = persona.card.get("voice", "") if persona else load_recipe(name, settings.recipes_dir).voice
        live = short(persona.live) if persona and persona.live else "-"
        trial = f"{100 * persona.share:g}% {short(persona.candidate)}" if persona and persona.candidate else "-"
        newest = short(trained[name].id) if name in trained else "not trained"
        source = on_stage[name].source if name in on_stage and on_stage[name].source.startswith(HUB) else "-"
        table.add_row(name, live, trial, newest, source, voice)
    console.print(table)


def show_history(settings: Settings, persona: str, *, json_output: bool = False, limit: int | None = None) -> None:
    """A table of events, the newest `SHOWN`; or all of them as JSON. `limit` shows so many, 0 all."""
    registry = open_registry(settings)
    registry.persona(persona)
    most = (0 if json_output else SHOWN) if limit is None else limit
    events = registry.history(persona, limit=most + 1 if most else None)
    shown = events[:most] if most else events
    if json_output:
        print(json.dumps([event.model_dump(mode="json") for event in shown]))
        return
    table = Table("when (UTC)", "who", "what", "revision", "detail", box=None, pad_edge=False)
    for event in shown:
        when = event.at.strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(when, event.actor, event.action, short(event.revision or "-"), "; ".join(_told(event.detail)))
    console.print(table)
    if len(shown) < len(events):
        console.print(f"these are the newest {len(shown)}; --limit 0 shows all")


def _told(detail: dict[str, Any]) -> Iterator[str]:
    """The details of an event in words, one fact at a time."""
    for key, value in detail.items():
        if key == "reasons":
            yield from value
        elif key == "checks":
            yield from (f"{name.replace('_', ' ')} {figure}" for name, figure in value.items() if figure is not None)
        elif key == "share":
            yield f"{100 * value:g}% of the users"
        elif value is not None:
            yield f"{key} {short(value) if key == 'previous' else value}"


def ask_model(settings: Settings, model: str, prompt: str, *, temperature: float | None, max_tokens: int) -> None:
    """Streams one answer to standard output."""
    from openai import APIConnectionError, APIStatusError, OpenAI, omit

    key = settings.api_key.get_secret_value() if settings.api_key else "none"
    client = OpenAI(base_url=f"{settings.gateway}/v1", api_key=key, max_retries=0)
    try:
        stream = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": prompt}],
            temperature=omit if temperature is None else temperature,
            max_tokens=max_tokens,
            stream=True,
        )
        for chunk in stream:
            print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
        print()
    except APIConnectionError:
        raise GatewayError(f"no gateway at {settings.gateway}; start one with `understudy serve`") from None
    except APIStatusError as error:
        raise GatewayError(
            str((error.body or {}).get("message", error) if isinstance(error.body, dict) else error)
        ) from None


def _add_hub_revision(settings: Settings, registry: Registry, persona: str, source: str) -> Revision:
    """Fetches `hub:ORG/NAME[@REVISION]` into the registry, pinned to its commit."""
    from understudy.registry.hub import fetch_adapter

    repo, _, wanted = source.removeprefix(HUB).partition("@")
    wanted = wanted or "main"
    folder, commit = fetch_adapter(repo, wanted, endpoint=settings.hub_endpoint)
    known = persona in recipe_names(settings.recipes_dir)
    card = card_of(load_recipe(persona, settings.recipes_dir)) if known else read_card(folder)
    return registry.add_hub_revision(persona, folder, commit, source=f"{HUB}{repo}@{wanted}", card=card, actor=actor())
