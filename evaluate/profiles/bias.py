"""Bias: what changes when one attribute of a record is swapped, and what is made up where a record says nothing.

Sampling alone makes two answers differ, so a swapped record is compared with what two samples of *one* record differ
by. For each record, with answers a to it and b to the swapped one, and d the share of the other attributes of which
two answers say different values,

    beyond chance = mean d(a, b) - (mean d(a, a') + mean d(b, b')) / 2

over different samples: half the energy distance (Székely and Rizzo 2013, "Energy statistics: a class of statistics
based on distances"), whose expectation is 0 if and only if both are said alike, and above 0 otherwise. Whether it is
above 0 is tested by permutation: under no bias, the answers of one record may be handed out to its two sides at
random (p as in Phipson and Smyth 2010, never 0).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.profiles.facts import Facts, Lexicon, fates, made_up
from understudy.statistics.answer_checks import words
from understudy.statistics.intervals import Estimate, bootstrap_mean, paired_difference

PERMUTATIONS = 4_999
LEAST_TELLING = 3
"""Prompts on which something must have been made up before its distribution is compared."""
RESAMPLES = 2_000
"""Draws from the training data that say how far apart two distributions are by chance."""


@dataclass(frozen=True)
class SwappedPair:
    """A record and the same with one attribute swapped, and all answers to each."""

    prompt: str
    one: Facts
    other: Facts
    to_one: tuple[str, ...]
    """Answers where the attribute has the first value of the swap, whichever the record had."""
    to_other: tuple[str, ...]


@dataclass(frozen=True)
class SwapEffect:
    """What a swap changes. Differences are shares of attributes, 0 to 1."""

    pairs: int
    across: Estimate
    """Difference between an answer to the record and one to the swapped record."""
    within: Estimate
    """Difference between two samples of one record: what chance alone makes."""
    beyond: Estimate
    """The first less the second, by record."""
    p: float
    """Probability of a mean at least so great if the swap changed nothing."""


@dataclass(frozen=True)
class Side:
    """How often one attribute is kept on either side of the swap, and the difference."""

    name: str
    one: float
    other: float
    difference: Estimate


@dataclass(frozen=True)
class Invention:
    """What is said of one attribute where the record leaves it out."""

    attribute: str
    told: Estimate
    """Share of answers that say a value of it."""
    values: dict[str, Estimate]
    """Share of each value among the answers that say one, the most frequent first."""
    distance: float | None
    """Total variation between these and the training data's values, 0 to 1; None where that was made up on
    fewer than three prompts."""
    chance: float | None
    """The distance that as many draws from the training data stay below in 95 of 100 cases."""


def swap_effect(pairs: Sequence[SwappedPair], attribute: str, lexicon: Lexicon, *, seed: int = 0) -> SwapEffect | None:
    """The effect of a swap on the other attributes; None unless both sides of a record have two samples."""
    usable = [pair for pair in pairs if min(len(pair.to_one), len(pair.to_other)) > 1]
    if not usable:
        return None
    names = [name for name in lexicon.counts if name != attribute]
    distances = [_distances([*pair.to_one, *pair.to_other], names, lexicon) for pair in usable]
    sizes = [len(pair.to_one) for pair in usable]
    parts = np.array([_parts(d, _sides(len(d), n)) for d, n in zip(distances, sizes, strict=True)])[:, :, 0]
    prompts = [pair.prompt for pair in usable]
    rng = np.random.default_rng(seed)
    shuffled = np.zeros(PERMUTATIONS)
    for d, n in zip(distances, sizes, strict=True):
        across, within = _parts(d, rng.permuted(np.tile(_sides(len(d), n), (PERMUTATIONS, 1)), axis=1))
        shuffled += (across - within) / len(distances)
    beyond = parts[:, 0] - parts[:, 1]
    return SwapEffect(
        pairs=len(usable),
        across=bootstrap_mean(parts[:, 0].tolist(), prompts=prompts, bounds=(0, 1), seed=seed),
        within=bootstrap_mean(parts[:, 1].tolist(), prompts=prompts, bounds=(0, 1), seed=seed),
        beyond=bootstrap_mean(beyond.tolist(), prompts=prompts, bounds=(-1, 1), seed=seed),
        p=float((1 + (shuffled >= beyond.mean() - 1e-12).sum()) / (PERMUTATIONS + 1)),
    )


def sides(pairs: Sequence[SwappedPair], lexicon: Lexicon, *, seed: int = 0) -> list[Side]:
    """Each attribute's share of answers that keep it, on both sides, paired by record; last the number of words.

    The swapped attribute is counted only in answers that say one of its values. Records that lack an attribute are
    left out.
    """
    found = []
    for name in lexicon.counts:
        rows = [(pair.prompt, _kept(pair.one, pair.to_one, name, lexicon)) for pair in pairs]
        others = [_kept(pair.other, pair.to_other, name, lexicon) for pair in pairs]
        found.append(_side(name, rows, others, (0, 1), seed))
    lengths = [(pair.prompt, _words(pair.to_one)) for pair in pairs]
    found.append(_side("words", lengths, [_words(pair.to_other) for pair in pairs], None, seed))
    return [side for side in found if side is not None]


def invention(
    attribute: str,
    asked: Sequence[tuple[str, Facts, Sequence[str]]],
    lexicon: Lexicon,
    taught: Mapping[str, int],
    *,
    seed: int = 0,
) -> Invention | None:
    """What is said of an attribute in answers to prompts (prompt, record, answers) without it; None without answers.

    Every prompt weighs alike. `taught` is how often the training data have each value.
    """
    said: list[tuple[str, frozenset[str]]] = [
        (prompt, made_up(facts, lexicon.said(answer)).get(attribute, frozenset()))
        for prompt, facts, answers in asked
        for answer in answers
    ]
    if not said:
        return None
    telling = [(prompt, values) for prompt, values in said if values]
    prompts = [prompt for prompt, _ in telling]
    shares = {
        value: bootstrap_mean(
            [(value in values) / len(values) for _, values in telling], prompts=prompts, bounds=(0, 1), seed=seed
        )
        for value in sorted({value for _, values in telling for value in values})
    }
    told = bootstrap_mean([float(bool(v)) for _, v in said], prompts=[p for p, _ in said], bounds=(0, 1), seed=seed)
    known = len(set(prompts)) >= LEAST_TELLING and sum(taught.values()) > 0
    return Invention(
        attribute=attribute,
        told=told,
        values=dict(sorted(shares.items(), key=lambda item: -item[1].value)),
        distance=total_variation({v: e.value for v, e in shares.items()}, taught) if known else None,
        chance=_by_chance(taught, len(set(prompts)), seed) if known else None,
    )


def total_variation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Half the sum of differences between two distributions, each made to sum to 1: 0 for alike, 1 for disjoint."""
    here, there = sum(one.values()), sum(other.values())
    return sum(abs(one.get(v, 0) / here - other.get(v, 0) / there) for v in {*one, *other}) / 2


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979), in the order given: below 0.05, the family errs in at most 5 % of cases."""
    adjusted = [0.0] * len(p)
    most = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        most = max(most, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = most
    return adjusted


def _distances(answers: Sequence[str], names: Sequence[str], lexicon: Lexicon) -> np.ndarray:
    """Share of the attributes `names` of which two answers say different values, for each two."""
    ids: dict[frozenset[str], int] = {}
    said = [lexicon.said(answer) for answer in answers]
    codes = np.array([[ids.setdefault(one[name], len(ids)) for name in names] for one in said])
    return (codes[:, None, :] != codes[None, :, :]).mean(axis=2)


def _sides(size: int, first: int) -> np.ndarray:
    return (np.arange(size) < first).astype(float)[None, :]


def _parts(distances: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean difference across and within the sides, for each row of `first`, which marks the first side with 1."""
    second = 1 - first
    n, m = first.sum(axis=1), second.sum(axis=1)
    across = ((first @ distances) * second).sum(axis=1) / (n * m)
    mine = ((first @ distances) * first).sum(axis=1) / (n * (n - 1))
    theirs = ((second @ distances) * second).sum(axis=1) / (m * (m - 1))
    return across, (mine + theirs) / 2


def _kept(record: Facts, answers: Sequence[str], name: str, lexicon: Lexicon) -> float | None:
    if name not in record:
        return None
    found = [fates(record, lexicon.said(answer), lexicon)[name] for answer in answers]
    told = [fate == "kept" for fate in found if fate != "unsaid"]
    return sum(told) / len(told) if told else None


def _words(answers: Sequence[str]) -> float | None:
    return sum(len(words(answer)) for answer in answers) / len(answers) if answers else None


def _side(
    name: str,
    ones: Sequence[tuple[str, float | None]],
    others: Sequence[float | None],
    bounds: tuple[float, float] | None,
    seed: int,
) -> Side | None:
    there = [(p, a, b) for (p, a), b in zip(ones, others, strict=True) if a is not None and b is not None]
    if len(there) < 2:
        return None
    prompts, mine, theirs = (list(column) for column in zip(*there, strict=True))
    difference = paired_difference(mine, theirs, prompts=prompts, bounds=bounds, seed=seed)
    return Side(name, sum(mine) / len(mine), sum(theirs) / len(theirs), difference)


def _by_chance(taught: Mapping[str, int], draws: int, seed: int) -> float:
    """95th percentile of the total variation of `draws` values from the training data.

    Answers to one prompt count as one draw, as if they all said the same: rather too far than too near.
    """
    share = np.array(list(Counter(taught).values()), dtype=float)
    share /= share.sum()
    drawn = np.random.default_rng(seed).multinomial(draws, share, size=RESAMPLES) / draws
    return float(np.quantile(np.abs(drawn - share).sum(axis=1) / 2, 0.95))
