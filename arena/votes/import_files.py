"""Votes files: our own columns (left, right, winner), and the forms in which arenas publish theirs.

Which columns mean what is in `COLUMNS`, which words mean which verdict in `WORDS`. Besides the plain form, a file may
have one column of 0 and 1 for each verdict (winner_model_a, winner_model_b, winner_tie), or counts of a pair's wins
(item_a, item_b, wins_a, wins_b, ties).
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arena.votes.counts import UNCATEGORISED, CountedVote, VoteTable, lean
from understudy.data.files import READERS, read_records
from understudy.data.records import DataRecord, shown
from understudy.errors import ExamplesError

COLUMNS = {
    "left": ("left", "model_a", "item_a"),
    "right": ("right", "model_b", "item_b"),
    "winner": ("winner", "verdict"),
    "category": ("category",),
    "voter": ("voter", "judge", "user", "session"),
    "order": ("order", "at", "time", "timestamp", "tstamp"),
    "left_length": ("left_length", "length_a"),
    "right_length": ("right_length", "length_b"),
    "left_text": ("left_text", "answer_a", "response_a", "conversation_a"),
    "right_text": ("right_text", "answer_b", "response_b", "conversation_b"),
    "blind": ("anony",),
    "left_won": ("winner_model_a",),
    "right_won": ("winner_model_b",),
    "tied": ("winner_tie",),
    "left_wins": ("wins_a",),
    "right_wins": ("wins_b",),
    "ties": ("ties",),
}
"""Names that a column may have, in any case; the first one that is there counts."""
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
}
"""Word in the column winner, in any case -> verdict. The name of one of the two contestants will do as well."""
MOST = 100_000_000
"""Most votes that one row of counts may stand for."""


@dataclass(frozen=True)
class VotesFile:
    """The votes of a file."""

    votes: VoteTable
    """In the order of the column `order`, `at`, `time`, ... where there is one, else of the file."""
    left_out: dict[str, int]
    """Rows that are no votes, by reason."""
    sides: bool
    """Whether left and right are sides of a screen; not in a table of counts."""


def read_votes(path: Path, *, by: str | None = None) -> VotesFile:
    """The votes in a CSV, TSV, JSONL, JSON or Parquet file; `by` names the column of the category.

    Raises:
        ExamplesError: the file cannot be read, a column is missing, or a row holds what is no vote.
    """
    left_out: Counter[str] = Counter()
    columns: dict[str, str] = {}
    votes: list[CountedVote] = []
    order: list[object] = []
    for record in _records(path):
        columns = columns or _columns(record, by)
        for vote in _votes(record, columns, left_out):
            votes.append(vote)
            if "order" in columns:
                order.append(_moment(record, columns["order"]))
    if not votes:
        raise ExamplesError(f"{shown(path)}: no votes in it ({_listed(left_out) or 'no rows'}); give another file")
    if order:
        votes = [votes[i] for i in _sorted(order, path)]
    return VotesFile(VoteTable.of(votes), dict(left_out), "left_wins" not in columns)


def _records(path: Path) -> Iterator[DataRecord]:
    if path.is_dir() or path.suffix.lower() not in READERS:
        found = "a folder" if path.is_dir() else shown(path.suffix) or "a name without a suffix"
        raise ExamplesError(f"{shown(path)}: {found}; give one {', '.join(READERS)} file of votes")
    try:
        yield from read_records(path)
    except ExamplesError as error:
        if error.code != "empty":
            raise
        text = f"{shown(path)}: no rows in it; write the columns left,right,winner and a vote a row"
        raise ExamplesError(text) from None


def _columns(record: DataRecord, by: str | None) -> dict[str, str]:
    """Our name of a column -> the file's."""
    there = {str(name).strip().casefold(): name for name in reversed(record.row)}
    found = {}
    for name, aliases in COLUMNS.items():
        column = next((there[alias] for alias in aliases if alias in there), None)
        if column is not None:
            found[name] = column
    listed = ", ".join(map(shown, record.row)) or "none"
    if by is not None:
        if by.casefold() not in there:
            raise ExamplesError(f"{record.origin}: no column {shown(by)} for --by; the file has {listed}")
        found["category"] = there[by.casefold()]
    for name in ("left", "right"):
        if name not in found:
            raise ExamplesError(
                f"{record.origin}: no column {name} (or {', '.join(COLUMNS[name][1:])}); found {listed}; rename it"
            )
    verdicts = ({"winner"}, {"left_won", "right_won"}, {"left_wins", "right_wins"})
    if not any(needed <= found.keys() for needed in verdicts):
        raise ExamplesError(f"{record.origin}: no column winner (left, right, tie or both_bad); found {listed}")
    return found


def _votes(record: DataRecord, columns: dict[str, str], left_out: Counter[str]) -> Iterator[CountedVote]:
    """The row's votes, equal ones as one."""
    left, right = (_name(record, columns[side]) for side in ("left", "right"))
    if left == right:
        left_out["the same contestant on both sides"] += 1
        return
    if "blind" in columns and str(record.row.get(columns["blind"])).strip().casefold() in ("false", "0"):
        left_out["not blind"] += 1
        return
    category = _label(record, columns.get("category"))
    voter = _label(record, columns.get("voter"))
    length = lean(_length(record, columns, "left"), _length(record, columns, "right"))
    verdicts = _verdicts(record, columns, left, right)
    if not verdicts:
        left_out["no verdict"] += 1
    for verdict, times in verdicts.items():
        yield CountedVote(left, right, verdict, category, voter, length, times)


def _verdicts(record: DataRecord, columns: dict[str, str], left: str, right: str) -> dict[str, int]:
    if "winner" in columns:
        verdict = _verdict(record, columns["winner"], left, right)
        return {verdict: 1} if verdict else {}
    if "left_wins" in columns:
        names = {"left": "left_wins", "right": "right_wins", "tie": "ties"}
        counts = {verdict: _count(record, columns[name]) for verdict, name in names.items() if name in columns}
        return {verdict: count for verdict, count in counts.items() if count}
    names = {"left": "left_won", "right": "right_won", "tie": "tied"}
    won = [verdict for verdict, name in names.items() if name in columns and _count(record, columns[name])]
    if len(won) > 1:
        raise ExamplesError(f"{record.origin}: {' and '.join(won)} are both 1; one of them is the verdict")
    return {won[0]: 1} if won else {}


def _verdict(record: DataRecord, column: str, left: str, right: str) -> str:
    value = record.row.get(column)
    text = "" if value is None else str(value).strip()
    if not text:
        return ""
    verdict = WORDS.get(text.casefold()) or {left: "left", right: "right"}.get(text)
    if verdict is None:
        raise ExamplesError(
            f"{record.origin}: {shown(column)} is {shown(text)[:60]!r}; write left, right, tie or both_bad "
            "(model_a, model_b and tie (bothbad) will do)"
        )
    return verdict


def _name(record: DataRecord, column: str) -> str:
    value = record.row.get(column)
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text:
        raise ExamplesError(f"{record.origin}: {shown(column)} names no contestant; write one, or remove the row")
    return text


def _label(record: DataRecord, column: str | None) -> str:
    value = record.row.get(column) if column else None
    if value is None:
        return UNCATEGORISED
    if isinstance(value, str | int | float):
        return str(value).strip()
    raise ExamplesError(f"{record.origin}: {shown(column)} is no text; write one word, or leave it empty")


def _count(record: DataRecord, column: str) -> int:
    number = _number(record, column)
    if number is None or number != int(number) or number > MOST:
        raise ExamplesError(f"{record.origin}: {shown(column)} must be a whole number from 0 to {MOST}")
    return int(number)


def _number(record: DataRecord, column: str) -> float | None:
    value = record.row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ExamplesError(f"{record.origin}: {shown(column)} is {shown(value)[:60]!r}; write a number from 0 up")
    return number


def _length(record: DataRecord, columns: dict[str, str], side: str) -> float | None:
    """From the column of lengths, else from the text itself, in characters."""
    if f"{side}_length" in columns:
        return _number(record, columns[f"{side}_length"])
    column = columns.get(f"{side}_text")
    value = record.row.get(column) if column else None
    if value is None:
        return None
    if isinstance(value, str):
        return len(value.strip())
    if isinstance(value, list):
        return sum(_said(turn) for turn in value)
    raise ExamplesError(f"{record.origin}: {shown(column)} is neither a text nor a list of messages")


def _said(turn: object) -> int:
    """Characters of an answer in a conversation; what the user said does not count."""
    if isinstance(turn, dict):
        content = turn.get("content")
        return len(str(content).strip()) if content is not None and turn.get("role") == "assistant" else 0
    return len(str(turn).strip())


def _moment(record: DataRecord, column: str) -> object:
    value = record.row.get(column)
    if value is None or value == "":
        raise ExamplesError(f"{record.origin}: {shown(column)} is empty, but other votes have their time; write it")
    return value


def _sorted(order: list[object], path: Path) -> list[int]:
    try:
        keys: list = [float(str(value)) for value in order]
    except ValueError:
        keys = order if len({type(value) for value in order}) == 1 else [str(value) for value in order]
    try:
        return sorted(range(len(keys)), key=keys.__getitem__)
    except TypeError:
        raise ExamplesError(f"{shown(path)}: the times of the votes cannot be put in order; write numbers") from None


def _listed(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} × {reason}" for reason, count in left_out.items())
