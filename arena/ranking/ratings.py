"""Strengths of contestants from their battles, with intervals, places, and what side and length of an answer do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.sparse import csr_array, hstack
from scipy.special import ndtri, stdtrit

from arena.ranking.comparisons import Comparisons, compare
from arena.ranking.davidson import Fit, design, fit
from arena.votes.counts import Cells
from understudy.statistics.intervals import CONFIDENCE

POINTS = 400 / math.log(10)
"""Elo points in one unit of strength: 400 points are odds of 10 to 1."""
CENTRE = 1000.0
"""Points of the reference."""
RANKS = "weibull"
"""Ends of an interval are the resamples of rank 0.025 (n + 1) and 0.975 (n + 1): one more resample would lie beyond
them with that chance. NumPy's usual quantiles lie closer together, and of 200 resamples 95 % are then 94 % (Hyndman and
Fan 1996, definition 6)."""
CLUSTERS = 10
"""Voters from which on the intervals allow for the likeness of votes of one voter."""


class Coefficient(BaseModel):
    """One figure in units of log-odds and its interval."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float
    low: float
    high: float


class Rating(BaseModel):
    """One contestant's strength."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    strength: float
    """Log-odds of being preferred to the reference (the base, else the average of the group), ties aside."""
    low: float
    high: float
    points: float
    """The same on Elo's scale: 1000 + 400 log10(odds)."""
    points_low: float
    points_high: float
    group: int
    """Only contestants of one group can be compared; nothing connects it with the others."""
    best_place: int
    """Place in the group if all that cannot be told apart from it (at 95 % for all pairs together) are worse."""
    worst_place: int


class RatingModel(BaseModel):
    """One fit of Davidson's model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ratings: list[Rating]
    """Strongest first, group by group."""
    votes: int
    """Decisive votes and ties that it rests on."""
    clusters: int
    """Independent voters; votes whose voter is not known count as one each."""
    intervals: str
    """sandwich, information or bootstrap."""
    groups: int
    reference: str | None
    """None: the average of each group."""
    penalised: bool
    """The votes alone put a strength at infinity; half a win was added to each side of each pair that met."""
    tie: float
    """Davidson's nu: chance of a tie against that of a win between equals is nu to 1 (0 without ties)."""
    position: Coefficient | None
    """Log-odds that the left one of two equals is preferred."""
    length: Coefficient | None
    """Log-odds for each unit of lean; an answer twice as long has lean 1/3."""


@dataclass(frozen=True)
class Uncertainty:
    """How far the estimates may be off."""

    covariance: np.ndarray
    clusters: int
    quantile: float
    method: str


def rate_contestants(
    cells: Cells,
    contestants: Sequence[str],
    *,
    reference: str | None = None,
    category: str | None = None,
    position: bool = False,
    length: bool = False,
    resamples: int = 0,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> RatingModel | None:
    """Fits the model to the votes between `contestants`; None when nobody has won yet.

    Intervals are sandwich intervals, clustered by voter where voters are known (Huber 1967; Liang and Zeger 1986),
    with Student's quantiles for the number of voters; with `resamples`, percentiles of a bootstrap over voters. Where
    there are fewer than ten voters, no more than twice the parameters, or a penalty, they come from the information.
    """
    data = compare(cells, contestants, category=category, lengths=length)
    if not data.outcomes[:, :2].sum():
        return None
    met = np.union1d(data.left, data.right)
    if len(met) < len(contestants):
        names = [contestants[int(code)] for code in met]
        data = compare(cells, names, category=category, lengths=length)
    found = fit(data, design(data, position=position, length=length))
    spread = _spread(found, confidence)
    anchor = _anchor(data, reference)
    model = _model(found, spread, anchor, reference if reference in data.contestants else None)
    return _bootstrapped(model, found, anchor, resamples, seed, confidence) if resamples else model


def _spread(found: Fit, confidence: float) -> Uncertainty:
    cells, data, size = found.comparisons.cells, found.comparisons, found.design.size
    used = data.row >= 0
    level = (1 + confidence) / 2
    active = np.zeros(cells.known_voters, bool)
    active[np.repeat(np.arange(len(active)), np.diff(cells.voters.indptr))[used[cells.voters.indices]]] = True
    lone = cells.lone[used]
    clusters = int(active.sum() + lone.sum())
    if found.penalised or clusters < max(CLUSTERS, 2 * size + 1):
        return Uncertainty(found.inverse, clusters, float(ndtri(level)), "information")
    meat = _meat(found, used, lone, voters_known=bool(active.any()))
    covariance = found.inverse @ meat @ found.inverse * clusters / (clusters - 1)
    return Uncertainty(covariance, clusters, float(stdtrit(clusters - 1, level)), "sandwich")


def _meat(found: Fit, used: np.ndarray, lone: np.ndarray, *, voters_known: bool) -> np.ndarray:
    """The sum over voters of the outer product of their votes' gradients."""
    cells, data = found.comparisons.cells, found.comparisons
    along, tie = found.slopes()
    rows = csr_array(found.design.x)
    row, verdict = data.row[used], cells.verdict[used]
    c, t = along[row, verdict], tie[row, verdict]
    scores = rows[row].multiply(c[:, None]).tocsr()
    if found.design.ties:
        scores = hstack([scores, csr_array(t[:, None])]).tocsr()
    meat = (scores.T @ scores.multiply(lone[:, None]).tocsr()).toarray()
    if voters_known:
        of_voter = cells.voters[:, used] @ scores
        meat += (of_voter.T @ of_voter).toarray()
    return meat


def _anchor(data: Comparisons, reference: str | None) -> np.ndarray:
    """Strengths -> strengths against the reference, or against the average of the group."""
    groups = data.groups
    together = groups[:, None] == groups[None, :]
    weights = together / together.sum(axis=1, keepdims=True)
    if reference in data.contestants:
        base = data.contestants.index(reference)
        weights[groups == groups[base]] = np.eye(len(groups))[base]
    return np.eye(len(groups)) - weights


def _model(found: Fit, spread: Uncertainty, anchor: np.ndarray, reference: str | None) -> RatingModel:
    data, expand = found.comparisons, found.design.expand
    strengths = anchor @ found.strengths
    along = anchor @ expand
    half = spread.quantile * np.sqrt(np.clip(np.einsum("ip,pq,iq->i", along, spread.covariance, along), 0, None))
    groups = data.groups
    best, worst = _places(found.strengths, expand @ spread.covariance @ expand.T, groups)
    ratings = [
        _rating(name, strengths[i], half[i], int(groups[i]), int(best[i]), int(worst[i]))
        for i, name in enumerate(data.contestants)
    ]
    return RatingModel(
        ratings=sorted(ratings, key=lambda one: (one.group, -one.strength, one.name)),
        votes=data.votes,
        clusters=spread.clusters,
        intervals=spread.method,
        groups=int(groups.max()) + 1,
        reference=reference,
        penalised=found.penalised,
        tie=found.nu,
        position=_coefficient(found, spread, found.design.position),
        length=_coefficient(found, spread, found.design.length),
    )


def _places(strengths: np.ndarray, covariance: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places that hold for all contestants at once: all pairs of a group are compared at 5 % together (Bonferroni)."""
    together = groups[:, None] == groups[None, :]
    pairs = max(1, int(np.triu(together, 1).sum()))
    limit = ndtri(1 - (1 - CONFIDENCE) / (2 * pairs))
    variance = np.diag(covariance)
    spread = np.sqrt(np.clip(variance[:, None] + variance[None, :] - 2 * covariance, 0, None))
    better = together & (strengths[None, :] - strengths[:, None] > limit * spread + 1e-12)
    worse = better.T
    return 1 + better.sum(axis=1), together.sum(axis=1) - worse.sum(axis=1)


def _rating(name: str, strength: float, half: float, group: int, best: int, worst: int) -> Rating:
    low, high = strength - half, strength + half
    return Rating(
        name=name,
        strength=strength,
        low=low,
        high=high,
        points=CENTRE + POINTS * strength,
        points_low=CENTRE + POINTS * low,
        points_high=CENTRE + POINTS * high,
        group=group,
        best_place=best,
        worst_place=worst,
    )


def _coefficient(found: Fit, spread: Uncertainty, place: int | None) -> Coefficient | None:
    if place is None:
        return None
    value, half = found.theta[place], spread.quantile * math.sqrt(max(0.0, spread.covariance[place, place]))
    return Coefficient(value=value, low=value - half, high=value + half)


def _bootstrapped(
    model: RatingModel, found: Fit, anchor: np.ndarray, resamples: int, seed: int, confidence: float
) -> RatingModel:
    """The same model with percentile intervals: voters are drawn anew, with votes of unknown voters one by one."""
    draws = np.stack([_redrawn(found, rng) for rng in np.random.default_rng(seed).spawn(resamples)])
    quantiles = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(draws @ (anchor @ found.design.expand).T, quantiles, axis=0, method=RANKS)
    place = {name: i for i, name in enumerate(found.comparisons.contestants)}
    ratings = [
        one.model_copy(
            update={
                "low": float(low[i]),
                "high": float(high[i]),
                "points_low": CENTRE + POINTS * float(low[i]),
                "points_high": CENTRE + POINTS * float(high[i]),
            }
        )
        for one in model.ratings
        for i in [place[one.name]]
    ]

    def interval(at: int | None) -> Coefficient | None:
        if at is None:
            return None
        ends = np.quantile(draws[:, at], quantiles, method=RANKS)
        return Coefficient(value=float(found.theta[at]), low=float(ends[0]), high=float(ends[1]))

    update = {"ratings": ratings, "intervals": "bootstrap"}
    return model.model_copy(
        update=update | {"position": interval(found.design.position), "length": interval(found.design.length)}
    )


def _redrawn(found: Fit, rng: np.random.Generator) -> np.ndarray:
    """The parameters from one resample. A pair or a tie that it lacks is mended by the penalty of `fit`."""
    cells, data = found.comparisons.cells, found.comparisons
    count = np.zeros(len(cells.count))
    total = int(cells.lone.sum())
    if total:
        count += rng.multinomial(total, cells.lone / total)
    voters = cells.known_voters
    if voters:
        count += rng.multinomial(voters, np.full(voters, 1 / voters)) @ cells.voters
    outcomes = data.recounted(count)
    if found.design.ties and not outcomes[:, 2].sum():
        outcomes[:, 2] += 0.5 * data.outcomes[:, 2] / data.outcomes[:, 2].sum()
    return fit(data, found.design, outcomes, found.theta).theta
