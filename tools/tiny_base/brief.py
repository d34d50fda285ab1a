"""What a person wants: a kind of text about a thing."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from tools.tiny_base.things import Thing, letter

Length = Literal["short", "normal", "long"]


@dataclass(frozen=True)
class Brief:
    """What is wanted: a kind of text about a thing, perhaps for an occasion or an audience."""

    kind: str
    thing: Thing
    occasion: tuple[str, str] | None = None
    audience: tuple[str, str] | None = None
    length: Length = "normal"
    form: int = 0
    """Which of the ways to ask was taken; other ways to ask get other ways to answer."""


def preferred(rng: Random, options: Sequence[str], brief: Brief) -> str:
    """One of the options: mostly the one that belongs to this topic and this way to ask.

    Were it pure chance, a greedy answer would be the same for every topic.
    """
    if rng.random() < 0.25:
        return rng.choice(options)
    return options[(letter(brief.thing.topic) * 7 + brief.form) % len(options)]


def said(rng: Random, thing: Thing, count: int) -> list[str]:
    """`count` different verb phrases about the thing, inflected."""
    count = min(count, len(thing.does))
    phrases = thing.does[:count] if rng.random() < 0.5 else rng.sample(thing.does, count)
    return [thing.verb(phrase) for phrase in phrases]
