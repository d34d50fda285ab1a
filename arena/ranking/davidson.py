"""Davidson's model of paired comparisons with ties, with the sides and the lengths of the answers as covariates.

    eta = strength(left) - strength(right) + position + length * lean
    P(left) : P(right) : P(tie) = exp(eta / 2) : exp(-eta / 2) : nu

Davidson 1970, "On extending the Bradley-Terry model to accommodate ties", JASA 65; the position as in Davidson and
Beaver 1977, Biometrics 33. Without ties it is the model of Bradley and Terry (1952). The log-likelihood is concave.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import linprog, minimize
from scipy.sparse import csr_array, diags_array

from arena.ranking.comparisons import Comparisons

PHANTOM = 0.5
"""Wins that each side of every pair that met is given where the votes alone put some strength at infinity."""
PHANTOM_LEAN = 0.5
LAST_STEP = 1e-8
"""Newton's method ends with a step no longer than this in any parameter: what is left to go is about its square."""
MOST_STEPS, MOST_HALVES = 40, 30
ROUNDING = 1e-14
"""By how much the loss may seem to rise where it no longer changes."""
TOLERANCE = 1e-10
"""Slope at which the search ends that replaces Newton's method where that gets nowhere."""
WIDE = 24
"""Parameters from which rows, each about two contestants and two more at most, are multiplied as sparse ones."""

Rows: TypeAlias = np.ndarray | csr_array


@dataclass(frozen=True)
class Design:
    """What each row says about each parameter."""

    x: np.ndarray
    """d eta / d parameter, without the last parameter (the log of nu) where ties are modelled."""
    expand: np.ndarray
    """Parameters -> strengths, one row a contestant; the reference of each group is 0."""
    ties: bool
    position: int | None
    """Which parameter it is; None where the votes cannot tell it."""
    length: int | None

    @property
    def size(self) -> int:
        return self.x.shape[1] + self.ties


@dataclass(frozen=True)
class Fit:
    """Maximum likelihood estimates."""

    comparisons: Comparisons
    design: Design
    theta: np.ndarray
    inverse: np.ndarray
    """Inverse of the observed information."""
    penalised: bool
    """The votes alone have no finite maximum; phantom votes were added."""

    @property
    def strengths(self) -> np.ndarray:
        return self.design.expand @ self.theta

    @property
    def nu(self) -> float:
        return float(np.exp(self.theta[-1])) if self.design.ties else 0.0

    def slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """The gradient of one vote's log-likelihood, row x outcome: along the row's x, and to the log of nu."""
        share = _shares(self.theta, self.design.x, self.design.ties)
        mean = (share[:, 0] - share[:, 1]) / 2
        along = np.array([0.5, -0.5, 0.0])[: share.shape[1]] - mean[:, None]
        tie = np.zeros_like(along)
        if self.design.ties:
            tie = np.array([0.0, 0.0, 1.0]) - share[:, 2:]
        return along, tie


def design(data: Comparisons, *, position: bool, length: bool) -> Design:
    """The parameters that these votes can tell apart: position and length only where the rows allow it."""
    expand = _contrasts(data.groups)
    x = expand[data.left] - expand[data.right]
    places: dict[str, int | None] = {"position": None, "length": None}
    extra = {"position": (position, np.ones(len(x))), "length": (length, data.lean)}
    for name, (wanted, column) in extra.items():
        wider = np.column_stack([x, column])
        if wanted and _full_rank(wider):
            places[name], x = x.shape[1], wider
    ties = bool(data.outcomes[:, 2].sum()) and bool(data.outcomes[:, :2].sum())
    expand = np.pad(expand, ((0, 0), (0, x.shape[1] + ties - expand.shape[1])))
    return Design(x, expand, ties, places["position"], places["length"])


def fit(data: Comparisons, model: Design, outcomes: np.ndarray | None = None, start: np.ndarray | None = None) -> Fit:
    """The estimates from these votes, or from `outcomes` in the place of theirs; always finite.

    Where the votes alone have no finite maximum (somebody never lost, say), each side of every pair that met gets
    half a win more, spread evenly over the sides: the correction of Haldane and Anscombe, stated as `penalised`.
    """
    y = data.outcomes if outcomes is None else outcomes
    x = model.x
    rows = _rows(x)
    seen = y.sum(axis=1) > 0
    penalised = not _full_rank(rows[seen]) or separated(rows[seen], y[seen], ties=model.ties)
    if penalised:
        phantoms, wins = _phantoms(data, model)
        rows, y = _rows(np.concatenate([x, phantoms])), np.concatenate([y, wins])
    theta = _maximum(rows, y, model.ties, np.zeros(model.size) if start is None else start)
    return Fit(data, model, theta, np.linalg.inv(_information(theta, rows, y, model.ties)), penalised)


def separated(x: Rows, y: np.ndarray, *, ties: bool) -> bool:
    """Whether the likelihood rises for ever in some direction, so that no finite maximum exists.

    It does if a direction makes no observed outcome less likely than its alternatives and one of them more so
    (Albert and Anderson 1984, Biometrika 71); a linear program looks for it (Konis 2007), but where both sides won in
    rows that tell all parameters apart, there is no such direction.
    """
    if _full_rank(x[(y[:, 0] > 0) & (y[:, 1] > 0)]):
        return False
    x = x if isinstance(x, np.ndarray) else x.toarray()
    options = [np.column_stack([side * x, np.zeros(len(x))]) if ties else side * x for side in (0.5, -0.5)]
    if ties:
        options.append(np.column_stack([np.zeros_like(x), np.ones(len(x))]))
    gains = [
        (options[seen] - options[other])[y[:, seen] > 0]
        for seen in range(len(options))
        for other in range(len(options))
        if seen != other
    ]
    gain = _distinct(np.concatenate(gains))
    found = linprog(-gain.sum(axis=0), A_ub=csr_array(-gain), b_ub=np.zeros(len(gain)), bounds=(-1, 1), method="highs")
    return -found.fun > 1e-7


def _distinct(rows: np.ndarray) -> np.ndarray:
    """Without repetitions, or nearly: equal rows have equal sums with random weights, and others have not."""
    weights = np.random.default_rng(0).random(rows.shape[1])
    return rows[np.unique(rows @ weights, return_index=True)[1]]


def _rows(x: Rows) -> Rows:
    """The same rows as sparse ones, where they are wide."""
    return csr_array(x) if isinstance(x, np.ndarray) and x.shape[1] >= WIDE else x


def _full_rank(x: Rows) -> bool:
    rows = _rows(x)
    gram = rows.T @ rows if isinstance(rows, np.ndarray) else (rows.T @ rows).toarray()
    return not len(gram) or bool(np.linalg.matrix_rank(gram, hermitian=True) == len(gram))


def _weighted(x: Rows, weight: np.ndarray) -> np.ndarray:
    """Sum over the rows of weight x row x row."""
    if isinstance(x, np.ndarray):
        return (x * weight[:, None]).T @ x
    return (x.T @ diags_array(weight) @ x).toarray()


def _contrasts(groups: np.ndarray) -> np.ndarray:
    """One column a contestant, but for the first of each group."""
    firsts = np.unique(groups, return_index=True)[1]
    return np.delete(np.eye(len(groups)), firsts, axis=1)


def _phantoms(data: Comparisons, model: Design) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.unique(np.sort(np.column_stack([data.left, data.right]), axis=1), axis=0)
    sides = np.concatenate([pairs, pairs[:, ::-1]])
    rows = model.expand[sides[:, 0]] - model.expand[sides[:, 1]]
    rows = rows[:, : model.x.shape[1]].copy()
    if model.position is not None:
        rows[:, model.position] = 1
    copies = [rows]
    if model.length is not None:
        copies = [rows.copy(), rows.copy()]
        copies[0][:, model.length], copies[1][:, model.length] = PHANTOM_LEAN, -PHANTOM_LEAN
    x = np.concatenate(copies)
    wins = np.zeros((len(x), 3))
    wins[:, :2] = PHANTOM / (2 * len(copies))
    return x, wins


def _maximum(x: Rows, y: np.ndarray, ties: bool, start: np.ndarray) -> np.ndarray:
    """The parameters that make the outcomes likeliest."""
    if not len(start):
        return start
    found = _by_newton(x, y, ties, start)
    return _by_trust_region(x, y, ties, start) if found is None else found


def _by_newton(x: Rows, y: np.ndarray, ties: bool, start: np.ndarray) -> np.ndarray | None:
    """Newton's method, with steps halved until they help; None where it gets nowhere."""
    theta, loss = start, _loss(start, x, y, ties)
    for _ in range(MOST_STEPS):
        try:
            step = -cho_solve(cho_factor(_information(theta, x, y, ties) / y.sum()), _slope(theta, x, y, ties))
        except (LinAlgError, ValueError):
            return None
        for _ in range(MOST_HALVES):
            new_loss = _loss(theta + step, x, y, ties)
            if new_loss <= loss + ROUNDING * abs(loss):
                break
            step = step / 2
        else:
            return None
        theta, loss = theta + step, new_loss
        if np.abs(step).max() <= LAST_STEP:
            return theta
    return None


def _by_trust_region(x: Rows, y: np.ndarray, ties: bool, start: np.ndarray) -> np.ndarray:
    def curvature(theta: np.ndarray, *given: Rows | bool) -> np.ndarray:
        return _information(theta, x, y, ties) / y.sum()

    options = {"gtol": TOLERANCE}
    return minimize(_loss, start, (x, y, ties), "trust-exact", _slope, curvature, options=options).x


def _loss(theta: np.ndarray, x: Rows, y: np.ndarray, ties: bool) -> float:
    """How unlikely the outcomes are: the mean of minus the logarithms of their chances."""
    logs = _utilities(theta, x, ties)
    lost = y.sum(axis=1) @ np.logaddexp.reduce(logs, axis=1) - (y[:, : logs.shape[1]] * logs).sum()
    return float(lost / y.sum())


def _slope(theta: np.ndarray, x: Rows, y: np.ndarray, ties: bool) -> np.ndarray:
    share, n = _shares(theta, x, ties), y.sum(axis=1)
    along = x.T @ ((y[:, 0] - y[:, 1] - n * (share[:, 0] - share[:, 1])) / 2)
    return -(np.append(along, (y[:, 2] - n * share[:, 2]).sum()) if ties else along) / y.sum()


def _utilities(theta: np.ndarray, x: Rows, ties: bool) -> np.ndarray:
    eta = x @ theta[: len(theta) - ties]
    sides = [eta / 2, -eta / 2]
    return np.column_stack([*sides, np.full(len(eta), theta[-1])] if ties else sides)


def _shares(theta: np.ndarray, x: Rows, ties: bool) -> np.ndarray:
    logs = _utilities(theta, x, ties)
    return np.exp(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True))


def _information(theta: np.ndarray, x: Rows, y: np.ndarray, ties: bool) -> np.ndarray:
    share, n = _shares(theta, x, ties), y.sum(axis=1)
    mean = (share[:, 0] - share[:, 1]) / 2
    spread = (share[:, 0] + share[:, 1]) / 4 - mean**2
    core = _weighted(x, n * spread)
    if not ties:
        return core
    cross = np.asarray(x.T @ -(n * share[:, 2] * mean))
    tie = (n * share[:, 2] * (1 - share[:, 2])).sum()
    return np.block([[core, cross[:, None]], [cross[None, :], np.array([[tie]])]])
