"""Times of votes, to put votes in order: numbers, dates of any usual form, with a zone or without.

A date such as 9/1/2024 has its day first or its month first, as the other dates of the file decide; where none does,
or where votes disagree, the file is refused, because any guess would put the votes in a wrong order.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np

from arena.votes.vote_values import JsonTexts, Values, is_empty, objects
from understudy.data.records import shown

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?"
DAY = (
    r"(?P<y>\d{4})(?P<sep>[-/.])(?P<m>\d{1,2})(?P=sep)(?P<d>\d{1,2})"
    r"|(?P<one>\d{1,2})(?P<by>[-/.])(?P<two>\d{1,2})(?P=by)(?P<y2>\d{4})"
    r"|(?P<mon>[a-z]{3,9})\.?\s+(?P<d3>\d{1,2}),?\s+(?P<y3>\d{4})"
    r"|(?P<d4>\d{1,2})[ -](?P<mon4>[a-z]{3,9})\.?[ -](?P<y4>\d{4})"
)
CLOCK = r"(?P<h>\d{1,2}):(?P<min>\d{2})(?::(?P<s>\d{2})(?P<part>[.,]\d+)?)?(?:\s*(?P<half>[ap])\.?m\.?)?"
ZONE = r"(?P<zone>z|utc|gmt|(?:utc|gmt)?[+-]\d{2}(?::?\d{2})?)"
MOMENT = re.compile(rf"{WEEKDAY}(?:{DAY})(?:(?:t|,?\s+){CLOCK}(?:\s*{ZONE})?)?", re.IGNORECASE)
MILLISECONDS = 1e11
"""Numbers from here on are times in milliseconds or finer, if others lie between `SECONDS` and this."""
SECONDS = 1e8
ADVICE = "write numbers, or dates like 2024-09-01T10:00:00Z"


class BadTimeError(ValueError):
    """A time that cannot be put in order; `row` is the number of its vote."""

    def __init__(self, row: int, text: str) -> None:
        super().__init__(text)
        self.row = row


@dataclass(frozen=True)
class _Dates:
    """The two readings of a text; they differ where only the file can say which number is the month."""

    month_first: datetime | None
    day_first: datetime | None


def order_of(columns: "Sequence[Values | None]", sizes: Sequence[int]) -> np.ndarray | None:
    """One number a vote, larger for later ones, from the times of portions of votes; None when no vote has a time.

    Raises:
        BadTimeError: a vote lacks its time, a value is no time, or the times cannot be compared with each other.
    """
    if all(column is None for column in columns):
        return None
    for read in (_as_numbers, _as_moments):
        parts = [part for column in columns if column is not None and (part := read(column)) is not None]
        if len(parts) == len(columns):
            return numbers_in_order(np.concatenate(parts))
    values: list[object] = []
    for column, size in zip(columns, sizes, strict=True):
        values += [None] * size if column is None else objects(column)
    empty = [is_empty(value) for value in values]
    if all(empty):
        return None
    if any(empty):
        raise BadTimeError(empty.index(True), "is empty, but other votes have their time; write it")
    return order_keys(values)


def _as_numbers(values: Values) -> np.ndarray | None:
    """The values of a pyarrow column as numbers, if all are."""
    if isinstance(values, list | JsonTexts):
        return None
    import pyarrow as pa
    from pyarrow import compute

    if values.null_count or pa.types.is_boolean(values.type) or pa.types.is_temporal(values.type):
        return None
    try:
        return compute.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        return None


def _as_moments(values: Values) -> np.ndarray | None:
    """The values of a pyarrow column of dates without a zone, as ISO 8601 writes them, in seconds."""
    if isinstance(values, list | JsonTexts):
        return None
    import pyarrow as pa
    from pyarrow import compute

    if values.null_count or not (pa.types.is_string(values.type) or pa.types.is_timestamp(values.type)):
        return None
    if pa.types.is_timestamp(values.type) and values.type.tz:
        return None
    try:
        moments = compute.cast(values, pa.timestamp("us"), safe=False)
    except pa.ArrowException:
        return None
    return compute.cast(moments, pa.int64()).to_numpy(zero_copy_only=False) / 1e6


def order_keys(values: Sequence[object]) -> np.ndarray:
    """One number a vote, larger for later ones. Values are numbers, texts, dates, or None.

    Raises:
        BadTimeError: a value is no time, or the times cannot be compared with each other.
    """
    kinds: dict[str, int] = {}
    read = []
    for row, value in enumerate(values):
        kind, moment = _read(value, row)
        kinds.setdefault(kind, row)
        read.append(moment)
    _require_one_kind(kinds, values)
    if "number" in kinds:
        return numbers_in_order(np.array(read, float))
    return _in_order(read, values)


def numbers_in_order(numbers: np.ndarray) -> np.ndarray:
    """The same numbers.

    Raises:
        BadTimeError: one is not finite, or some are seconds since 1970 and others milliseconds.
    """
    if (bad := ~np.isfinite(numbers)).any():
        raise BadTimeError(int(bad.argmax()), f"is {numbers[bad][0]}; {ADVICE}")
    seconds, finer = (numbers >= SECONDS) & (numbers < MILLISECONDS), numbers >= MILLISECONDS
    if seconds.any() and finer.any():
        row = int(finer.argmax() if seconds[0] else seconds.argmax())
        text = f"is {numbers[row]:.0f}, and others are seconds where this is milliseconds, or the other way round"
        raise BadTimeError(row, f"{text}; write one unit")
    return numbers


def _read(value: object, row: int) -> tuple[str, float | _Dates]:
    if isinstance(value, bool):
        raise BadTimeError(row, f"is {value}; {ADVICE}")
    if isinstance(value, int | float):
        return "number", float(value)
    if isinstance(value, datetime):
        return ("zoned" if value.tzinfo else "local"), _Dates(value, value)
    if isinstance(value, date):
        moment = datetime(value.year, value.month, value.day)
        return "local", _Dates(moment, moment)
    text = value.strip() if isinstance(value, str) else ""
    number = _number(text)
    if number is not None:
        return "number", number
    found = _dates(text)
    if found is None:
        raise BadTimeError(row, f"is {shown(value)[:60]!r}, which is no time that we read; {ADVICE}")
    either = found.month_first or found.day_first
    return ("zoned" if either and either.tzinfo else "local"), found


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


def _dates(text: str) -> _Dates | None:
    found = MOMENT.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    if part["y"]:
        days = [(part["y"], part["m"], part["d"])] * 2
    elif part["y2"]:
        day_first = (part["y2"], part["two"], part["one"])
        days = [day_first if part["by"] == "." else (part["y2"], part["one"], part["two"]), day_first]
    else:
        name = (part["mon"] or part["mon4"]).casefold()[:3]
        month = str(MONTHS.index(name) + 1) if name in MONTHS else "0"
        days = [(part["y3"] or part["y4"], month, part["d3"] or part["d4"])] * 2
    month_first, day_first = (_moment(day, part) for day in days)
    return _Dates(month_first, day_first) if month_first or day_first else None


def _moment(day: tuple[str, str, str], part: dict[str, str | None]) -> datetime | None:
    hour = int(part["h"] or 0)
    if part["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if part["half"].casefold() == "p" else 0)
    fraction = float("0." + part["part"][1:]) if part["part"] else 0.0
    try:
        year, month, number = map(int, day)
        moment = datetime(year, month, number, hour, int(part["min"] or 0), int(part["s"] or 0))
        return (moment + timedelta(seconds=fraction)).replace(tzinfo=_zone(part["zone"]))
    except (ValueError, OverflowError):
        return None


def _zone(text: str | None) -> timezone | None:
    if not text:
        return None
    offset = re.sub("(?i)utc|gmt|z|:", "", text)
    if not offset:
        return UTC
    minutes = 60 * int(offset[1:3]) + int(offset[3:5] or 0)
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _require_one_kind(kinds: dict[str, int], values: Sequence[object]) -> None:
    if len(kinds) < 2:
        return
    (one, _), (other, second) = sorted(kinds.items(), key=lambda item: item[1])[:2]
    words = {"number": "a number", "zoned": "a date with a zone", "local": "a date without a zone"}
    text = f"is {shown(values[second])[:60]!r}, {words[other]}, where others are {words[one]}; write all alike"
    raise BadTimeError(second, text)


def _in_order(read: list[_Dates], values: Sequence[object]) -> np.ndarray:
    """Seconds, with days and months as all the file's dates allow."""
    readings = {
        "month_first": next((row for row, one in enumerate(read) if one.month_first is None), None),
        "day_first": next((row for row, one in enumerate(read) if one.day_first is None), None),
    }
    fits = [name for name, against in readings.items() if against is None]
    if not fits:
        row = max(row for row in readings.values() if row is not None)
        text = f"is {shown(values[row])[:60]!r}, but other dates have day and month the other way round"
        raise BadTimeError(row, f"{text}; {ADVICE}")
    if len(fits) == 2:
        unclear = next((row for row, one in enumerate(read) if one.month_first != one.day_first), None)
        if unclear is not None:
            text = f"is {shown(values[unclear])[:60]!r}: is the day or the month first? No date of the file says"
            raise BadTimeError(unclear, f"{text}; {ADVICE}")
    start = datetime(1970, 1, 1)
    moments = [getattr(one, fits[0]) for one in read]
    return np.array([(m - (start.replace(tzinfo=UTC) if m.tzinfo else start)).total_seconds() for m in moments])
