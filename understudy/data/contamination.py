"""Overlap: how much of a held-out set stands in the training data, word for word or nearly."""

import re
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from understudy.data.messages import Example

GRAM = 8
"""Words in a row that two texts rarely share by chance."""

CONTAINED = 0.5
"""Share of a held-out row's sequences of 8 words that the training data must hold for the row to count."""

SHOWN = 5


class Contamination(BaseModel):
    """Held-out rows that the training data gives away. Each row counts once, at the closest match."""

    model_config = ConfigDict(frozen=True)

    rows: int
    """Held-out rows looked at."""
    exact: int
    """Rows whose prompt is a training prompt, character by character."""
    normalised: int
    """Rows whose prompt is a training prompt but for case, punctuation and spaces."""
    contained: int
    """Rows of which at least half the sequences of 8 words (prompt and answers) occur in the training data."""
    origins: tuple[str, ...]
    """The first few of them, in the held-out file."""

    @property
    def total(self) -> int:
        return self.exact + self.normalised + self.contained


def measure_overlap(training: Iterable[Example], heldout: Sequence[Example], origins: Sequence[str]) -> Contamination:
    """Compares every held-out row with the whole of the training data; `origins` names the held-out rows.

    Rows of fewer than 8 words have no sequences of 8 and are only compared by their prompts.
    """
    prompts: set[str] = set()
    plain_prompts: set[tuple[str, ...]] = set()
    grams: set[int] = set()
    for example in training:
        prompts.add(_prompt(example))
        plain_prompts.add(tuple(_words(_prompt(example))))
        grams |= _grams(example)
    counts = {"exact": 0, "normalised": 0, "contained": 0}
    found = []
    for example, origin in zip(heldout, origins, strict=True):
        match = _closest(example, prompts, plain_prompts, grams)
        if match:
            counts[match] += 1
            found.append(origin)
    return Contamination(rows=len(heldout), **counts, origins=tuple(found[:SHOWN]))


def _closest(example: Example, prompts: set[str], plain_prompts: set[tuple[str, ...]], grams: set[int]) -> str | None:
    prompt = _prompt(example)
    if prompt in prompts:
        return "exact"
    words = tuple(_words(prompt))
    if words and words in plain_prompts:
        return "normalised"
    own = _grams(example)
    return "contained" if own and len(own & grams) >= CONTAINED * len(own) else None


def _prompt(example: Example) -> str:
    """What was asked, without a system prompt, which rows may share."""
    return "\n".join(m.content for m in example.messages[:-1] if m.role != "system")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _grams(example: Example) -> set[int]:
    """Hashes of all sequences of 8 words in prompt and answers."""
    words = _words("\n".join(m.content for m in example.messages if m.role != "system"))
    return {hash(tuple(words[start : start + GRAM])) for start in range(len(words) - GRAM + 1)}
