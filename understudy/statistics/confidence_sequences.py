"""Win rates that stay valid while they are watched: e-values and confidence sequences from the counts alone."""

import functools
import math
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict
from scipy.optimize import brentq
from scipy.special import betaln, xlog1py, xlogy

from understudy.errors import MeasurementError
from understudy.statistics.intervals import CONFIDENCE

LARGEST = 700.0
"""The greatest exponent whose power is still a finite float."""


class WinRate(BaseModel):
    """The share of decisive votes that were wins, with an interval that holds at any moment."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float | None
    """None before the first decisive vote."""
    low: float
    high: float
    wins: int
    losses: int
    e_value: float
    """Evidence against "a win is as likely as a loss", in either direction; 20 is the 5 % mark."""


def e_value(wins: int, losses: int, p: float = 0.5) -> float:
    """Evidence against "every decisive vote is a win with probability `p`", however often one has looked.

    E = B(wins + 1, losses + 1) / (p^wins (1 - p)^losses): a uniform mixture of all other probabilities against `p`
    (Robbins 1970). While `p` is true its expectation is 1, so it ever passes 1/alpha with probability at most alpha
    (Ville). The one-sided form is `understudy.statistics.sequential.majority`.
    """
    return math.exp(min(_log_e(wins, losses, p), LARGEST))


def win_rate(wins: int, losses: int, *, confidence: float = CONFIDENCE) -> WinRate:
    """The win rate and its confidence sequence {p: e_value(p) < 1 / (1 - confidence)}.

    Raises:
        MeasurementError: a count is negative, or the confidence is not between 0 and 1.
    """
    if wins < 0 or losses < 0 or not 0 < confidence < 1:
        raise MeasurementError(f"{wins} wins and {losses} losses at {confidence:g} are no win rate; counts start at 0")
    low, high = _bounds(wins, losses, -math.log1p(-confidence))
    return WinRate(
        value=wins / (wins + losses) if wins + losses else None,
        low=low,
        high=high,
        wins=wins,
        losses=losses,
        e_value=e_value(wins, losses),
    )


@functools.lru_cache(maxsize=1 << 17)  # a leaderboard asks for every pair each time, and few have new votes
def _bounds(wins: int, losses: int, limit: float) -> tuple[float, float]:
    """log E is convex in p, least at the observed share, and there at most 0."""
    n = wins + losses
    if not n:
        return 0.0, 1.0

    constant = float(betaln(wins + 1, losses + 1)) - limit

    def over(p: float) -> float:
        return constant - wins * math.log(p) - losses * math.log1p(-p)

    middle, tiny = wins / n, 1e-300
    low = _root(over, tiny, middle) if wins and losses else 0.0
    high = _root(over, middle, 1 - 1e-16) if wins and losses else 1.0
    if not losses:
        low = math.exp(constant / wins)
    if not wins:
        high = -math.expm1(constant / losses)
    return min(low, middle), max(high, middle)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return brentq(function, low, high, xtol=1e-12)  # pyright: ignore[reportReturnType] (full_output is False)


def _log_e(wins: int, losses: int, p: float) -> float:
    return float(betaln(wins + 1, losses + 1) - xlogy(wins, p) - xlog1py(losses, -p))
