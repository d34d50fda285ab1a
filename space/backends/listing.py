"""Who can be talked to, and who is not live yet, as `GET /v1/models` says."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from space.learning import LearningPersona, read_learners
from understudy.registry.persona_card import Shot


class ListedSampling(BaseModel):
    """How a persona is sampled unless the visitor says otherwise; the base's own values where its card is silent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    temperature: float = Field(default=0.7, ge=0, le=2)
    """0.7 where neither the persona nor the base says anything."""
    max_tokens: int = Field(default=256, ge=1)


class Contestant(BaseModel):
    """Someone to talk to: the base or a persona, as `GET /v1/models` describes it."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Literal["base", "persona"]
    title: str
    voice: str = ""
    prompts: tuple[str, ...] = ()
    sampling: ListedSampling = ListedSampling()
    revision: str = ""
    """12 characters; empty for the base."""
    others: tuple[str, ...] = ()
    """Other revisions that answer as `name@revision`: what is on trial, and what was live before."""
    shots: tuple[Shot, ...] = ()
    """Examples that the base sees when it plays this persona."""
    examples: int | None = None
    """Rows that it was trained on, where that is known."""


class Listing(BaseModel):
    """What `GET /v1/models` says."""

    model_config = ConfigDict(frozen=True)

    contestants: tuple[Contestant, ...]
    """The base and every live persona."""
    learners: tuple[LearningPersona, ...] = ()
    """Personas that are not live yet."""


def read_listing(models: Any) -> Listing:
    """What an answer says. Raises ValueError, KeyError or TypeError where it makes no sense."""
    contestants = tuple(_contestant(item) for item in models["data"])
    return Listing(contestants=contestants, learners=read_learners(models))


def _contestant(item: dict[str, Any]) -> Contestant:
    card = dict(item.get("understudy") or {})
    if isinstance(card.get("sampling"), dict):
        card["sampling"] = {key: value for key, value in card["sampling"].items() if value is not None}
    kind = card.get("kind") or ("base" if item["id"] == "base" else "persona")
    known = {key: value for key, value in card.items() if key in Contestant.model_fields and value is not None}
    return Contestant.model_validate(
        {**known, "name": item["id"], "kind": kind, "title": card.get("title") or item["id"]}
    )
