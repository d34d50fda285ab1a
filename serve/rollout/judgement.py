"""Judges a candidate by its answers alone: are they answers, and do they meet what its card expects of them?"""

import math
import re
from collections.abc import Mapping, Sequence

from understudy.statistics.degenerate_text import degenerate

PROMPTS = ("Hello.", "Write about a lamp.", "What can you do?")
"""Asked when the persona's card has none. They may be far from its training data, so one odd answer is allowed."""

GOLDEN_TEXT = 2000
"""Characters of an answer in which an expectation is searched."""

GOLDEN_TOLERANCE = 0.25
"""Share of golden prompts by which a candidate may be worse than the live revision: one of four, none of three."""

NO_EFFECT = "its answers are those of the base: the adapter has no effect"

Answers = Mapping[str, str]
"""Answers by prompt."""
Golden = Sequence[Mapping[str, str]]
"""Pairs of `prompt` and `expect`, a regular expression."""


def odd_answers(answers: Answers, *, of_card: bool) -> list[str]:
    """Which answers are none, and why. One may be, unless the prompts are those of the persona's card."""
    odd = [f"{why} on {prompt!r}" for prompt, text in answers.items() if (why := degenerate(text, prompt))]
    return odd if len(odd) > (0 if of_card else 1) else []


def judge_golden(golden: Golden, answers: Answers, live: Answers) -> tuple[dict[str, int | None], list[str]]:
    """Requires as many met expectations as the live revision meets, less the tolerance; half without a live one.

    Returns figures for the history, and what is wrong. `live` is empty when there is no live revision.
    """
    total = len(golden)
    met, of_live = (met_of(golden, one) if total and one else None for one in (answers, live))
    figures: dict[str, int | None] = {"golden": total, "golden_met": met, "golden_met_live": of_live}
    if met is None:
        return figures, []
    least = math.ceil(total / 2) if of_live is None else of_live - math.floor(GOLDEN_TOLERANCE * total)
    if met >= least:
        return figures, []
    than = f"the live revision meets {of_live}" if of_live is not None else f"at least {least} are needed"
    missed = next(g for g in golden if not meets(answers[g["prompt"]], g["expect"]))
    return figures, [
        f"it meets {met} of {total} golden expectations, {than}; for instance {missed['prompt']!r} "
        f"was not answered with {missed['expect']!r}"
    ]


def meets(text: str, expect: str) -> bool:
    """Whether the expectation, a regular expression, is found in the answer; an invalid one is not met."""
    try:
        return re.search(expect, text[:GOLDEN_TEXT]) is not None
    except (re.error, RecursionError):
        return False


def met_of(golden: Golden, answers: Answers) -> int:
    """How many expectations the answers meet."""
    return sum(meets(answers[g["prompt"]], g["expect"]) for g in golden)
