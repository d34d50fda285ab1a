"""Every figure of the leaderboard in one record, computed from counts. docs/arena.md explains each of them."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr, expit

from arena.battles.blinding import BASE
from arena.ranking.leaderboard_records import (
    Category,
    Hidden,
    Leaderboard,
    LeaderboardNote,
    Length,
    PairRecord,
    Position,
    Row,
)
from arena.ranking.ratings import Coefficient, RatingModel, rate_contestants
from arena.votes.counts import BOTH_BAD, LEFT, RIGHT, TIE, UNCATEGORISED, Cells
from understudy.statistics.confidence_sequences import WinRate, win_rate
from understudy.statistics.intervals import CONFIDENCE

MIN_VOTES = 30
"""Votes that can be ranked (wins, losses, ties) below which a contestant's row is hidden."""
LENGTHS_NEEDED = 0.5
"""Share of the votes whose lengths must be known for scores to be length-controlled."""
TWICE = 1 / 3
"""Lean of an answer that is twice as long as the other."""


def build_leaderboard(
    cells: Cells,
    *,
    base: str = BASE,
    min_votes: int = MIN_VOTES,
    sides: bool = True,
    resamples: int = 0,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Leaderboard:
    """Every figure, from counted votes. `sides=False` when nobody knows which answer was on the left.

    Ratings rest on the votes between shown contestants, so that a newcomer's few votes change nobody's score.
    """
    rows, hidden = _split(_rows(cells), min_votes)
    names = [row.name for row in rows]
    reference = base if base in names else None
    fixed = sides and _sides_never_changed(cells)
    sides = sides and not fixed
    options = {"reference": reference, "resamples": resamples, "seed": seed, "confidence": confidence}
    overall = rate_contestants(cells, names, **options)
    lengths = _lengths_known(cells)
    controlled = rate_contestants(cells, names, position=sides, length=lengths, **options) if sides or lengths else None
    names = _in_order(names, overall)
    pairs = _pairs(cells, names, confidence)
    met = {frozenset((pair.one, pair.other)): pair for pair in pairs if reference in (pair.one, pair.other)}
    board = Leaderboard(
        votes=int(cells.count.sum()),
        ties=int(cells.count[cells.verdict == TIE].sum()),
        both_bad=int(cells.count[cells.verdict == BOTH_BAD].sum()),
        voters=cells.known_voters or None,
        base=reference,
        min_votes=min_votes,
        confidence=confidence,
        rows=sorted(rows, key=lambda row: names.index(row.name)),
        hidden=hidden,
        against_base=[
            _against(name, reference, met[pair])
            for name in names
            if reference and (pair := frozenset((name, reference))) in met
        ],
        overall=overall,
        controlled=controlled,
        position=_position(cells, controlled, confidence) if sides else None,
        length=_length(controlled),
        categories=_categories(cells, min_votes, options),
        pairs=pairs,
        notes=[],
    )
    return board.model_copy(update={"notes": _notes(board, base, fixed=fixed)})


def _sides_never_changed(cells: Cells) -> bool:
    """Whether each two contestants that met were always on the same sides, however often they met."""
    low, high = np.minimum(cells.left, cells.right), np.maximum(cells.left, cells.right)
    straight = cells.left < cells.right
    pair = low.astype(np.int64) * len(cells.contestants) + high
    return bool(len(pair)) and cells.count.sum() > 1 and not len(np.intersect1d(pair[straight], pair[~straight]))


def _rows(cells: Cells, category: int | None = None) -> list[Row]:
    use = cells.left != cells.right
    if category is not None:
        use &= cells.category == category
    size = len(cells.contestants)

    def total(side: np.ndarray, verdict: int) -> np.ndarray:
        chosen = use & (cells.verdict == verdict)
        return np.bincount(side[chosen], cells.count[chosen], size).astype(int)

    wins = total(cells.left, LEFT) + total(cells.right, RIGHT)
    losses = total(cells.left, RIGHT) + total(cells.right, LEFT)
    ties = total(cells.left, TIE) + total(cells.right, TIE)
    bad = total(cells.left, BOTH_BAD) + total(cells.right, BOTH_BAD)
    return [
        Row(name=name, wins=wins[i], losses=losses[i], ties=ties[i], both_bad=bad[i])
        for i, name in enumerate(cells.contestants)
        if wins[i] + losses[i] + ties[i] + bad[i]
    ]


def _split(rows: Sequence[Row], min_votes: int) -> tuple[list[Row], list[Hidden]]:
    hidden = [
        Hidden(name=row.name, votes=row.ranked, to_go=min_votes - row.ranked) for row in rows if row.ranked < min_votes
    ]
    return [row for row in rows if row.ranked >= min_votes], sorted(hidden, key=lambda one: (one.to_go, one.name))


def _in_order(names: Sequence[str], model: RatingModel | None) -> list[str]:
    """As the model has them; whoever met no shown contestant comes last."""
    rated = [one.name for one in model.ratings] if model else []
    return rated + sorted(set(names) - set(rated))


def _lengths_known(cells: Cells) -> bool:
    known = cells.count[~np.isnan(cells.lean)].sum()
    return bool(known and known >= LENGTHS_NEEDED * cells.count.sum())


def _pairs(cells: Cells, names: Sequence[str], confidence: float) -> list[PairRecord]:
    size = len(cells.contestants)
    place = (cells.left * size + cells.right) * 4 + cells.verdict
    table = np.bincount(place, cells.count, size * size * 4).reshape(size, size, 4).astype(int)
    code = {name: i for i, name in enumerate(cells.contestants)}
    shown = np.array([code[name] for name in names], dtype=np.int64)
    here = table[np.ix_(shown, shown)]
    there = here.transpose(1, 0, 2)
    found = []
    rows, columns = np.nonzero(np.triu((here + there).sum(axis=2), 1))
    for one, other in zip(map(int, rows), map(int, columns), strict=True):
        ours, theirs = here[one, other].tolist(), there[one, other].tolist()
        rate = win_rate(ours[LEFT] + theirs[RIGHT], ours[RIGHT] + theirs[LEFT], confidence=confidence)
        ties, bad = ours[TIE] + theirs[TIE], ours[BOTH_BAD] + theirs[BOTH_BAD]
        found.append(PairRecord(one=names[one], other=names[other], win_rate=rate, ties=ties, both_bad=bad))
    return found


def _against(name: str, base: str, pair: PairRecord) -> PairRecord:
    if pair.one == name:
        return pair
    rate = pair.win_rate
    turned = WinRate(
        value=None if rate.value is None else 1 - rate.value,
        low=1 - rate.high,
        high=1 - rate.low,
        wins=rate.losses,
        losses=rate.wins,
        e_value=rate.e_value,
    )
    return PairRecord(one=name, other=base, win_rate=turned, ties=pair.ties, both_bad=pair.both_bad)


def _position(cells: Cells, controlled: RatingModel | None, confidence: float) -> Position | None:
    left, right = (int(cells.count[cells.verdict == verdict].sum()) for verdict in (LEFT, RIGHT))
    if not left + right:
        return None
    return Position(
        left=win_rate(left, right, confidence=confidence),
        p_value=min(1.0, 2 * float(bdtr(min(left, right), left + right, 0.5))),  # exact and two-sided
        coefficient=controlled.position if controlled else None,
    )


def _length(controlled: RatingModel | None) -> Length | None:
    if controlled is None or controlled.length is None:
        return None
    found = controlled.length
    chances = {name: float(expit(TWICE * value)) for name, value in found.model_dump().items()}
    return Length(coefficient=found, twice_as_long=Coefficient(**chances), votes=controlled.votes)


def _categories(cells: Cells, min_votes: int, options: dict) -> list[Category]:
    found = []
    for code, name in enumerate(cells.categories):
        if name == UNCATEGORISED:
            continue
        rows, hidden = _split(_rows(cells, code), min_votes)
        model = rate_contestants(cells, [row.name for row in rows], category=name, **options) if rows else None
        order = _in_order([row.name for row in rows], model)
        votes = int(cells.count[cells.category == code].sum())
        rows = sorted(rows, key=lambda row: order.index(row.name))
        found.append(Category(name=name, votes=votes, rows=rows, hidden=hidden, model=model))
    return sorted(found, key=lambda one: (-one.votes, one.name))


def _notes(board: Leaderboard, base: str, *, fixed: bool) -> list[LeaderboardNote]:
    model = board.overall
    notes = []
    if fixed:
        notes.append(_note("sides", "Sides never changed, so side and strength cannot be told apart."))
    if not board.rows:
        text = f"Everybody has fewer than {board.min_votes} votes that can be ranked, so nobody is shown yet."
        return [*notes, _note("nobody", text, votes=board.min_votes)]
    if board.base is None:
        text = f"{base!r} has too few votes or none, so strengths are against the average of all shown."
        notes.append(_note("no_base", text, base=repr(base)))
    if model is None:
        text = "Nobody has won a battle between shown contestants yet, so there is no ranking."
        return [*notes, _note("no_wins", text)]
    if model.groups > 1:
        parts = [", ".join(one.name for one in model.ratings if one.group == group) for group in range(model.groups)]
        text = f"No votes connect these groups, so only ranks within one mean something: {'; '.join(parts)}."
        notes.append(_note("groups", text, groups="; ".join(parts)))
    if model.penalised:
        text = "Somebody never lost (or never won): half a win was added to each side of each pair that met."
        notes.append(_note("penalised", text))
    if model.intervals == "information" and not model.penalised:
        text = f"{model.clusters} voters are too few to allow for their habits: intervals take votes one by one."
        notes.append(_note("voters", text, voters=model.clusters))
    if board.position and board.position.left.e_value >= 1 / (1 - board.confidence):
        side = "left" if (board.position.left.value or 0) > 0.5 else "right"
        text = f"The {side} answer wins more often than chance: read the controlled strengths."
        notes.append(_note(f"{side}_wins", text))
    if board.controlled and board.controlled.length and not _contains(board.controlled.length, 0.0):
        length = "longer" if board.controlled.length.value > 0 else "shorter"
        text = f"{length.title()} answers win more often: read the controlled strengths."
        notes.append(_note(length, text))
    return notes


def _note(code: str, text: str, **values: str | int) -> LeaderboardNote:
    return LeaderboardNote(code=code, text=text, values=values)


def _contains(interval: Coefficient, value: float) -> bool:
    return interval.low <= value <= interval.high or math.isclose(interval.low, value)
