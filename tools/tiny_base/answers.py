"""The answer for a brief, whatever kind of text it wants."""

from random import Random

from tools.tiny_base.brief import Brief
from tools.tiny_base.formats import FORMATS
from tools.tiny_base.plain import PLAIN

ANSWERS = {**PLAIN, **FORMATS}


def answer(rng: Random, brief: Brief) -> str:
    """The text for the brief."""
    if brief.kind not in ANSWERS:
        raise KeyError(f"no answer for {brief.kind!r}; there are {', '.join(ANSWERS)}")
    return ANSWERS[brief.kind](rng, brief)
