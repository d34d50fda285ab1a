"""Every figure with its interval: rates, means and paired differences, and what too little data can say."""

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from understudy.errors import MeasurementError

CONFIDENCE = 0.95
RESAMPLES = 9_999
BLOCK = 2_000_000
"""Most numbers that the bootstrap holds in memory at once."""


class Estimate(BaseModel):
    """One figure and its confidence interval, low <= value <= high; always finite, so that it can be JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float
    low: float
    high: float
    n: int
    """How many independent observations it rests on: answers, or prompts where answers share one."""


def rate(successes: int, n: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """The share `successes / n` with the Wilson score interval (Wilson 1927).

    Raises:
        MeasurementError: `n` is zero, or `successes` is not between 0 and `n`.
    """
    if n < 1 or not 0 <= successes <= n:
        raise MeasurementError(f"{successes} of {n} is no rate; at least one observation is needed")
    from scipy import stats  # here: half a second to import, and a Space that shows a leaderboard needs none of it

    value = successes / n
    interval = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return _estimate(value, interval.low, interval.high, n)


def bootstrap_mean(
    values: Sequence[float],
    *,
    prompts: Sequence[str] | None = None,
    bounds: tuple[float, float] | None = None,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean of `values`, in their own unit, with a bias-corrected and accelerated bootstrap interval.

    BCa: Efron 1987, "Better bootstrap confidence intervals". The order of the values does not matter, and the same
    seed gives the same interval. Of few values it is a little short: in simulations, 95 % intervals covered the mean
    in about 93 % with 20 values and 89 % with 10, less where the values are very skewed.

    `prompts` names the prompt of each value; the values of one prompt are averaged first, prompts are resampled.
    `bounds` are the least and the greatest value there can be. Where they are known, two cases have honest
    intervals that a bootstrap cannot give: only the bounds occur (a rate: Wilson), or all values are equal (other
    values may be as frequent as Wilson's upper limit for 0 of n, and lie as far off as the bounds). Without bounds,
    equal values have an interval of no width.

    Raises:
        MeasurementError: no values; one value and no bounds; a value that is not finite or out of bounds.
    """
    data = _checked(values, prompts, bounds)
    mean = float(data.mean())
    if bounds and np.isin(data, bounds).all() and bounds[0] < bounds[1]:
        return _scaled(rate(int((data == bounds[1]).sum()), len(data), confidence=confidence), bounds)
    if np.ptp(data) <= 1e-12 * max(1.0, abs(mean)):
        return _constant(mean, len(data), bounds, confidence)
    if len(data) < 2:
        raise MeasurementError("one value says nothing about the spread; measure more, or give the bounds")
    from scipy import stats

    result = stats.bootstrap(
        (data,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, BLOCK // len(data)),
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    if not (math.isfinite(low) and math.isfinite(high)):  # BCa has no answer when every resample is on one side
        low, high = np.quantile(result.bootstrap_distribution, [(1 - confidence) / 2, (1 + confidence) / 2])
    return _estimate(mean, low, high, len(data))


def paired_difference(
    mine: Sequence[float],
    theirs: Sequence[float],
    *,
    prompts: Sequence[str] | None = None,
    bounds: tuple[float, float] | None = None,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean of `mine[i] - theirs[i]`, two results for the same prompt; above zero, mine are greater.

    `bounds` are those of one result (0 and 1 for a share), not of the difference. The rest is as in
    `bootstrap_mean`: pairs are resampled, or prompts where `prompts` says that pairs share one.

    Where each pair is won, lost or tied (differences of shares are), the bootstrap alone calls 3 wins and no loss a
    difference. The interval is widened there to that of the exact binomial test of wins among the pairs that are no
    ties (McNemar's test, as by Clopper and Pearson 1934), so it lies above or below zero only where that says so, too.

    Raises:
        MeasurementError: as there, or the two differ in length.
    """
    if len(mine) != len(theirs):
        raise MeasurementError(f"{len(mine)} results cannot be paired with {len(theirs)}; give both in one order")
    width = (bounds[1] - bounds[0]) if bounds else 0.0
    gaps = [float(a) - float(b) for a, b in zip(mine, theirs, strict=True)]
    limits = (-width, width) if bounds else None
    found = bootstrap_mean(gaps, prompts=prompts, bounds=limits, seed=seed, confidence=confidence, resamples=resamples)
    return _exactly(found, _checked(gaps, prompts, limits), width, confidence) if width else found


def _checked(values: Sequence[float], prompts: Sequence[str] | None, bounds: tuple[float, float] | None) -> np.ndarray:
    """The values as sorted numbers, one a prompt."""
    data = np.asarray(values, dtype=float)
    if data.ndim != 1 or not len(data):
        raise MeasurementError("there are no values to take the mean of")
    if not np.isfinite(data).all():
        raise MeasurementError("a value is not a finite number; leave out what was not measured")
    if bounds and (data.min() < bounds[0] or data.max() > bounds[1]):
        raise MeasurementError(f"values from {data.min():g} to {data.max():g} leave the bounds {bounds}")
    if prompts is not None:
        if len(prompts) != len(data):
            raise MeasurementError(f"{len(data)} values but {len(prompts)} prompts; each value has one prompt")
        _, group = np.unique(np.asarray(prompts, dtype=object), return_inverse=True)
        order = np.lexsort((data, group))
        data = np.bincount(group[order], data[order]) / np.bincount(group)
    return np.sort(data)


def _constant(value: float, n: int, bounds: tuple[float, float] | None, confidence: float) -> Estimate:
    if not bounds:
        if n < 2:
            raise MeasurementError("one value says nothing about the spread; measure more, or give the bounds")
        return _estimate(value, value, value, n)
    unseen = rate(0, n, confidence=confidence).high
    return _estimate(value, value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value), n)


def _exactly(found: Estimate, gaps: np.ndarray, width: float, confidence: float) -> Estimate:
    """Widens the interval of a mean of wins (`width`), losses and ties to that of the exact test; others stay."""
    wins, losses = int((gaps == width).sum()), int((gaps == -width).sum())
    decided = wins + losses
    if not decided or decided + int((gaps == 0).sum()) < len(gaps):
        return found
    from scipy import stats

    among = stats.binomtest(wins, decided).proportion_ci(confidence, method="exact")
    low, high = (width * decided / len(gaps) * (2 * share - 1) for share in (among.low, among.high))
    return _estimate(found.value, min(found.low, low), max(found.high, high), found.n)


def _scaled(share: Estimate, bounds: tuple[float, float]) -> Estimate:
    low, width = bounds[0], bounds[1] - bounds[0]
    return _estimate(low + width * share.value, low + width * share.low, low + width * share.high, share.n)


def _estimate(value: float, low: float, high: float, n: int) -> Estimate:
    """An extremely skewed sample can push a BCa interval past its own mean; the mean always belongs to it."""
    return Estimate(value=value, low=float(min(low, value)), high=float(max(high, value)), n=n)
