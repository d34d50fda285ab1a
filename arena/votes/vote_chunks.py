"""Reads votes files in columns, a chunk of rows at a time: in columns where a file is plain, else row by row.

pyarrow reads CSV ten times as fast as Python, but is laxer about quotes and headers; JSON is read as a stream
(`arena.votes.json_portions`). A file that is in any way unusual, and every file that either refuses, is read by
`understudy.data.files`, whose errors name the row.
"""

from collections.abc import Callable, Iterator, Sequence
from csv import reader
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from arena.votes.arena_logs import NO_VERDICT, UNSIDED, is_log, plain_rows
from arena.votes.json_portions import SPACE, JsonForm, NotStreamedError, portions
from arena.votes.vote_values import JsonTexts, Values
from understudy.data.files import READERS, UTF8_MARK, read_records
from understudy.data.records import DataRecord, RowProblem, shown
from understudy.errors import ExamplesError

if TYPE_CHECKING:
    import pyarrow as pa

PORTION = 20_000
"""Rows that are in memory as Python's objects at a time."""
BLOCK = 4 << 20
"""Bytes of CSV that are read at a time."""
QUOTE = ord('"')
LONGEST_NAME = 100
SUFFIXES = {".csv": ",", ".tsv": "\t"}
JSON_SUFFIXES = (".json", ".jsonl")
HEAD = 1 << 16
"""Bytes in which a JSON file begins."""


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file, in columns."""

    first: int
    """The number of its first row, from 0."""
    size: int
    columns: dict[str, Values]
    """Those of the file's columns that were asked for."""
    names: tuple[str, ...]
    """All columns of the file, in their order."""
    origins: "Sequence[str] | RowNumbers | None" = None
    """Where each row stands in the file, where that is known already."""


@dataclass(frozen=True)
class RowNumbers:
    """Where each row stands in the file, by its number."""

    before: str
    numbers: tuple[range, ...]

    def __getitem__(self, row: int) -> str:
        number = next(islice(chain(*self.numbers), row, None))
        return f"{self.before}{number}"


Wanted: TypeAlias = Callable[[str], bool]
"""Whether the column of that name is needed."""


class NotInColumnsError(Exception):
    """The file cannot be read in columns; `chunks` reads it, or says what is wrong with it."""


def fast_chunks(path: Path, wanted: Wanted) -> Iterator[Chunk]:
    """The chunks read in columns, with the wanted ones.

    Raises:
        NotInColumnsError: this file must not, or cannot, be read so, or pyarrow is not there.
    """
    rows = 0
    for chunk in _json(path, wanted) if path.suffix.lower() in JSON_SUFFIXES else _arrow(path, wanted):
        rows += chunk.size
        yield chunk
    if not rows:
        raise NotInColumnsError


def _arrow(path: Path, wanted: Wanted) -> Iterator[Chunk]:
    try:
        import pyarrow as pa
    except ImportError:
        raise NotInColumnsError from None
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            yield from _parquet(path, wanted)
        elif suffix in SUFFIXES and path.is_file() and _plain(path, SUFFIXES[suffix]):
            yield from _delimited(path, SUFFIXES[suffix], wanted)
        else:
            raise NotInColumnsError
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise NotInColumnsError from error


def _json(path: Path, wanted: Wanted) -> Iterator[Chunk]:
    first = 0
    try:
        lines = _begins_lines(path)
        before = f"{shown(path)}:" if lines else f"{shown(path)} row "
        form = JsonForm(lines, wanted, accepts=lambda row: not is_log(row))
        for portion in portions(path, form, PORTION):
            if NO_VERDICT in portion.names or UNSIDED in portion.names:
                raise NotInColumnsError
            columns: dict[str, Values] = {name: JsonTexts(texts) for name, texts in portion.columns.items()}
            yield Chunk(first, portion.size, columns, portion.names, RowNumbers(before, portion.numbers))
            first += portion.size
    except (NotStreamedError, OSError) as error:
        raise NotInColumnsError from error


def _begins_lines(path: Path) -> bool:
    """Whether the file begins with an object, and not with a list.

    Raises:
        NotStreamedError: it begins with neither, or with an object that is the whole file.
    """
    with path.open("rb") as file:
        begin = file.read(HEAD).removeprefix(UTF8_MARK).lstrip(SPACE.encode())[:1]
    if begin == b"[":
        return False
    if begin == b"{" and (path.suffix.lower() == ".jsonl" or _holds_lines(path)):
        return True
    raise NotStreamedError


def chunks(path: Path) -> Iterator[Chunk]:
    """The same read row by row, with all columns.

    Raises:
        ExamplesError: the file cannot be read; the message names file, row and remedy.
    """
    records = plain_rows(_records(path))
    first = 0
    while portion := list(islice(records, PORTION)):
        names = tuple(dict.fromkeys(name for record in portion for name in record.row))
        columns = {name: [record.row.get(name) for record in portion] for name in names}
        yield Chunk(first, len(portion), columns, names, tuple(record.origin for record in portion))
        first += len(portion)


def origin_of(path: Path, chunk: Chunk, row: int) -> str:
    """Where row `row` of the chunk stands in the file."""
    if chunk.origins:
        return chunk.origins[row]
    record = next(islice(read_records(path), chunk.first + row, None), None)
    return record.origin if record else f"{shown(path)} row {chunk.first + row + 1}"


def _records(path: Path) -> Iterator[DataRecord]:
    if path.is_dir() or path.suffix.lower() not in READERS:
        found = "a folder" if path.is_dir() else shown(path.suffix) or "a name without a suffix"
        raise ExamplesError(f"{shown(path)}: {found}; give one {', '.join(READERS)} file of votes")
    try:
        yield from _lines(path) if _holds_lines(path) else read_records(path)
    except ExamplesError as error:
        if error.code != "empty":
            raise
        text = f"{shown(path)}: no rows in it; write the columns left,right,winner and a vote a row"
        raise ExamplesError(text) from None


def _holds_lines(path: Path) -> bool:
    """Whether a .json file has one object a line, as FastChat's logs do."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        first, second = file.readline().strip(), file.readline().strip()
    return first.startswith(b"{") and first.endswith(b"}") and (not second or second.startswith(b"{"))


def _lines(path: Path) -> Iterator[DataRecord]:
    for item in READERS[".jsonl"](path, shown(path)):
        if isinstance(item, RowProblem):
            raise ExamplesError(str(item))
        yield item


def _parquet(path: Path, wanted: Wanted) -> Iterator[Chunk]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        names = tuple(file.schema_arrow.names)
        if len(set(names)) < len(names):
            raise NotInColumnsError
        first = 0
        for batch in file.iter_batches(columns=[name for name in names if wanted(name)]):
            yield Chunk(first, batch.num_rows, _named(batch), names)
            first += batch.num_rows


def _delimited(path: Path, delimiter: str, wanted: Wanted) -> Iterator[Chunk]:
    import pyarrow as pa
    from pyarrow import csv

    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    read = csv.ReadOptions(block_size=BLOCK)
    with csv.open_csv(path, read, parse) as file:
        raw = file.schema.names
    texts = csv.ConvertOptions(
        column_types=dict.fromkeys(raw, pa.string()),
        include_columns=[name for name in raw if wanted(name.strip())],
        strings_can_be_null=False,
    )
    first, names = 0, tuple(name.strip() for name in raw)
    with csv.open_csv(path, read, parse, texts) as file:
        for batch in file:
            yield Chunk(first, batch.num_rows, _named(batch), names)
            first += batch.num_rows


def _named(batch: "pa.RecordBatch") -> dict[str, Values]:
    return {name.strip(): batch.column(i) for i, name in enumerate(batch.schema.names)}


def _plain(path: Path, delimiter: str) -> bool:
    """Whether pyarrow and Python's strict reader see the same cells in this file."""
    with path.open("rb") as file:
        head = file.readline(1 << 16).removeprefix(UTF8_MARK).decode(errors="replace")
        names = next(reader([head], delimiter=delimiter), []) if head.strip() else []
        if not _usual_names(names):
            return False
        quoted = any(b'"' in block for block in iter(lambda: file.read(BLOCK), b""))
    return not quoted or _quotes_enclose_cells(path.read_bytes(), delimiter)


def _usual_names(names: list[str]) -> bool:
    names = [name.strip() for name in names]
    numbers = (name.replace(".", "", 1).lstrip("+-").isdigit() for name in names)
    usual = len(set(names)) == len(names) > 1 and all(
        0 < len(name) <= LONGEST_NAME and "\n" not in name for name in names
    )
    return usual and not any(numbers) and not {"nan", "inf", "infinity"} & {name.casefold() for name in names}


def _quotes_enclose_cells(data: bytes, delimiter: str) -> bool:
    """Whether each quote opens a cell at its start, closes one at its end, or is doubled within one."""
    text = np.frombuffer(data.replace(b'""', b""), np.uint8)
    places = np.flatnonzero(text == QUOTE)
    if len(places) % 2:
        return False
    ends = np.frombuffer(delimiter.encode() + b"\r\n", np.uint8)
    opened, closed = places[::2], places[1::2]
    before = np.where(opened > 0, text[opened - 1], ends[-1])
    after = np.where(closed + 1 < len(text), text[np.minimum(closed + 1, len(text) - 1)], ends[-1])
    return bool(np.isin(before, ends).all() and np.isin(after, ends).all())
