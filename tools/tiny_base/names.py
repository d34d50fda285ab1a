"""Invent product names and nonsense nouns, so that the base learns to copy words that it has never seen."""

from dataclasses import dataclass
from random import Random

from tools.tiny_base import tables
from tools.tiny_base.grammar import capitalised


@dataclass(frozen=True)
class TokenPool:
    """Pieces of the tokenizer's vocabulary: those that start a word and those that continue one."""

    starts: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()


def syllable(rng: Random) -> str:
    """One pronounceable syllable."""
    pieces = tables.phrases("spelling.yaml")
    return rng.choice(pieces["onsets"]) + rng.choice(pieces["vowels"]) + rng.choice(pieces["codas"])


def nonsense_word(rng: Random, pool: TokenPool) -> str:
    """A lower-case word that is not English: half from syllables, half from pieces of the vocabulary."""
    if pool.starts and rng.random() < 0.5:
        return rng.choice(pool.starts) + "".join(rng.choice(pool.rest) for _ in range(rng.choice([0, 1, 1, 2, 2, 3])))
    return "".join(syllable(rng) for _ in range(rng.choice([1, 2, 2, 3])))


def invented_name(rng: Random, pool: TokenPool) -> str:
    """A made-up product or company name such as `Brelora`."""
    if pool.starts and rng.random() < 0.35:
        return capitalised(nonsense_word(rng, pool))
    endings = tables.phrases("spelling.yaml")["endings"]
    return capitalised(syllable(rng) + rng.choice(["", syllable(rng)]) + rng.choice(endings))
