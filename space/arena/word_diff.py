"""Which words of two answers the other one does not have in that place."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

WORD = re.compile(r"\s*\S+|\s+$")
MOST_WORDS = 2000
"""Words of each answer that are compared; what comes after them counts as its own."""


@dataclass(frozen=True)
class Stretch:
    """Words in a row that the other answer has, too, or has not."""

    text: str
    own: bool


def word_diff(left: str, right: str) -> tuple[list[Stretch], list[Stretch]]:
    """Both answers in stretches; joined, they are the answers again. Case and spacing make no difference."""
    sides = [WORD.findall(text) for text in (left, right)]
    keys = [[word.strip().casefold() for word in words[:MOST_WORDS]] for words in sides]
    blocks = SequenceMatcher(None, *keys, autojunk=False).get_matching_blocks()
    shared = [[(block.a, block.size) for block in blocks], [(block.b, block.size) for block in blocks]]
    one, other = (_stretches(words, found) for words, found in zip(sides, shared, strict=True))
    return one, other


def _stretches(words: list[str], shared: list[tuple[int, int]]) -> list[Stretch]:
    found: list[Stretch] = []
    at = 0
    for start, size in [*shared, (len(words), 0)]:
        found.append(Stretch("".join(words[at:start]), own=True))
        found.append(Stretch("".join(words[start : start + size]), own=False))
        at = start + size
    return [one for one in found if one.text]
