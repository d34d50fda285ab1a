"""What keeps a battle blind: the shuffle, the pace at which both answers appear, and what voids a battle."""

import random
import re
import secrets
from dataclasses import dataclass
from typing import Literal

BASE = "base"
"""The contestant that is the shared model itself."""

IMPORTED = " (imported)"
"""Suffix of the names of other systems, whose answers were read from a file."""

SEED_BITS = 62
STEP = 14
"""Most characters of each answer that one tick reveals (about 280 a second at 20 ticks a second)."""
SETTLED = 8
"""Ticks after which the pace of both sides is known well enough to continue at it."""

_FAMILIES = r"qwen\w*|llama\w*|mistral\w*|gemma\w*|phi-\d\w*|smollm\w*|chatgpt|gpt-\w+|claude|gemini|deepseek\w*"
_INTRODUCTIONS = (
    re.compile(rf"\b(?:i am|i['\u2019]m|my name is|call me|as)\s+(?:a |an |the )?(?:{_FAMILIES})\b", re.IGNORECASE),
    re.compile(
        r"\b(?:i am|i['\u2019]m|as)\s+(?:a |an |the )?(?:base|fine-?tuned|lora)\s+(?:language )?model\b",
        re.IGNORECASE,
    ),
    re.compile(
        r"\b(?:i was )?(?:made|created|developed|trained|built) by (?:alibaba|meta ai|openai|anthropic)\b",
        re.IGNORECASE,
    ),
)


@dataclass(frozen=True)
class Sides:
    """Which contestant answers on which side."""

    left: str
    right: str


def new_seed() -> int:
    """A seed nobody can guess; it fits a signed 64-bit column."""
    return secrets.randbits(SEED_BITS)


def shuffle(one: str, other: str, *, seed: int) -> Sides:
    """Puts two contestants on sides. The same seed always gives the same sides, in whatever order they come."""
    pair = sorted((one, other))
    random.Random(f"sides:{seed}").shuffle(pair)
    return Sides(*pair)


def sampling_seed(seed: int) -> int:
    """The seed both answers are sampled with; 31 bits, and it says nothing about the sides."""
    return random.Random(f"sampling:{seed}").getrandbits(31)


def names_in(text: str, names: tuple[str, ...]) -> str:
    """The first of `names` that `text` mentions as words of its own (`email-copy`, `Email Copy`), else ""."""
    for name in filter(None, names):
        words = [re.escape(word) for word in re.split(r"[\s_-]+", name) if word]
        phrase = r"[\s_-]*".join(words)
        if words and re.search(rf"(?<![\w-]){phrase}(?![\w-])", text, re.IGNORECASE):
            return name
    return ""


@dataclass(frozen=True)
class Fault:
    """Why two answers make no fair battle."""

    code: Literal["empty", "same", "identity"]
    reason: str
    """As the database keeps it."""


def fault(left: str, right: str, *, prompt: str = "", names: tuple[str, ...] = ()) -> Fault | None:
    """Why these two answers make no fair battle; None if they do.

    `names` are those that would give a contestant away (never plain "base": it is a common word). A name that
    the prompt itself uses gives nothing away.
    """
    left, right = left.strip(), right.strip()
    if not left and not right:
        return Fault("empty", "both answers are empty")
    if left == right:
        return Fault("same", "both answers are the same")
    telling = tuple(name for name in names if name and name != BASE and not names_in(prompt, (name,)))
    for side, text in (("left", left), ("right", right)):
        if names_in(text, telling):
            return Fault("identity", f"identity leak: the {side} answer names a contestant")
        if any(pattern.search(text) for pattern in _INTRODUCTIONS):
            return Fault("identity", f"identity leak: the {side} answer says which model it is")
    return None


@dataclass(frozen=True)
class Pace:
    """How much of both answers has been revealed, and after how many ticks."""

    shown: int = 0
    ticks: int = 0

    def advance(self, left: str, right: str, *, left_done: bool, right_done: bool) -> "Pace":
        """The pace after one more tick; at most `shown` characters of either answer may be visible.

        Neither side runs ahead of the slower one, and when one has ended the other continues at the pace of both,
        so that only the length of an answer can be seen, never the speed of the model that wrote it.
        """
        waiting = [len(text) for text, done in ((left, left_done), (right, right_done)) if not done]
        limit = min(waiting, default=max(len(left), len(right)))
        if not self.shown and not limit:
            return self
        measured = (left_done or right_done) and self.ticks >= SETTLED
        step = min(STEP, max(1, round(self.shown / self.ticks))) if measured else STEP
        return Pace(max(self.shown, min(self.shown + step, limit)), self.ticks + 1)

    def complete(self, left: str, right: str) -> bool:
        """Whether everything of both answers is visible."""
        return self.shown >= max(len(left), len(right))
