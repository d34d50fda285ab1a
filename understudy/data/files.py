"""Reads rows from JSONL, JSON, CSV, TSV and Parquet files, folders of them, and the Hub, each with its origin."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from understudy.data.forms.json_rows import RepeatedKeys, parse_marked, repeated_key
from understudy.data.hub import read_hub
from understudy.data.records import HUB, DataRecord, RowProblem, shown
from understudy.errors import ExamplesError

UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
WRAPPERS = frozenset(["data", "rows", "examples", "items", "instances", "records", "samples", "train", "dataset"])
"""Keys under which an object holds the rows of a file; under other keys, such as messages, a list is a row's own."""
LONGEST_NAME = 100
"""Characters; a longer cell in the first row of a CSV file is no name of a column."""


def read_records(source: str | Path) -> Iterator[DataRecord]:
    """The rows of a file, of all data files in a folder (sorted by name), or of a Hub data set.

    `source` is a path, or `hub:ORG/NAME[@REVISION][:SPLIT]`.

    Raises:
        ExamplesError: the data cannot be read; the message names file, row and remedy.
    """
    for item in scan_records(source):
        if isinstance(item, RowProblem):
            raise ExamplesError(str(item))
        yield item


def scan_records(source: str | Path) -> Iterator[DataRecord | RowProblem]:
    """As `read_records`, but yields a RowProblem for a single row that cannot be read, and goes on.

    Raises:
        ExamplesError: a whole file cannot be read, or holds no rows.
    """
    if str(source).startswith(HUB):
        yield from read_hub(str(source))
        return
    for path in _files(Path(source)):
        yield from _scan_file(path)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if any(path.glob("*.arrow")) or (path / "dataset_dict.json").exists():
        raise ExamplesError(f"{shown(path)}: a folder written by save_to_disk; write it with to_parquet instead")
    found = [p for p in path.iterdir() if p.suffix.lower() in READERS and p.is_file() and not p.name.startswith(".")]
    if not found:
        raise ExamplesError(f"{shown(path)}: no data files in this folder; we read {', '.join(READERS)}")
    return sorted(found)


def _scan_file(path: Path) -> Iterator[DataRecord | RowProblem]:
    where = shown(path)
    if not path.is_file():
        raise ExamplesError(
            f"{where}: no such file; give a {', '.join(READERS)} file, a folder of them, or {HUB}ORG/NAME"
        )
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        suffix = shown(path.suffix) or "a name without a suffix"
        raise ExamplesError(f"{where}: we do not read {suffix}; save it as one of {', '.join(READERS)}")
    count = 0
    try:
        _require_plain_data(path, where)
        for item in reader(path, where):
            count += 1
            yield item
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ExamplesError(
            f"{where}: cannot be read ({reason}); see that the file is whole and yours to read"
        ) from None
    if not count:
        text = f'{where}: no examples in it; add rows like {{"prompt": "...", "completion": "..."}}'
        raise ExamplesError(text, code="empty")


def _require_plain_data(path: Path, where: str) -> None:
    with path.open("rb") as file:
        head = file.read(len(LFS_POINTER))
    if head == LFS_POINTER:
        raise ExamplesError(f"{where}: a git-lfs pointer, not the data itself; fetch it with `git lfs pull`")
    if head.startswith(UTF16_MARKS):
        raise ExamplesError(f"{where}: not UTF-8 text but UTF-16 (byte 0 begins its mark); save the file as UTF-8")


def _decoded(raw: bytes, where: str, offset: int = 0) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ExamplesError(f"{where}: not UTF-8 text (byte {offset + error.start}); save the file as UTF-8") from None


def _read_text(path: Path, where: str) -> str:
    raw = path.read_bytes()
    skipped = len(UTF8_MARK) if raw.startswith(UTF8_MARK) else 0
    return _decoded(raw[skipped:], where, skipped)


def _read_jsonl(path: Path, where: str) -> Iterator[DataRecord | RowProblem]:
    if _is_one_document(path, where):
        yield from _read_json(path, where)
        return
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            mark = UTF8_MARK if number == 1 else b""
            line = _decoded(raw.removeprefix(mark), f"{where}:{number}", offset)
            offset += len(raw)
            if line.strip():
                yield _parse_line(line.rstrip("\r\n"), f"{where}:{number}")


def _is_one_document(path: Path, where: str) -> bool:
    """Whether a file named .jsonl holds one JSON list or object instead of one object a line.

    Raises:
        ExamplesError: it holds objects that go over several lines.
    """
    with path.open("rb") as file:
        lines = (line for raw in file if (line := raw.removeprefix(UTF8_MARK).strip()))
        first, second = next(lines, b""), next(lines, b"")
    if not first.startswith((b"[", b"{")):
        return False
    begun, _ = _parsed_or_error(first.decode(errors="replace"))
    if isinstance(begun, dict) and not second:
        return any(name.lower() in WRAPPERS and _holds_objects(value) for name, value in begun.items())
    if begun is not None:
        return _holds_objects(begun)
    whole, error = _parsed_or_error(_read_text(path, where))
    if error and error.msg == "Extra data" and error.lineno > 1:
        raise ExamplesError(f"{where}: its objects go over several lines; write one object a line, without line ends")
    return whole is not None or first.startswith(b"[{") or first == b"["


def _holds_objects(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(row, dict) for row in value)


def _parsed_or_error(text: str) -> tuple[object, json.JSONDecodeError | None]:
    try:
        return parse_marked(text), None
    except json.JSONDecodeError as error:
        return None, error
    except (ValueError, RecursionError):
        return None, None


def _parse_line(line: str, origin: str) -> DataRecord | RowProblem:
    try:
        value = parse_marked(line)
    except json.JSONDecodeError as error:
        text = f"not JSON ({error.msg}, column {error.colno}); one object a line"
        return RowProblem(origin=origin, kind="not_json", text=text)
    except (ValueError, RecursionError) as error:
        return RowProblem(
            origin=origin, kind="not_json", text=f"not JSON that we read ({_cause(error)}); remove the row"
        )
    return _as_record(value, origin)


def _as_record(value: object, origin: str) -> DataRecord | RowProblem:
    if not isinstance(value, dict):
        text = f"found a JSON {_json_type(value)}; a row must be an object"
        return RowProblem(origin=origin, kind="wrong_type", text=text)
    twice = repeated_key(value)
    if twice:
        text = f"the key {shown(twice)} stands twice in one object; keep the one that is meant"
        return RowProblem(origin=origin, kind="repeated_key", text=text)
    return DataRecord(origin, value)


def _read_json(path: Path, where: str) -> Iterator[DataRecord | RowProblem]:
    text = _read_text(path, where)
    if not text.strip():
        return
    try:
        value = parse_marked(text)
    except json.JSONDecodeError as error:
        remedy = "correct it there"
        if error.msg == "Extra data":
            lines = path.suffix.lower() == ".jsonl"
            remedy = (
                "write one object a line, or one list" if lines else "if it holds one object a line, name it .jsonl"
            )
        raise ExamplesError(f"{where}:{error.lineno}: not JSON ({error.msg}, column {error.colno}); {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise ExamplesError(f"{where}: not JSON that we read ({_cause(error)}); save it as .jsonl") from None
    for number, row in enumerate(_only_list(value, where), 1):
        yield _as_record(row, f"{where} row {number}")


def _only_list(value: object, where: str) -> list:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise ExamplesError(f"{where}: found a JSON {_json_type(value)}; it must be a list of objects")
    if isinstance(value, RepeatedKeys):
        raise ExamplesError(f"{where}: the key {shown(value.twice)} stands twice in one object; keep one")
    lists = {shown(name): rows for name, rows in value.items() if isinstance(rows, list)}
    if len(lists) != 1:
        found = f"the lists {', '.join(lists)}" if lists else "none"
        raise ExamplesError(f'{where}: the object must hold one list of rows, such as {{"data": [...]}}; found {found}')
    return next(iter(lists.values()))


def _json_type(value: object) -> str:
    names = {list: "list", str: "text", bool: "true or false", type(None): "null", dict: "object"}
    return names.get(type(value), "number")


def _cause(error: Exception) -> str:
    """Why a parser gave up, without Python's advice on how to change its limits."""
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]


def _read_delimited(path: Path, where: str, delimiter: str) -> Iterator[DataRecord | RowProblem]:
    csv.field_size_limit(sys.maxsize)
    lines = csv.reader(io.StringIO(_read_text(path, where), newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    before = 0
    try:
        for cells in lines:
            origin, before = f"{where}:{before + 1}", lines.line_num
            if not cells or cells == [""]:
                continue
            if not header:
                header = _checked_header([cell.strip() for cell in cells], origin)
            elif len(cells) != len(header):
                text = (
                    f"{len(cells)} cells under {len(header)} columns; put double quotes around text with {delimiter!r}"
                )
                yield RowProblem(origin=origin, kind="uneven", text=text)
            else:
                yield DataRecord(origin, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise ExamplesError(f"{where}:{before + 1}: not CSV from here ({error}); is a double quote missing?") from None


def _checked_header(names: list[str], origin: str) -> list[str]:
    above = "put one line of column names above the rows, such as prompt,completion"
    if not names[0] and all(names[1:]) and len(names) > 1:
        raise ExamplesError(f"{origin}: column 1 has no name; is it an index? (pandas: to_csv(..., index=False))")
    for number, name in enumerate(names, 1):
        if not name or len(name) > LONGEST_NAME or "\n" in name or _is_number(name):
            raise ExamplesError(f"{origin}: no header, for cell {number} is no name of a column; {above}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ExamplesError(f"{origin}: the header has {', '.join(map(shown, twice))} more than once; rename one")
    if len(names) == 1 and (";" in names[0] or "\t" in names[0] or "," in names[0]):
        raise ExamplesError(f"{origin}: one column, {shown(names[0])}; .csv has commas between cells, .tsv has tabs")
    return names


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path, where: str) -> Iterator[DataRecord | RowProblem]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ExamplesError(f"{where}: Parquet needs pyarrow; run `pip install pyarrow`, or save as .jsonl") from None
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for batch in file.iter_batches() if len(set(names)) == len(names) else ():
                for row in batch.to_pylist():
                    number += 1
                    yield DataRecord(f"{where} row {number}", row)
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = shown(str(error).strip().split("\n")[0][:120])
        at = f" after row {number}" if number else ""
        raise ExamplesError(f"{where}{at}: not readable as Parquet ({reason}); fetch or save it again") from None
    if len(set(names)) != len(names):
        twice = sorted({shown(name) for name in names if names.count(name) > 1})
        raise ExamplesError(f"{where}: the columns {', '.join(twice)} are there more than once; rename one")


READERS: dict[str, Callable[[Path, str], Iterator[DataRecord | RowProblem]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": partial(_read_delimited, delimiter=","),
    ".tsv": partial(_read_delimited, delimiter="\t"),
    ".parquet": _read_parquet,
}
"""Suffix to the function that reads such a file."""
