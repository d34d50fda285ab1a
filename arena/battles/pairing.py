"""Which two contestants meet next: the pair whose interval one more vote would narrow most, chosen by lot.

The chance of a pair is proportional to sqrt(v / n) - sqrt(v / (n + 1)), with n its votes and v their variance: Chiang
et al. 2024, "Chatbot Arena", arXiv:2403.04132, section 5. A floor keeps every pair in play, and the chance is handed
out with the choice: recorded beside the battle, it allows inverse-probability weights later.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from understudy.errors import MeasurementError

FLOOR = 0.2
"""Share of battles that are drawn evenly from all pairs."""
PRIOR = 0.5
"""Wins and losses that every pair starts with."""


@dataclass(frozen=True)
class PairVotes:
    """Two contestants that may meet, and their votes so far."""

    one: str
    other: str
    wins: int = 0
    losses: int = 0
    undecided: int = 0
    """Ties and "both bad"."""


@dataclass(frozen=True)
class Choice:
    """The pair that meets next."""

    one: str
    other: str
    probability: float
    """How likely this choice was, 0 to 1; always above 0."""


def choose_pair(pairs: Sequence[PairVotes], *, seed: int, floor: float = FLOOR) -> Choice:
    """Draws one of the pairs. The same pairs and seed give the same choice; `blinding.shuffle` decides the sides.

    Raises:
        MeasurementError: there are no pairs, or `floor` is not above 0 and at most 1.
    """
    chances = pair_chances(pairs, floor=floor)
    number = random.Random(f"pair:{seed}").choices(range(len(pairs)), weights=chances.tolist())[0]
    return Choice(pairs[number].one, pairs[number].other, float(chances[number]))


def pair_chances(pairs: Sequence[PairVotes], *, floor: float = FLOOR) -> np.ndarray:
    """How likely each pair is to meet next; they add up to 1, and none is below `floor` / number of pairs.

    Raises:
        MeasurementError: as `choose_pair`.
    """
    if not pairs or not 0 < floor <= 1:
        raise MeasurementError(f"{len(pairs)} pairs with a floor of {floor:g}: one pair and a floor above 0 are needed")
    wins, losses, undecided = (
        np.array([getattr(pair, name) for pair in pairs], dtype=float) for name in ("wins", "losses", "undecided")
    )
    wins, losses = wins + PRIOR, losses + PRIOR
    n = wins + losses + undecided
    mean = (wins + undecided / 2) / n
    spread = np.sqrt((wins + undecided / 4) / n - mean**2)
    gain = spread * (1 / np.sqrt(n) - 1 / np.sqrt(n + 1))
    return floor / len(pairs) + (1 - floor) * gain / gain.sum()
