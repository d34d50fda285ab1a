"""Persona cards: what users are told about a persona; a pushed adapter carries its card."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from understudy.config.recipe import Golden, Sampling
from understudy.config.validation import checked
from understudy.errors import AdapterError
from understudy.registry.adapters import CARD

MAX_BYTES = 100_000
"""Largest card that is read, because its author is not trusted: it comes with the adapter."""


class Shot(BaseModel):
    """One example in a persona's voice, short enough to be shown to the base before a question."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: str = Field(min_length=1, max_length=400)
    answer: str = Field(min_length=1, max_length=800)


class Card(BaseModel):
    """The fields of a card; other keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: str = Field(default="", max_length=80)
    voice: str = Field(default="", max_length=400)
    prompts: list[str] = Field(default=[], max_length=50)
    golden: list[Golden] = Field(default=[], max_length=8)
    sampling: Sampling = Sampling()
    examples: int | None = Field(default=None, ge=0)
    """Number of rows that the adapter was trained on."""
    shots: list[Shot] = Field(default=[], max_length=4)
    """Some of those rows: the arena's "base with examples" sees them before its prompt."""


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card in an adapter's folder; empty if there is none.

    Raises:
        AdapterError: it is not a valid card; one line says why.
    """
    path = folder / CARD
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    if len(raw) > MAX_BYTES:
        raise AdapterError(f"{CARD} has more than {MAX_BYTES:,} bytes")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{CARD}: not JSON: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise AdapterError(f"{CARD}: found a JSON {type(data).__name__}, not an object")
    return checked(Card, data, CARD, AdapterError).model_dump(exclude_unset=True)


def voice_prompt(voice: str) -> str:
    """The system prompt that asks a base for a persona's voice: the cheapest alternative to an adapter."""
    return f"Answer in this voice: {voice}"
