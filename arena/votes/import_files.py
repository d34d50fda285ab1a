"""Votes files: our own columns (left, right, winner), and the forms in which arenas publish theirs.

Which columns mean what is in `arena.votes.vote_columns`, which words mean which verdict in `arena.votes.vote_rows`.
Besides the plain form, a file may have one column of 0 and 1 for each verdict (winner_model_a, winner_model_b,
winner_tie), counts of a pair's wins (item_a, item_b, wins_a, wins_b, ties), or be a log of FastChat or Open WebUI
(`arena.votes.arena_logs`).
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from arena.votes.arena_logs import UNSIDED
from arena.votes.counts import COLUMNS, Codebook, VoteTable, steps_of
from arena.votes.vote_chunks import JSON_SUFFIXES, Chunk, NotInColumnsError, chunks, fast_chunks, origin_of
from arena.votes.vote_columns import find_columns, is_needed, lone_columns
from arena.votes.vote_repeats import count_repeats, suspects, tells_votes_apart
from arena.votes.vote_rows import ChunkVotes, votes_of
from arena.votes.vote_times import BadTimeError, order_of
from arena.votes.vote_values import BadVoteError, Values, compact, taken
from understudy.data.records import shown
from understudy.errors import ExamplesError


@dataclass(frozen=True)
class VotesFile:
    """The votes of a file."""

    votes: VoteTable
    """In the order of the column `order`, `at`, `time`, ... where there is one, else of the file."""
    left_out: dict[str, int]
    """Rows that are no votes, by reason."""
    sides: bool
    """Whether left and right are sides of a screen; not in a table of counts."""
    ordered: bool = True
    """Whether the votes have an order, which a table of counts has not."""
    repeats: int = 0
    """Votes whose row repeats an earlier one exactly, where rows have anything that tells votes apart."""
    remarks: tuple[str, ...] = ()
    """What a reader must know about columns that were not used."""


def read_votes(path: Path, *, by: str | None = None) -> VotesFile:
    """The votes in a CSV, TSV, JSONL, JSON or Parquet file; `by` names the column of the category.

    Raises:
        ExamplesError: the file cannot be read, a column is missing, or a row holds what is no vote.
    """
    fast = fast_chunks(path, lambda name: is_needed(name, by))
    try:
        return _read_whole(path, by, fast)
    except NotInColumnsError:
        return _FileReading(path, by).of(chunks(path))


def _read_whole(path: Path, by: str | None, fast: Iterable[Chunk]) -> VotesFile:
    """As `_FileReading.of`; of JSON, errors in the syntax come before errors in the votes, wherever they are."""
    fast = iter(fast)
    try:
        return _FileReading(path, by).of(fast)
    except ExamplesError:
        if path.suffix.lower() in JSON_SUFFIXES:
            deque(fast, maxlen=0)
        raise


class _FileReading:
    """What was read of a file so far."""

    def __init__(self, path: Path, by: str | None) -> None:
        self._path, self._by = path, by
        self._codebook, self._left_out = Codebook(), Counter[str]()
        self._columns: dict[str, str] = {}
        self._parts: list[ChunkVotes] = []
        self._heads: list[Chunk] = []
        self._times: list[Values | None] = []

    def of(self, read: Iterable[Chunk]) -> VotesFile:
        """The file's votes."""
        unsided = False
        for chunk in read:
            self._add(chunk)
            unsided = unsided or UNSIDED in chunk.columns
        rows = np.concatenate([head.first + part.row for head, part in self._pairs()] or [np.zeros(0, np.int64)])
        if not len(rows):
            reasons = ", ".join(f"{count} × {reason}" for reason, count in self._left_out.items()) or "no rows"
            raise ExamplesError(f"{shown(self._path)}: no votes in it ({reasons}); give another file")
        table, keys = self._table(), self._order()
        counted = "left_wins" in self._columns
        repeats = 0 if counted else self._repeats(rows, table, keys)
        if keys is not None:
            table = _in_order(table, np.argsort(keys, kind="stable"))
        return VotesFile(
            votes=table,
            left_out=dict(self._left_out),
            sides=not counted and not unsided,
            ordered=not counted,
            repeats=repeats,
            remarks=tuple(lone_columns(self._columns)),
        )

    def _add(self, chunk: Chunk) -> None:
        if not chunk.size:
            return
        columns = find_columns(chunk.names, lambda: origin_of(self._path, chunk, 0), self._by)
        self._columns |= columns
        try:
            votes = votes_of(chunk, columns, self._codebook, self._left_out)
        except BadVoteError as error:
            raise ExamplesError(f"{origin_of(self._path, chunk, error.row)}: {error}") from None
        self._parts.append(votes)
        times = chunk.columns.get(columns["order"]) if "order" in columns else None
        self._times.append(None if times is None else compact(taken(times, votes.row)))
        self._heads.append(replace(chunk, columns={}))

    def _pairs(self) -> Iterable[tuple[Chunk, ChunkVotes]]:
        return zip(self._heads, self._parts, strict=True)

    def _table(self) -> VoteTable:
        lean = _joined([part.lean for part in self._parts])
        codes = {
            name: _joined([getattr(part, name) for part in self._parts])
            for name in ("left", "right", "verdict", "category", "voter", "times")
        }
        book = self._codebook
        names = (tuple(book.contestants), tuple(book.categories), tuple(book.voters))
        step = steps_of(lean[:1]) if lean.strides == (0,) else steps_of(lean)
        return VoteTable(*names, **codes, lean=lean, step=np.broadcast_to(step, lean.shape))

    def _order(self) -> np.ndarray | None:
        """A number a vote, larger for later ones; None when the file has no times."""
        sizes = [len(part.row) for part in self._parts]
        try:
            return order_of(self._times, sizes)
        except BadTimeError as error:
            ends = np.cumsum(sizes)
            place = int(np.searchsorted(ends, error.row, side="right"))
            row = int(self._parts[place].row[error.row - (ends[place] - sizes[place])])
            column = shown(self._columns["order"])
            raise ExamplesError(f"{origin_of(self._path, self._heads[place], row)}: {column} {error}") from None

    def _repeats(self, rows: np.ndarray, table: VoteTable, keys: np.ndarray | None) -> int:
        if not tells_votes_apart(self._columns, self._heads[0].names):
            return 0
        columns = [table.left, table.right, table.verdict, table.voter, table.lean]
        found = suspects(rows, *columns, *([] if keys is None else [keys]))
        if not len(found):
            return 0
        try:
            return count_repeats(fast_chunks(self._path, lambda _: True), found)
        except NotInColumnsError:
            return count_repeats(chunks(self._path), found)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One after the other; a column of one value takes no memory."""
    whole = np.concatenate(parts)
    alike = bool(np.isnan(whole).all() if whole.dtype.kind == "f" else (whole == whole[0]).all())
    return np.broadcast_to(whole[:1].copy(), whole.shape) if alike else whole


def _in_order(table: VoteTable, order: np.ndarray) -> VoteTable:
    columns = {name: getattr(table, name) for name in COLUMNS}
    return replace(table, **{name: one if one.strides == (0,) else one[order] for name, one in columns.items()})
