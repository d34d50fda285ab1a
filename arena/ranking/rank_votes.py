"""`understudy rank`: the leaderboard of a votes file or of this installation's arena, with other rankings beside it."""

from collections.abc import Iterator
from pathlib import Path

from arena.battles.blinding import BASE
from arena.ranking.leaderboard import build_leaderboard
from arena.ranking.leaderboard_records import Leaderboard, LeaderboardNote
from arena.ranking.other_methods import BothBad, elo, other_rankings
from arena.votes.counts import arena_votes, count_cells
from arena.votes.import_files import VotesFile, read_votes
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
    both_bad: BothBad = "tie",
) -> Leaderboard:
    """Ranks the contestants of a votes file; without a file, those of this installation's arena.

    `base` is the contestant that the others are measured against, `min_votes` the fewest votes of one that is shown,
    `by` a column of the file to rank by besides all votes, `bootstrap` a number of resamples of the voters (0: the
    sandwich estimator) drawn with `seed`, `both_bad` how the scores of other methods count votes for "both bad".

    Raises:
        UnderstudyError: the file cannot be read, `base` is in no vote, or there are no votes at all.
    """
    if file is None:
        if by is not None:
            raise UnderstudyError(f"--by {by}: battles of the arena have no such column; give a votes file")
        engine = open_database(settings.database)
        read = VotesFile(arena_votes(engine), arena_left_out(engine), sides=True)
    else:
        read = read_votes(file, by=by)
    votes = read.votes
    if not votes.votes:
        raise UnderstudyError("no votes yet: vote in the arena (`understudy space`), or give a votes file")
    if base not in votes.contestants and base != BASE:
        names = ", ".join(sorted(votes.contestants)[:LISTED])
        raise UnderstudyError(f"--base {base}: no votes on it; contestants are {names}")
    cells = count_cells(votes)
    board = build_leaderboard(cells, base=base, min_votes=min_votes, sides=read.sides, resamples=bootstrap, seed=seed)
    rankings = other_rankings(cells, both_bad) | ({"elo": elo(votes, both_bad)} if read.ordered else {})
    notes = [*board.notes, *_notes(read, board.both_bad, both_bad)]
    return board.model_copy(update={"rankings": rankings, "left_out": read.left_out, "notes": notes})


def _notes(read: VotesFile, count: int, both_bad: BothBad) -> Iterator[LeaderboardNote]:
    """What must be known of the file, and of the scores of other methods."""
    for text in read.remarks:
        yield LeaderboardNote(code="unused", text=text)
    if read.repeats:
        text = (
            f"{read.repeats} rows are exact repeats of earlier rows; they are counted. Remove them if nobody cast them."
        )
        yield LeaderboardNote(code="repeats", text=text)
    if count and both_bad == "tie":
        text = (
            f"In the scores of other methods (--json) the {count} votes for both bad are half a win for each, as "
            "LMArena counts them; points and win rates here leave them out. With --both-bad out those scores do, too."
        )
        yield LeaderboardNote(code="both_bad", text=text)
    elif count:
        text = (
            f"The scores of other methods (--json) leave out the {count} votes for both bad. LMArena's scores "
            "count them as half a win for each: --both-bad tie."
        )
        yield LeaderboardNote(code="both_bad", text=text)
