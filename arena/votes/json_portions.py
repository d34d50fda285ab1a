"""Rows of large JSON files as a stream: a list of objects, or an object a line, with their values as the file has them.

Only rows that look like no earlier one are parsed; the others are taken apart by a pattern (`arena.votes.json_shapes`).
In a file with anything amiss it raises NotStreamedError: another reader has to read it, or to say what is wrong.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from arena.votes.json_shapes import RowForm, RowShape
from understudy.data.files import UTF8_MARK

BLOCK = 4 << 20
"""Bytes that are read at a time."""
LONGEST_ROW = 64 << 20
"""Characters; a file with a longer row is not read as a stream."""
WINDOW = 1 << 14
"""Characters in which rows of one shape are looked for at first."""
MOST_SHAPES = 16
"""Different sequences of keys of a row that are learned."""
MOST_LESSONS = 64
"""How often a pattern is made anew."""
SPACE = " \t\n\r"
NULL = "null"
LINE = RowForm(space=r"[ \t\r]*+", end=r"\n")
ITEM = RowForm(space=r"[ \t\n\r]*+", end=r"(?:,(?=[ \t\n\r]*+\{)|(?=\]))")


class NotStreamedError(Exception):
    """The file is not read as a stream, for its form or for an error in it."""


@dataclass
class RowRun:
    """Rows one after the other with the same keys."""

    first: int
    """The number of the first one, from 1: its row in a list, its line in lines."""
    names: tuple[str, ...]
    wanted: tuple[str, ...]
    values: list[tuple[str, ...]]
    """Of each row the JSON of the wanted values, and more behind it."""


@dataclass(frozen=True)
class Portion:
    """Some rows of a file, in columns."""

    size: int
    names: tuple[str, ...]
    """All keys of the rows, in the order in which they come up."""
    columns: dict[str, list[str]]
    """The JSON of the wanted values; null where a row lacks one."""
    numbers: tuple[range, ...]
    """The numbers of the rows, as few ranges."""


@dataclass(frozen=True)
class JsonForm:
    """How rows are written, and what is wanted of them."""

    lines: bool
    """An object a line; else one list of objects."""
    wanted: Callable[[str], bool]
    """Whether the column of that name is needed."""
    accepts: Callable[[dict], bool]
    """Asked of the first row: whether such rows are read here."""


def portions(path: Path, form: JsonForm, size: int) -> Iterator[Portion]:
    """The rows of the file, `size` at a time.

    Raises:
        NotStreamedError: see there.
    """
    pending: list[RowRun] = []
    count = 0
    for run in _Stream(form).runs(path):
        last = pending[-1] if pending else None
        if last and last.names == run.names and last.first + len(last.values) == run.first:
            last.values += run.values
        else:
            pending.append(run)
        count += len(run.values)
        while count >= size:
            rest = _split(pending[-1], len(pending[-1].values) - (count - size))
            yield _in_columns(pending)
            pending, count = [rest], len(rest.values)
    if count:
        yield _in_columns(pending)


def _split(run: RowRun, kept: int) -> RowRun:
    """Cuts the run after `kept` rows; the rest of it."""
    rest = RowRun(run.first + kept, run.names, run.wanted, run.values[kept:])
    del run.values[kept:]
    return rest


def _in_columns(runs: list[RowRun]) -> Portion:
    runs = [run for run in runs if run.values]
    names = tuple(dict.fromkeys(name for run in runs for name in run.names))
    columns: dict[str, list[str]] = {name: [] for run in runs for name in run.wanted}
    for run in runs:
        for name, values in columns.items():
            there = name in run.wanted
            values += map(itemgetter(run.wanted.index(name)), run.values) if there else [NULL] * len(run.values)
    return Portion(sum(len(run.values) for run in runs), names, columns, _numbers(runs))


def _numbers(runs: list[RowRun]) -> tuple[range, ...]:
    found: list[range] = []
    for run in runs:
        first, end = run.first, run.first + len(run.values)
        if found and found[-1].stop == first:
            first = found.pop().start
        found.append(range(first, end))
    return tuple(found)


class _Stream:
    """What was read and not yet used of a file, and what was learned of its rows."""

    def __init__(self, form: JsonForm) -> None:
        self._form = form
        self._shapes: dict[tuple[str, ...], RowShape] = {}
        self._lessons = 0
        self._text, self._at, self._ended = "", 0, False
        self._number = 1
        self._window = WINDOW
        self._decoder = json.JSONDecoder(object_pairs_hook=_without_repeats)

    def runs(self, path: Path) -> Iterator[RowRun]:
        """The rows, in their order.

        Raises:
            NotStreamedError: see there.
        """
        try:
            yield from self._runs(path)
        except (ValueError, RecursionError):
            raise NotStreamedError from None

    def _runs(self, path: Path) -> Iterator[RowRun]:
        begun = self._form.lines
        for block in _blocks(path):
            self._ended = not block
            self._text, self._at = self._text[self._at :] + block, 0
            if self._ended and self._form.lines:
                self._text += "\n"
            if not begun and (begun := bool(self._text.strip(SPACE))):
                self._at = self._next_sign(0) + 1
            while begun and (run := self._next_run()):
                yield run
            if len(self._text) - self._at > LONGEST_ROW:
                raise NotStreamedError
        if self._text[self._at :].strip(SPACE) != ("" if self._form.lines else "]"):
            raise NotStreamedError

    def _next_run(self) -> RowRun | None:
        """The next row, and those of the same shape after it; None where more of the file is needed, or at its end."""
        shape = next((one for one in self._shapes.values() if one.row.match(self._text, self._at)), None)
        if shape is None:
            return self._parsed_line() if self._form.lines else self._parsed_item()
        rows, after = [], self._at
        while not rows:
            end = min(self._at + self._window, len(self._text))
            rows, after = shape.found(self._text, self._at, end)
            self._window = 2 * self._window if not rows or 2 * (after - self._at) > self._window else WINDOW
        self._at = after
        return self._run(shape, rows)

    def _run(self, shape: RowShape, rows: list[tuple[str, ...]]) -> RowRun:
        first, self._number = self._number, self._number + len(rows)
        return RowRun(first, shape.names, shape.wanted, rows)

    def _parsed_line(self) -> RowRun | None:
        while (end := self._text.find("\n", self._at)) >= 0:
            line = self._text[self._at : end]
            self._at = end + 1
            if line.strip():
                return self._learned(self._decoder.decode(line), f"{line}\n")
            self._number += 1
        return None

    def _parsed_item(self) -> RowRun | None:
        start = self._next_sign(self._at)
        if self._text[start : start + 1] in ("", "]"):
            return None
        try:
            row, end = self._decoder.raw_decode(self._text, start)
        except json.JSONDecodeError:
            if self._ended or self._text[start] != "{":
                raise NotStreamedError from None
            return None
        end = self._next_sign(end)
        comma = self._text.startswith(",", end)
        if comma:
            end = self._next_sign(end + 1)
        following = self._text[end : end + 1]
        if following not in ("", "{" if comma else "]"):
            raise NotStreamedError
        if not following:
            return None
        written, self._at = self._text[start : end + 1], end
        return self._learned(row, written)

    def _next_sign(self, place: int) -> int:
        """The first place from `place` on that is no white space."""
        while place < len(self._text) and self._text[place] in SPACE:
            place += 1
        return place

    def _learned(self, row: object, text: str) -> RowRun:
        """The parsed row, of which this is the text, as a run; later ones that look like it will not be parsed."""
        if not isinstance(row, dict) or not (self._shapes or self._form.accepts(row)):
            raise NotStreamedError
        names = tuple(row)
        shape = self._shapes.get(names) or RowShape(names, self._form.wanted, LINE if self._form.lines else ITEM)
        if len(self._shapes) < MOST_SHAPES:
            self._shapes[names] = shape
        if names in self._shapes and self._lessons < MOST_LESSONS:
            self._lessons += shape.learn(row, text)
        return self._run(shape, [shape.written(row)])


def _blocks(path: Path) -> Iterator[str]:
    """The text of the file, block by block, and "" at its end."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        mark = file.read(len(UTF8_MARK))
        raw = mark.removeprefix(UTF8_MARK) + file.read(BLOCK)
        while raw:
            if text := decoder.decode(raw):
                yield text
            raw = file.read(BLOCK)
        decoder.decode(b"", final=True)
    yield ""


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise NotStreamedError
    return made
