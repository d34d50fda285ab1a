"""The arena's votes, counted once and kept in memory: for the draw of the next pair and for the leaderboard."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from arena.ranking.leaderboard import MIN_VOTES, build_leaderboard
from arena.ranking.leaderboard_records import Leaderboard
from arena.votes.counts import ArenaCounts, Cells
from arena.votes.votes import left_out

FRESH = 10.0
"""Seconds for which the draw of pairs uses the counts that it has."""


@dataclass(frozen=True)
class CachedCounts:
    """The votes at one moment."""

    cells: Cells
    at: float


class LeaderboardCache:
    """Reads only new votes. Safe to call from several threads; every method blocks."""

    def __init__(
        self, engine: Engine, *, min_votes: int = MIN_VOTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._min_votes = min_votes
        self._counts = ArenaCounts(engine)
        self._clock = clock
        self._lock = threading.Lock()
        self._last: CachedCounts | None = None
        self._board: tuple[Cells, dict[str, int], Leaderboard] | None = None

    def cells(self) -> Cells:
        """The counts, at most `FRESH` seconds old."""
        with self._lock:
            if self._last is None or self._clock() - self._last.at > FRESH:
                self._last = CachedCounts(self._counts.refresh(), self._clock())
            return self._last.cells

    def board(self) -> Leaderboard:
        """Every figure, with all votes of this moment; computed again only when the votes have changed."""
        with self._lock:
            not_counted = left_out(self._engine)
            cells = self._counts.refresh()
            self._last = CachedCounts(cells, self._clock())
            if self._board is None or self._board[0] is not cells or self._board[1] != not_counted:
                board = build_leaderboard(cells, min_votes=self._min_votes)
                self._board = (cells, not_counted, board.model_copy(update={"left_out": not_counted}))
            return self._board[2]
