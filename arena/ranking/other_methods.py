"""Scores of the same votes by the methods that others use, computed by evalica, to compare with published scores."""

import math

import evalica
import numpy as np

from arena.ranking.comparisons import compare
from arena.votes.counts import BOTH_BAD, LEFT, RIGHT, Cells, VoteTable

TOLERANCE, ITERATIONS = 1e-12, 10_000
"""Of the Bradley-Terry fit."""
WINNERS = (evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw)

Scores = dict[str, dict[str, float | None]]
"""Score by contestant by method; None where a method has no finite one."""


def other_rankings(cells: Cells) -> Scores:
    """Average win rates, and Bradley-Terry scores that add up to 1 with ties as half a win; "both bad" is left out."""
    data = compare(cells, cells.contestants)
    row, outcome = np.nonzero(data.outcomes)
    if not len(row):
        return {}
    names = data.contestants
    left, right = [names[code] for code in data.left[row]], [names[code] for code in data.right[row]]
    winners, weights = [WINNERS[code] for code in outcome], data.outcomes[row, outcome].tolist()
    fitted = evalica.bradley_terry(left, right, winners, weights=weights, tolerance=TOLERANCE, limit=ITERATIONS).scores
    return {
        "average_win_rate": _finite(evalica.average_win_rate(left, right, winners, weights=weights).scores.to_dict()),
        "bradley_terry": _finite((fitted / fitted.sum()).to_dict()),
    }


def elo(votes: VoteTable) -> dict[str, float | None]:
    """Elo ratings after the votes in order, one a row (evalica's defaults: start 1000, base 10, scale 400, K 4)."""
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
