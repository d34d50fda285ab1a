"""Greetings, thanks, and what the assistant says about itself."""

from random import Random

from tools.tiny_base import tables
from tools.tiny_base.grammar import capitalised

CLOSINGS = ("thank you", "great", "goodbye", "ok")


def small_talk(rng: Random) -> tuple[str, str]:
    """Something people say and the answer."""
    said, answer = rng.choice(tables.small_talk())
    return _spoken(rng, rng.choice(said)), answer


def closing(rng: Random) -> tuple[str, str]:
    """Thanks, praise or goodbye, as a last turn."""
    wanted = rng.choices(CLOSINGS, weights=[5, 2, 2, 1])[0]
    said, answer = next(row for row in tables.small_talk() if row[0][0] == wanted)
    return _spoken(rng, rng.choice(said)), answer


def _spoken(rng: Random, text: str) -> str:
    """The same words as people type them: capitals, full stops and exclamation marks vary."""
    text = capitalised(text) if rng.random() < 0.6 else text
    if text[-1].isalpha() and rng.random() < 0.5:
        text += rng.choice([".", "!", "."])
    return text
