"""`understudy publish`, `promote`, `rollback`, `personas` and `history`; also cards and the registering of adapters."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.config.recipe import Recipe, load_recipe, recipe_names
from understudy.config.settings import Settings
from understudy.data.load import load_examples
from understudy.errors import UnderstudyError
from understudy.registry.events import actor
from understudy.registry.persona_card import Card, Shot, read_card
from understudy.registry.personas import share_of
from understudy.registry.records import Event, Revision
from understudy.registry.registry import Registry, open_registry
from understudy.workflows.adopt_adapter import on_base
from understudy.workflows.gateway_admin import AdminClient, RevisionChange

HUB = "hub:"
"""Prefix of a revision's source on the Hub."""


@dataclass(frozen=True)
class PersonaSummary:
    """One recipe or persona, as `understudy personas` lists it; empty where there is nothing."""

    name: str
    voice: str
    live: str
    candidate: str
    """The revision on trial."""
    share: float
    """Share of the users that the revision on trial answers, 0 to 1."""
    newest: str
    source: str
    """Where the live revision comes from, if that is the Hub."""


def card_of(recipe: Recipe, examples: int | None = None) -> dict[str, Any]:
    """Returns the card of a recipe's persona, for people and the gallery; `examples` is the number of training rows."""
    card = Card(
        title=recipe.title[:80],
        voice=recipe.voice[:400],
        prompts=recipe.prompts[:50],
        golden=recipe.golden,
        sampling=recipe.sampling,
        examples=examples,
        shots=_shots(recipe),
    )
    return card.model_dump(exclude_none=True)


def recipe_of(settings: Settings, persona: str) -> Recipe | None:
    """Returns the recipe of that name; None for a persona without one."""
    known = persona in recipe_names(settings.recipes_dir)
    return load_recipe(persona, settings.recipes_dir) if known else None


def register(settings: Settings, registry: Registry, persona: str, folder: Path) -> Revision:
    """Registers the adapter in `folder` as a revision of the persona, with the card of its recipe if it has one."""
    recipe = recipe_of(settings, persona)
    return registry.push(persona, folder, card=card_of(recipe) if recipe else None, actor=actor())


def canary_share(text: str) -> float:
    """Returns the share that `--canary` asks for, above 0 and up to 1. Raises UnderstudyError."""
    try:
        return share_of(text)
    except ValueError as error:
        raise UnderstudyError(f"--canary is {text!r}; {error}") from None


def publish(
    settings: Settings, persona: str, *, adapter: Path | None, revision: str, share: float = 1.0, base_is: str = ""
) -> RevisionChange:
    """Asks the gateway to publish a revision for a share of the users, 0 to 1.

    `adapter` is a folder to register first; `revision` is a registered one, the start of one, or
    `hub:ORG/NAME@REVISION`, which is fetched first. Without either it is the newest revision. `base_is` names the base
    here that the adapter's own name for its base means: its copy with that name is registered and published.

    Raises:
        UnderstudyError: both an adapter and a revision of the Hub are given.
        NotFoundError: there is no such revision.
        PublishError: the gateway refuses it.
        GatewayError: the gateway cannot be reached.
    """
    registry = open_registry(settings)
    if revision.startswith(HUB):
        if adapter is not None:
            raise UnderstudyError(f"give an adapter folder or --revision {revision}, not both")
        found = _fetch_hub_revision(settings, registry, persona, revision)
    elif adapter is not None:
        with on_base(adapter, base_is) as named:
            found = register(settings, registry, persona, named)
    else:
        found = registry.revision(persona, revision)
    if base_is and adapter is None:
        with on_base(registry.path(found), base_is) as named:
            found = register(settings, registry, persona, named)
    return AdminClient(settings).publish(persona, found.id, actor(), share=share)


def rollback(settings: Settings, persona: str, revision: str) -> RevisionChange:
    """Asks the gateway to go back to `revision`; empty: to end the trial, or to go back to the revision before.

    Raises:
        NotFoundError: there is no such persona.
        PublishError: the gateway refuses it.
        GatewayError: the gateway cannot be reached.
    """
    if not settings.gateway_url:  # the gateway of another machine, or a Space, has a registry of its own
        open_registry(settings).persona(persona)
    return AdminClient(settings).rollback(persona, revision, actor())


def promote(settings: Settings, persona: str) -> RevisionChange:
    """Asks the gateway to make the revision on trial live. Raises as `rollback`."""
    open_registry(settings).persona(persona)
    return AdminClient(settings).promote(persona, actor())


def list_personas(settings: Settings) -> list[PersonaSummary]:
    """Returns every recipe and persona by name, trained or not."""
    registry = open_registry(settings)
    known = {persona.name: persona for persona in registry.personas()}
    newest, live = registry.newest(), {persona.name: revision for persona, revision in registry.live()}
    found = []
    for name in sorted({*known, *recipe_names(settings.recipes_dir)}):
        persona = known.get(name)
        source = live[name].source if name in live else ""
        found.append(
            PersonaSummary(
                name=name,
                voice=persona.card.get("voice", "") if persona else load_recipe(name, settings.recipes_dir).voice,
                live=(persona.live or "") if persona else "",
                candidate=(persona.candidate or "") if persona else "",
                share=persona.share if persona else 0.0,
                newest=newest[name].id if name in newest else "",
                source=source if source.startswith(HUB) else "",
            )
        )
    return found


def history(settings: Settings, persona: str, *, limit: int) -> tuple[list[Event], bool]:
    """Returns the newest `limit` events of a persona (0: all), newest first, and whether there are more.

    Raises:
        NotFoundError: there is no such persona.
    """
    registry = open_registry(settings)
    registry.persona(persona)
    events = registry.history(persona, limit=limit + 1 if limit else None)
    shown = events[:limit] if limit else events
    return shown, len(shown) < len(events)


def _shots(recipe: Recipe) -> list[Shot]:
    """Returns the first four rows of the recipe's own file that are one short question and its answer."""
    path = recipe.folder / recipe.examples
    rows = [row for row in load_examples(path) if len(row.messages) == 2] if path.is_file() else []
    pairs = [(row.messages[0].content, row.answer) for row in rows]
    found = [Shot(prompt=asked, answer=answer) for asked, answer in pairs if len(asked) <= 400 and len(answer) <= 800]
    return found[:4]


def _fetch_hub_revision(settings: Settings, registry: Registry, persona: str, source: str) -> Revision:
    """Fetches `hub:ORG/NAME[@REVISION]` into the registry, pinned to its commit."""
    from understudy.registry.hub import fetch_adapter

    repo, _, wanted = source.removeprefix(HUB).partition("@")
    wanted = wanted or "main"
    folder, commit = fetch_adapter(repo, wanted, endpoint=settings.hub_endpoint)
    recipe = recipe_of(settings, persona)
    card = card_of(recipe) if recipe else read_card(folder)
    return registry.add_hub_revision(persona, folder, commit, source=f"{HUB}{repo}@{wanted}", card=card, actor=actor())
