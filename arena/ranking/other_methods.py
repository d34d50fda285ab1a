"""Scores of the same votes by the methods that others use, computed by evalica, to compare with published scores."""

import math
from dataclasses import replace
from typing import Literal, TypeAlias

import evalica
import numpy as np
import pandas as pd

from arena.ranking.comparisons import compare
from arena.votes.counts import BOTH_BAD, LEFT, RIGHT, TIE, Cells, VoteTable

TOLERANCE, ITERATIONS = 1e-12, 10_000
"""Of the Bradley-Terry fit."""
WINNERS = (evalica.Winner.X, evalica.Winner.Y, evalica.Winner.Draw)
ANCHOR, ANCHORED_AT = "mixtral-8x7b-instruct-v0.1", 1114.0
"""LMArena's published scores give this contestant this many points, where it is there; else 1000 is the average."""
AVERAGE = 1000.0

BothBad: TypeAlias = Literal["tie", "out"]
"""What "both bad" says in these scores: half a win for each, as LMArena and FastChat count it, or nothing."""
Scores = dict[str, dict[str, float | None]]
"""Score by contestant by method; None where a method has no finite one."""


def other_rankings(cells: Cells, both_bad: BothBad = "tie") -> Scores:
    """Average win rates, Bradley-Terry scores that add up to 1, and the same in points; ties are half a win."""
    if both_bad == "tie":
        cells = replace(cells, verdict=np.where(cells.verdict == BOTH_BAD, TIE, cells.verdict))
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
        "bradley_terry_points": _points(fitted.to_dict()),
    }


def _points(fitted: dict[str, float]) -> dict[str, float | None]:
    """Scores on Elo's scale, as LMArena publishes them."""
    logs = {
        name: 400 * math.log10(score) if score > 0 and math.isfinite(score) else math.nan
        for name, score in fitted.items()
    }
    known = [value for value in logs.values() if math.isfinite(value)]
    if not known:
        return dict.fromkeys(fitted, None)
    shift = AVERAGE - sum(known) / len(known)
    if math.isfinite(logs.get(ANCHOR, math.nan)):
        shift = ANCHORED_AT - logs[ANCHOR]
    return _finite({name: value + shift for name, value in logs.items()})


def elo(votes: VoteTable, both_bad: BothBad = "tie") -> dict[str, float | None]:
    """Elo ratings after the votes in order, one a row (evalica's defaults: start 1000, base 10, scale 400, K 4)."""
    use = votes.left != votes.right
    if both_bad == "out":
        use &= votes.verdict != BOTH_BAD
    left, right, verdict = votes.left[use], votes.right[use], votes.verdict[use]
    if not len(left):
        return {}
    there = np.unique(np.concatenate([left, right]))
    winner = {LEFT: WINNERS[0], RIGHT: WINNERS[1], TIE: WINNERS[2], BOTH_BAD: WINNERS[2]}
    winners = list(map(winner.__getitem__, verdict.tolist()))
    scores = evalica.elo(left, right, winners, index=pd.Index(there)).scores  # pyright: ignore[reportArgumentType]
    names = [votes.contestants[code] for code in scores.index.to_numpy(int)]
    return _finite(dict(zip(names, scores.tolist(), strict=True)))


def _finite(scores: dict) -> dict[str, float | None]:
    return {str(name): float(value) if math.isfinite(value) else None for name, value in scores.items()}
