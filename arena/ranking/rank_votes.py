"""`understudy rank`: the leaderboard of a votes file or of this installation's arena, with other rankings beside it."""

from pathlib import Path

from arena.battles.blinding import BASE
from arena.ranking.leaderboard import build_leaderboard
from arena.ranking.leaderboard_records import Leaderboard
from arena.ranking.other_methods import elo, other_rankings
from arena.votes.counts import arena_votes, count_cells
from arena.votes.import_files import read_votes
from arena.votes.votes import left_out as arena_left_out
from understudy.config.settings import Settings
from understudy.errors import UnderstudyError
from understudy.registry.database import open_database

LISTED = 12
"""Most contestants that an error lists."""


def rank_votes(
    settings: Settings,
    file: Path | None,
    *,
    base: str,
    min_votes: int,
    by: str | None,
    bootstrap: int,
    seed: int,
) -> Leaderboard:
    """Ranks the contestants of a votes file; without a file, those of this installation's arena.

    `base` is the contestant that the others are measured against, `min_votes` the fewest votes of one that is shown,
    `by` a column of the file to rank by besides all votes, `bootstrap` a number of resamples of the voters (0: the
    sandwich estimator) drawn with `seed`.

    Raises:
        UnderstudyError: the file cannot be read, `base` is in no vote, or there are no votes at all.
    """
    if file is None:
        if by is not None:
            raise UnderstudyError(f"--by {by}: battles of the arena have no such column; give a votes file")
        engine = open_database(settings.database)
        votes, left_out, sides = arena_votes(engine), arena_left_out(engine), True
    else:
        read = read_votes(file, by=by)
        votes, left_out, sides = read.votes, read.left_out, read.sides
    if not votes.votes:
        raise UnderstudyError("no votes yet: vote in the arena (`understudy space`), or give a votes file")
    if base not in votes.contestants and base != BASE:
        names = ", ".join(sorted(votes.contestants)[:LISTED])
        raise UnderstudyError(f"--base {base}: no votes on it; contestants are {names}")
    cells = count_cells(votes)
    board = build_leaderboard(cells, base=base, min_votes=min_votes, sides=sides, resamples=bootstrap, seed=seed)
    rankings = other_rankings(cells) | ({"elo": elo(votes)} if sides else {})
    return board.model_copy(update={"rankings": rankings, "left_out": left_out})
