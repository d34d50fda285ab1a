"""Sequential tests: they stay valid however often their result is read (e-values).

An e-value has expectation at most 1 while nothing is wrong, so it passes 1/alpha with probability at most alpha,
at whatever moment it is read (Ville's inequality).
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, ConfigDict

PRIOR = 0.5
"""Pseudo-counts of each outcome before anything was seen (Jeffreys)."""


class VoteOutcome(BaseModel):
    """One decisive vote on an answer of a persona against the base."""

    model_config = ConfigDict(frozen=True)

    battle: str
    revision: str
    """Which revision answered, at least 12 characters of it."""
    won: bool


class VoteSource(Protocol):
    """Where votes come from."""

    def outcomes(self, persona: str, since: datetime) -> Sequence[VoteOutcome]:
        """Decisive votes on the persona's answers since that moment, oldest first."""
        ...


def majority(wins: int, losses: int) -> float:
    """E-value against "a win is not more likely than a loss", from `wins` and `losses` in any order.

    A Beta(1, 1) mixture over p > 1/2 against p = 1/2 (Robbins 1970; beta-binomial mixture).
    """
    log_above = _log_at_most(wins, wins + losses + 1)  # of Beta(wins + 1, losses + 1), above 1/2
    log_mixture = _log_beta(wins + 1, losses + 1) + (wins + losses) * math.log(2)
    return math.exp(min(math.log(2) + log_above + log_mixture, 700.0))


class RateIncreaseTest:
    """Whether something bad happens more often on trial than with the live revision, as a running e-value.

    Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
    stopping", arXiv:2106.02693, section 3: in a block of one trial result and the live results since the last
    one, bet the learned rates against the rate of both mixed. Betting only when the trial looks worse makes the
    test one-sided: against every pair of rates with trial <= live the expectation is at most 1.
    """

    def __init__(self) -> None:
        self._log_e = 0.0
        self._trial = [0, 0]
        self._live = [0, 0]
        self._block = [0, 0]

    @property
    def e_value(self) -> float:
        return math.exp(min(self._log_e, 700.0))

    @property
    def trial(self) -> tuple[int, int]:
        """Bad results and all results on trial."""
        return self._trial[1], sum(self._trial)

    @property
    def live(self) -> tuple[int, int]:
        """Bad results and all results of the live revision."""
        return self._live[1] + self._block[1], sum(self._live) + sum(self._block)

    def see_live(self, bad: bool) -> None:
        """Note one result of the live revision; it joins the next block."""
        self._block[bad] += 1

    def see_trial(self, bad: bool) -> None:
        """Note one result on trial; this closes the block."""
        worse, usual, size = _rate(self._trial), _rate(self._live), sum(self._block)
        if worse > usual and size:
            mixed = (worse + size * usual) / (1 + size)
            self._log_e += math.log(worse / mixed if bad else (1 - worse) / (1 - mixed))
            self._log_e += self._block[1] * math.log(usual / mixed)
            self._log_e += self._block[0] * math.log((1 - usual) / (1 - mixed))
        self._trial[bad] += 1
        self._live = [a + b for a, b in zip(self._live, self._block, strict=True)]
        self._block = [0, 0]


def _rate(counts: list[int]) -> float:
    return (counts[1] + PRIOR) / (sum(counts) + 2 * PRIOR)


def _log_beta(a: int, b: int) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_at_most(heads: int, coins: int) -> float:
    """Logarithm of the chance of at most so many heads of fair coins, exact to rounding even where it is tiny."""
    if 2 * heads >= coins:
        return math.log1p(-math.exp(_log_at_most(coins - heads - 1, coins))) if heads < coins else 0.0
    term = total = 1.0
    for k in range(heads, 0, -1):  # the chance of k - 1 heads is that of k times k / (coins - k + 1)
        term *= k / (coins - k + 1)
        total += term
        if term < total * 1e-17:
            break
    choices = math.lgamma(coins + 1) - math.lgamma(heads + 1) - math.lgamma(coins - heads + 1)
    return choices - coins * math.log(2) + math.log(total)
