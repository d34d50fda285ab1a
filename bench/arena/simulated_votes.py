"""Votes by simulated people whose taste is known, to see whether the figures find it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arena.votes.counts import BOTH_BAD, VoteTable, steps_of


@dataclass(frozen=True)
class Crowd:
    """What simulated voters like. Contestant 0 is the base."""

    strengths: Sequence[float]
    """Log-odds, one a contestant."""
    nu: float = 0.5
    """Davidson's tie parameter; 0 means no ties."""
    position: float = 0.0
    """Log-odds in favour of the left side."""
    length: float = 0.0
    """Log-odds for each unit of lean."""
    wordiness: Sequence[float] | None = None
    """Log of each contestant's mean length; None means that lengths are not known."""
    both_bad: float = 0.0
    """Share of the battles in which neither is any good."""
    copies: int = 1
    """Votes of one voter in a row that say the same: as dependent as votes can be."""


def simulate(crowd: Crowd, votes: int, *, seed: int, voters: int = 0, categories: int = 1) -> VoteTable:
    """That many votes on battles of pairs and sides drawn evenly; with `copies`, each voter has that many."""
    chance = np.random.default_rng(seed)
    size, different = len(crowd.strengths), -(-votes // crowd.copies)
    left = chance.integers(size, size=different)
    right = (left + chance.integers(1, size, size=different)) % size
    lean = np.full(different, np.nan)
    eta = np.array(crowd.strengths)[left] - np.array(crowd.strengths)[right] + crowd.position
    if crowd.wordiness is not None:
        long = np.exp(np.array(crowd.wordiness)[np.stack([left, right])] + chance.normal(0, 0.5, (2, different)))
        lean = (long[0] - long[1]) / long.sum(axis=0)
        eta = eta + crowd.length * lean
    shares = np.stack([np.exp(eta / 2), np.exp(-eta / 2), np.full(different, crowd.nu)], axis=1)
    edges = (shares / shares.sum(axis=1, keepdims=True)).cumsum(axis=1)
    verdict = (chance.random(different)[:, None] > edges[:, :2]).sum(axis=1)
    verdict = np.where(chance.random(different) < crowd.both_bad, BOTH_BAD, verdict)
    voter = np.arange(different) if crowd.copies > 1 else np.full(different, -1)
    if voters:
        voter = chance.integers(voters, size=different)
    category = chance.integers(categories, size=different)
    columns = [np.repeat(column, crowd.copies)[:votes] for column in (left, right, verdict, category, voter, lean)]
    return VoteTable(
        contestants=("base", *(f"persona-{number}" for number in range(1, size))),
        categories=tuple(f"category-{number}" for number in range(categories)),
        voters=tuple(f"voter-{number}" for number in range(int(voter.max(initial=-1)) + 1)),
        left=columns[0],
        right=columns[1],
        verdict=columns[2],
        category=columns[3],
        voter=columns[4],
        lean=columns[5],
        step=steps_of(columns[5]),
        times=np.ones(votes, np.int64),
    )
