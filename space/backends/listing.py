"""The base and the personas, live or not yet, as `GET /v1/models` lists them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from understudy.registry.persona_card import Shot


class ListedSampling(BaseModel):
    """Sampling unless the visitor chooses otherwise: the persona's, else the base's, else these defaults."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    temperature: float = Field(default=0.7, ge=0, le=2)
    max_tokens: int = Field(default=256, ge=1)


class Contestant(BaseModel):
    """The base or a live persona, as `GET /v1/models` describes it."""

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
    """Other revisions that answer as `name@revision`: the one on trial, and the previous one."""
    shots: tuple[Shot, ...] = ()
    """Examples that the base sees when it plays this persona."""
    examples: int | None = None
    """Number of rows that it was trained on; None where it is not known."""


class LearningPersona(BaseModel):
    """A persona that is not live yet, as `GET /v1/models` lists it under `learning`."""

    model_config = ConfigDict(frozen=True)

    persona: str
    title: str
    state: Literal["learning", "publishing", "refused"]
    percent: int = Field(default=0, ge=0, le=100)
    """How much of the training is done."""
    reason: str = ""
    """Why it was refused, in English."""


class Listing(BaseModel):
    """Everything that `GET /v1/models` lists."""

    model_config = ConfigDict(frozen=True)

    contestants: tuple[Contestant, ...]
    """The base and every live persona."""
    learners: tuple[LearningPersona, ...] = ()
    """Personas that are not live yet."""


def read_listing(models: Any) -> Listing:
    """Reads an answer of `GET /v1/models`.

    Raises:
        ValueError, KeyError, TypeError: it is no list of models.
    """
    contestants = tuple(contestant_of(item) for item in models["data"])
    return Listing(contestants=contestants, learners=_learners(models))


def _learners(models: Any) -> tuple[LearningPersona, ...]:
    """The learners; none where a gateway knows no such list. An entry that cannot be read is left out."""
    entries = models.get("learning") if isinstance(models, dict) else None
    found = []
    for entry in entries if isinstance(entries, list) else ():
        try:
            found.append(LearningPersona.model_validate(entry))
        except ValidationError:
            continue
    return tuple(found)


def contestant_of(item: dict[str, Any]) -> Contestant:
    """Reads one entry of that list. Raises as `read_listing`."""
    card = dict(item.get("understudy") or {})
    if isinstance(card.get("sampling"), dict):
        card["sampling"] = {key: value for key, value in card["sampling"].items() if value is not None}
    kind = card.get("kind") or ("base" if item["id"] == "base" else "persona")
    known = {key: value for key, value in card.items() if key in Contestant.model_fields and value is not None}
    return Contestant.model_validate(
        {**known, "name": item["id"], "kind": kind, "title": card.get("title") or item["id"]}
    )
