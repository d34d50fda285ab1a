"""The same votes ranked by the methods that others use, all by evalica, so that published scores can be compared."""

import math

import evalica
import numpy as np

from arena.ranking.comparisons import compare
from arena.votes.counts import Cells
from arena.votes.table import BOTH_BAD, LEFT, RIGHT, VoteTable

METHODS = {
    "counting": evalica.counting,
    "average_win_rate": evalica.average_win_rate,
    "bradley_terry": evalica.bradley_terry,
    "newman": evalica.newman,
    "eigen": evalica.eigen,
    "pagerank": evalica.pagerank,
}
"""Methods that need no order of the votes. Newman's is Davidson's model with strengths as factors."""
ITERATIVE = ("bradley_terry", "newman")
TOLERANCE = 1e-12
ITERATIONS = 10_000
WINNERS = (evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw)

Scores = dict[str, dict[str, float | None]]
"""Score by contestant by method; None where a method has no finite one."""


def other_rankings(cells: Cells) -> Scores:
    """Scores of every method that needs no order; "both bad" is left out, Bradley-Terry scores add up to 1."""
    data = compare(cells, cells.contestants)
    row, outcome = np.nonzero(data.outcomes)
    if not len(row):
        return {}
    names = data.contestants
    left, right = [names[code] for code in data.left[row]], [names[code] for code in data.right[row]]
    winners, weights = [WINNERS[code] for code in outcome], data.outcomes[row, outcome].tolist()
    found: Scores = {}
    for name, method in METHODS.items():
        options = {"tolerance": TOLERANCE, "limit": ITERATIONS} if name in ITERATIVE else {}
        scores = method(left, right, winners, weights=weights, **options).scores
        if name == "bradley_terry":
            scores = scores / scores.sum()
        found[name] = _finite(scores.to_dict())
    return found


def elo(votes: VoteTable) -> dict[str, float | None]:
    """Elo's ratings after the votes in their order (evalica's defaults: start 1000, base 10, scale 400, K 4)."""
    use = (votes.verdict != BOTH_BAD) & (votes.left != votes.right)
    names = votes.contestants
    left, right = [names[code] for code in votes.left[use]], [names[code] for code in votes.right[use]]
    if not left:
        return {}
    codes = {LEFT: WINNERS[0], RIGHT: WINNERS[1]}
    winners = [codes.get(code, WINNERS[2]) for code in votes.verdict[use].tolist()]
    return _finite(evalica.elo(left, right, winners).scores.to_dict())


def _finite(scores: dict) -> dict[str, float | None]:
    return {str(name): float(value) if math.isfinite(value) else None for name, value in scores.items()}
