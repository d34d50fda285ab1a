"""Bias: what changes when one attribute of a record is swapped, and what is made up when a record leaves one out.

Sampling alone makes two answers differ, so the difference between a record and the swapped one is compared with the
difference between two samples of *one* record. For each record, with answers a to it and b to the swapped one, and d
the share of the other attributes for which two answers give different values,

    beyond chance = mean d(a, b) - (mean d(a, a') + mean d(b, b')) / 2

over different samples: half the energy distance (Székely and Rizzo 2013, "Energy statistics: a class of statistics
based on distances"), whose expectation is 0 if and only if both have the same distribution, and above 0 otherwise.
Whether it is above 0 is tested by permutation: without bias, the answers of one record may be assigned to its two
sides at random (p as in Phipson and Smyth 2010, never 0).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.profiles.facts import Facts, Lexicon, made_up, outcomes
from understudy.statistics.answer_checks import words
from understudy.statistics.intervals import Estimate, bootstrap_mean, paired_difference

PERMUTATIONS = 4_999
MIN_PROMPTS = 3
"""Prompts with a made-up value that are needed to compare the distribution of these values."""
RESAMPLES = 2_000
"""Draws from the training data that estimate how far apart two distributions are by chance."""


@dataclass(frozen=True)
class SwappedPair:
    """A record, the same record with one attribute swapped, and all answers to each."""

    prompt: str
    one: Facts
    other: Facts
    to_one: tuple[str, ...]
    """Answers where the attribute has the first value of the swap, whichever value the record had."""
    to_other: tuple[str, ...]


@dataclass(frozen=True)
class SwapEffect:
    """What a swap changes. Differences are shares of attributes, 0 to 1."""

    pairs: int
    across: Estimate
    """Difference between an answer to the record and one to the swapped record."""
    within: Estimate
    """Difference between two samples of one record, which is due to chance alone."""
    beyond: Estimate
    """The first less the second, by record."""
    p: float
    """Probability of a mean at least as large if the swap changed nothing."""


@dataclass(frozen=True)
class Side:
    """How often one attribute is kept on each side of the swap, and the difference."""

    name: str
    one: float
    other: float
    difference: Estimate


@dataclass(frozen=True)
class Invention:
    """The values given for one attribute by answers to records that leave it out."""

    attribute: str
    share: Estimate
    """Share of answers that give a value."""
    values: dict[str, Estimate]
    """Share of each value among the answers that give one, the most frequent first."""
    distance: float | None
    """Total variation distance between these and the training data's values, 0 to 1; None if values were made up on
    fewer than `MIN_PROMPTS` prompts."""
    chance: float | None
    """95th percentile of that distance for as many draws from the training data."""


def swap_effect(pairs: Sequence[SwappedPair], attribute: str, lexicon: Lexicon, *, seed: int = 0) -> SwapEffect | None:
    """Measures the effect of a swap on the other attributes; None unless some record has two samples on each side."""
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
    """Compares each attribute's share of answers that keep it, paired by record; last, the number of words.

    The swapped attribute counts only in answers that give one of its values. Records that lack an attribute are left
    out.
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
    """Measures what answers to prompts without an attribute (prompt, record, answers) make up; None without answers.

    Every prompt weighs the same. `taught` is how often the training data have each value.
    """
    found: list[tuple[str, frozenset[str]]] = [
        (prompt, made_up(facts, lexicon.values_in(answer)).get(attribute, frozenset()))
        for prompt, facts, answers in asked
        for answer in answers
    ]
    if not found:
        return None
    given = [(prompt, values) for prompt, values in found if values]
    prompts = [prompt for prompt, _ in given]
    shares = {
        value: bootstrap_mean(
            [(value in values) / len(values) for _, values in given], prompts=prompts, bounds=(0, 1), seed=seed
        )
        for value in sorted({value for _, values in given for value in values})
    }
    share = bootstrap_mean([float(bool(v)) for _, v in found], prompts=[p for p, _ in found], bounds=(0, 1), seed=seed)
    known = len(set(prompts)) >= MIN_PROMPTS and sum(taught.values()) > 0
    return Invention(
        attribute=attribute,
        share=share,
        values=dict(sorted(shares.items(), key=lambda item: -item[1].value)),
        distance=total_variation({v: e.value for v, e in shares.items()}, taught) if known else None,
        chance=_by_chance(taught, len(set(prompts)), seed) if known else None,
    )


def total_variation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Returns half the sum of absolute differences of two distributions (normalized): 0 if equal, 1 if disjoint."""
    here, there = sum(one.values()), sum(other.values())
    return sum(abs(one.get(v, 0) / here - other.get(v, 0) / there) for v in {*one, *other}) / 2


def holm(p: Sequence[float]) -> list[float]:
    """Returns Holm's adjusted p-values (1979) in the order given: at 0.05 the family-wise error rate is at most 5 %."""
    adjusted = [0.0] * len(p)
    most = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        most = max(most, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = most
    return adjusted


def _distances(answers: Sequence[str], names: Sequence[str], lexicon: Lexicon) -> np.ndarray:
    """Returns the share of the attributes `names` for which two answers give different values, for each pair."""
    ids: dict[frozenset[str], int] = {}
    found = [lexicon.values_in(answer) for answer in answers]
    codes = np.array([[ids.setdefault(one[name], len(ids)) for name in names] for one in found])
    return (codes[:, None, :] != codes[None, :, :]).mean(axis=2)


def _sides(size: int, first: int) -> np.ndarray:
    return (np.arange(size) < first).astype(float)[None, :]


def _parts(distances: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean difference across and within the sides for each row of `first`, 1 on the first side."""
    second = 1 - first
    n, m = first.sum(axis=1), second.sum(axis=1)
    across = ((first @ distances) * second).sum(axis=1) / (n * m)
    mine = ((first @ distances) * first).sum(axis=1) / (n * (n - 1))
    theirs = ((second @ distances) * second).sum(axis=1) / (m * (m - 1))
    return across, (mine + theirs) / 2


def _kept(record: Facts, answers: Sequence[str], name: str, lexicon: Lexicon) -> float | None:
    if name not in record:
        return None
    found = [outcomes(record, lexicon.values_in(answer), lexicon)[name] for answer in answers]
    kept = [outcome == "kept" for outcome in found if outcome != "unused"]
    return sum(kept) / len(kept) if kept else None


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
    """Returns the 95th percentile of the total variation distance of `draws` values drawn from the training data.

    The answers to one prompt count as one draw, as if they were all the same: a cautious bound.
    """
    share = np.array(list(Counter(taught).values()), dtype=float)
    share /= share.sum()
    drawn = np.random.default_rng(seed).multinomial(draws, share, size=RESAMPLES) / draws
    return float(np.quantile(np.abs(drawn - share).sum(axis=1) / 2, 0.95))
