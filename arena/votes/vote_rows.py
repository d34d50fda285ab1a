"""The votes of a chunk of a file: who met whom, the verdict, and what else a row says, checked and encoded."""

import ast
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from arena.votes.answer_length import NoTextError, answer_length
from arena.votes.arena_logs import NO_VERDICT
from arena.votes.counts import UNCATEGORISED, Codebook
from arena.votes.vote_chunks import Chunk
from arena.votes.vote_columns import COUNTS, FLAGS
from arena.votes.vote_values import BadVoteError, each, encode, is_empty
from arena.votes.votes import VERDICTS
from understudy.data.records import shown

WORDS = {
    "left": "left",
    "model_a": "left",
    "right": "right",
    "model_b": "right",
    "tie": "tie",
    "both_bad": "both_bad",
    "both bad": "both_bad",
    "bothbad": "both_bad",
    "tie (bothbad)": "both_bad",
    "tie(bothbad)": "both_bad",
}
"""Word in the column winner, in any case -> verdict. The name of one of the two contestants will do as well."""
TRUTHS = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
MOST = 100_000_000
"""Most votes that one row of counts may stand for."""


@dataclass(frozen=True)
class ChunkVotes:
    """Votes in columns, as in `VoteTable`; `row` is the row of the chunk that each stands in."""

    row: np.ndarray
    left: np.ndarray
    right: np.ndarray
    verdict: np.ndarray
    category: np.ndarray
    voter: np.ndarray
    lean: np.ndarray
    times: np.ndarray


def votes_of(chunk: Chunk, columns: dict[str, str], codebook: Codebook, left_out: Counter[str]) -> ChunkVotes:
    """The chunk's votes; rows that are none are counted in `left_out`, by reason.

    Raises:
        BadVoteError: a row cannot be understood.
    """
    rows = _ChunkRows(chunk, columns, left_out)
    rows.leave_out_what_is_no_battle()
    names = [UNCATEGORISED]
    left, right = rows.labels("left", names, needed=True), rows.labels("right", names, needed=True)
    rows.leave_out(left == right, "the same contestant on both sides")
    row, verdict, times = rows.verdicts(left, right, names)
    categories, voters = [UNCATEGORISED], [UNCATEGORISED]
    category, voter = rows.labels("category", categories)[row], rows.labels("voter", voters)[row]
    return ChunkVotes(
        row=row,
        left=_registered(left[row], names, codebook.contestants),
        right=_registered(right[row], names, codebook.contestants),
        verdict=verdict.astype(np.int8),
        category=_registered(category, categories, codebook.categories),
        voter=np.where(voter, _registered(voter, voters, codebook.voters, ignore=0), -1).astype(np.int32),
        lean=rows.leans()[row],
        times=times,
    )


def _registered(codes: np.ndarray, names: list[str], known: dict[str, int], *, ignore: int | None = None) -> np.ndarray:
    """The codes that `known` has for the same names; new names get their codes there, in the order of the rows."""
    used, first = np.unique(codes, return_index=True)
    places = np.full(len(names), -1, np.int32)
    for code in used[np.argsort(first)].tolist():
        if code != ignore:
            places[code] = known.setdefault(names[code], len(known))
    return places[codes]


class _ChunkRows:
    """The rows of a chunk, and which of them may be votes."""

    def __init__(self, chunk: Chunk, columns: dict[str, str], left_out: Counter[str]) -> None:
        self._chunk, self._columns, self._left_out = chunk, columns, left_out
        self._keep = np.ones(chunk.size, bool)

    def leave_out(self, rows: np.ndarray, reason: str) -> None:
        """Notes that those rows are no votes."""
        count = int((rows & self._keep).sum())
        if count:
            self._left_out[reason] += count
            self._keep &= ~rows

    def leave_out_what_is_no_battle(self) -> None:
        """Rows of a log that are no votes, rows that their publisher left out, and battles that were not blind."""
        if NO_VERDICT in self._chunk.columns:
            codes, reasons = encode(self._chunk.columns[NO_VERDICT])
            for code, reason in enumerate(reasons):
                if reason is not None:
                    self.leave_out(np.equal(codes, code), str(reason))
        self.leave_out(~self._each("sampled", _is_sampled, True), "not sampled (dedup_tag)")
        self.leave_out(~self._each("blind", _is_true, True), "not blind")

    def labels(self, name: str, labels: list[str], *, needed: bool = False) -> np.ndarray:
        """For each row the place of its value in `labels`, which is extended by new ones; 0 for an empty one."""
        column = self._columns.get(name)
        if column is None or column not in self._chunk.columns:
            return np.zeros(self._chunk.size, np.int64)
        codes, distinct = encode(self._chunk.columns[column])
        known = {label: place for place, label in enumerate(labels)}
        places = np.zeros(max(1, len(distinct)), np.int64)
        for code, value in enumerate(distinct):
            label = value.strip() if type(value) is str else _label(value)
            if label is None or (needed and (not label or isinstance(value, bool | float))):
                self._refuse(codes == code, name, value)
                continue
            places[code] = known.setdefault(label, len(known))
        labels[:] = known
        return places[codes] if len(codes) else np.zeros(0, np.int64)

    def _refuse(self, rows: np.ndarray, name: str, value: object) -> None:
        bad = rows & self._keep
        if not bad.any():
            return
        column = shown(self._columns[name])
        if name in ("left", "right"):
            found = "" if is_empty(value) else f" but holds {shown(value)[:60]!r}"
            raise BadVoteError(int(bad.argmax()), f"{column} names no contestant{found}; write one, or remove the row")
        raise BadVoteError(int(bad.argmax()), f"{column} is no text; write one word, or leave it empty")

    def verdicts(
        self, left: np.ndarray, right: np.ndarray, names: list[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The row of each vote, its verdict as a code, and how many such votes there are."""
        if "left_wins" in self._columns:
            return self._counted()
        won = self._by_word(left, right, names) if "winner" in self._columns else self._by_flags()
        self.leave_out(won < 0, "no verdict")
        row = np.flatnonzero(self._keep)
        return row, won[row], np.ones(len(row), np.int64)

    def _by_word(self, left: np.ndarray, right: np.ndarray, names: list[str]) -> np.ndarray:
        column = self._columns["winner"]
        codes, distinct = encode(self._chunk.columns[column])
        words = ["" if is_empty(value) else str(value).strip() for value in distinct]
        place = {name: code for code, name in enumerate(names) if name}
        by_word = np.array([_word(word) for word in words])[codes]
        winner = np.array([place.get(word, -1) for word in words])[codes]
        by_name = np.where(winner < 0, -1, np.where(winner == left, 0, np.where(winner == right, 1, -1)))
        some = np.array([bool(word) for word in words])[codes] & self._keep
        unknown, twofold = some & (by_word < 0) & (by_name < 0), some & (by_word >= 0) & (by_name >= 0)
        twofold &= by_word != by_name
        if (unknown | twofold).any():
            row = int((unknown | twofold).argmax())
            found = f"{shown(column)} is {shown(words[codes[row]])[:60]!r}"
            if twofold[row]:
                raise BadVoteError(row, f"{found}, a verdict and a contestant's name; write model_a, model_b or tie")
            remedy = "write left, right, tie or both_bad (model_a, model_b and tie (bothbad) will do)"
            raise BadVoteError(row, f"{found}; {remedy}")
        return np.where(by_word >= 0, by_word, by_name)

    def _by_flags(self) -> np.ndarray:
        flags = {verdict: self._each(name, _is_flag, False) for verdict, name in FLAGS.items() if name in self._columns}
        table = np.stack(list(flags.values()), axis=1)
        twice = (table.sum(axis=1) > 1) & self._keep
        if twice.any():
            row = int(twice.argmax())
            named = " and ".join(verdict for verdict, there in zip(flags, table[row], strict=True) if there)
            raise BadVoteError(row, f"{named} are both 1; one of them is the verdict")
        codes = np.array([VERDICTS.index(verdict) for verdict in flags])
        return np.where(table.any(axis=1), codes[table.argmax(axis=1)], -1)

    def _counted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        table = np.zeros((self._chunk.size, len(VERDICTS)), np.int64)
        for verdict, name in COUNTS.items():
            if name in self._columns:
                table[:, VERDICTS.index(verdict)] = self._each(name, _count, 0)
        self.leave_out(np.logical_not(table.any(axis=1)), "no verdict")
        row, verdict = np.nonzero(table * self._keep[:, None])
        return row, verdict, table[row, verdict]

    def leans(self) -> np.ndarray:
        """How much longer the left answer is: see `arena.votes.counts.lean`."""
        if all(f"{side}_length" in self._columns for side in ("left", "right")):
            left, right = (self._each(f"{side}_length", _number, math.nan) for side in ("left", "right"))
        elif all(f"{side}_text" in self._columns for side in ("left", "right")):
            left, right = (self._text_lengths(f"{side}_text") for side in ("left", "right"))
        else:
            return np.full(self._chunk.size, math.nan)
        both = left + right
        return np.where(both == 0, 0.0, (left - right) / np.where(both == 0, 1.0, both))

    def _text_lengths(self, name: str) -> np.ndarray:
        column = self._columns[name]
        found = np.full(self._chunk.size, math.nan)
        for row, value in enumerate(each(self._chunk.columns[column])):
            if not self._keep[row]:
                continue
            try:
                length = answer_length(value)
            except NoTextError as error:
                raise BadVoteError(row, f"{shown(column)} {error}") from None
            found[row] = math.nan if length is None else length
        return found

    def _each(self, name: str, read: Callable[[object], object], absent: bool | float) -> np.ndarray:
        """`read` of each value of the column, `absent` where the file has no such column."""
        column = self._columns.get(name)
        if column is None or column not in self._chunk.columns:
            return np.full(self._chunk.size, absent)
        codes, distinct = encode(self._chunk.columns[column])
        found = np.full(max(1, len(distinct)), absent)
        for code, value in enumerate(distinct):
            try:
                found[code] = read(value)
            except ValueError as error:
                rows = (codes == code) & self._keep
                if rows.any():
                    raise BadVoteError(int(rows.argmax()), f"{shown(column)} {error}") from None
        return found[codes] if len(codes) else found[:0]


def _word(word: str) -> int:
    verdict = WORDS.get(word.casefold())
    return VERDICTS.index(verdict) if verdict else -1


def _label(value: object) -> str | None:
    """The value as a label; None if it cannot be one."""
    if is_empty(value):
        return UNCATEGORISED
    return str(value).strip() if isinstance(value, str | int | float) else None


def _is_true(value: object) -> bool:
    """True unless the value says no; an empty one does not."""
    if is_empty(value):
        return True
    truth = TRUTHS.get(str(value).strip().casefold())
    if truth is None:
        raise ValueError(f"is {shown(value)[:60]!r}; write true or false")
    return truth


def _is_sampled(value: object) -> bool:
    """Whether LMArena's dedup_tag, an object or its text, or a plain true or false, keeps the row."""
    if isinstance(value, str) and value.strip().startswith("{"):
        value = _tag(value)
    if isinstance(value, dict):
        return _is_true(value.get("sampled", False))
    return _is_true(value)


def _tag(text: str) -> object:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError):
            continue
    raise ValueError(f"is {shown(text)[:60]!r}; write an object with sampled: true or false")


def _is_flag(value: object) -> bool:
    if is_empty(value):
        return False
    truth = TRUTHS.get(str(value).strip().casefold())
    if truth is None:
        raise ValueError(f"is {shown(value)[:60]!r}; write 0 or 1")
    return truth


def _count(value: object) -> int:
    number = _number(value)
    if number != number or number != int(number) or number > MOST:
        raise ValueError(f"must be a whole number from 0 to {MOST}")
    return int(number)


def _number(value: object) -> float:
    """NaN for an empty value."""
    if is_empty(value):
        return math.nan
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"is {shown(value)[:60]!r}; write a number from 0 up")
    return number
