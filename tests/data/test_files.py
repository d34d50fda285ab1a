"""Data files: every format gives the same rows, and every kind of broken file is named in one line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.config.settings import PROJECT
from understudy.data.files import read_records, scan_records
from understudy.data.hub import _choose, _reason
from understudy.data.records import RowProblem
from understudy.errors import ExamplesError
from understudy.processes import free_port

ROWS = [
    {"prompt": 'Say "hi", please', "completion": "Hi.\nAnd bye."},
    {"prompt": "Ünïcode\u2028line", "completion": "日本 🎭"},
]


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet(path: Path, rows: list[dict]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def delimited(delimiter: str) -> str:
    cells = [["prompt", "completion"], *([row["prompt"], row["completion"]] for row in ROWS)]
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in line] for line in cells]
    return "".join(delimiter.join(line) + "\r\n" for line in quoted)


CONTENTS = {
    "rows.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in ROWS),
    "rows.json": json.dumps(ROWS, indent=1),
    "object.json": json.dumps({"version": 1, "data": ROWS}),
    "rows.csv": delimited(","),
    "rows.tsv": delimited("\t"),
    "LOUD.JSONL": "".join(json.dumps(row) + "\n\n" for row in ROWS),
}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, mark: bytes) -> None:
    path = write(tmp_path / name, mark + CONTENTS[name].encode())
    assert [record.row for record in read_records(path)] == ROWS


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    records = list(read_records(str(parquet(tmp_path / "rows.parquet", ROWS))))
    assert [record.row for record in records] == ROWS
    assert records[1].origin == f"{tmp_path}/rows.parquet row 2"


def test_parquet_keeps_nested_messages(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "x"}]}, {"messages": None}]
    assert [record.row for record in read_records(parquet(tmp_path / "rows.parquet", rows))] == rows


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("rows.jsonl", [":1", ":2"]),
        ("LOUD.JSONL", [":1", ":3"]),
        ("rows.json", [" row 1", " row 2"]),
        ("rows.csv", [":2", ":4"]),
    ],
)
def test_each_row_says_where_it_stands(tmp_path: Path, name: str, places: list[str]) -> None:
    path = write(tmp_path / name, CONTENTS[name])
    assert [record.origin for record in read_records(path)] == [f"{path}{place}" for place in places]


def test_a_folder_is_its_data_files_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", '{"n": "b"}\n')
    write(tmp_path / "a.csv", "n\na\n")
    parquet(tmp_path / "c.parquet", [{"n": "c"}])
    write(tmp_path / "README.md", "not data")
    write(tmp_path / ".hidden.jsonl", "not data")
    (tmp_path / "deeper.json").mkdir()
    assert [record.row["n"] for record in read_records(tmp_path)] == ["a", "b", "c"]


def test_reading_goes_on_after_a_row_that_cannot_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", '{"a": 1}\n{oops\n[1]\n{"a": 2}\n')
    items = list(scan_records(path))
    assert [item.kind if isinstance(item, RowProblem) else item.row["a"] for item in items] == [
        *(1, "not_json", "wrong_type", 2)
    ]
    with pytest.raises(ExamplesError, match=":2: not JSON"):
        list(read_records(path))


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"

BROKEN: list[tuple[str, bytes | str, str]] = [
    ("e.jsonl", "", "no examples in it; add rows like"),
    ("e.jsonl", " \n\n", "no examples in it"),
    ("e.jsonl", b"\xef\xbb\xbf", "no examples in it"),
    ("e.jsonl", b'{"a": "\xe4"}\n', r":1: not UTF-8 text \(byte 7\); save the file as UTF-8"),
    ("e.jsonl", b'{"a": 1}\n{"a": "\xe4"}\n', r":2: not UTF-8 text \(byte 16\)"),
    ("e.jsonl", '{"a": 1}'.encode("utf-16"), "not UTF-8 text but UTF-16 .*; save the file as UTF-8"),
    ("e.jsonl", '\ufeff{"a": 1}'.encode("utf-16-be"), "not UTF-8 text but UTF-16"),
    ("e.jsonl", LFS, "a git-lfs pointer, not the data itself; fetch it with `git lfs pull`"),
    ("e.jsonl", '{"a": 1}\n{"a" 2}\n', r":2: not JSON \(Expecting ':' delimiter, column 6\); one object a line"),
    ("e.jsonl", "{'a': 1}\n", r":1: not JSON \(.*column 2\)"),
    ("e.jsonl", '"text"\n', ":1: found a JSON text; a row must be an object"),
    ("e.jsonl", "null\n", ":1: found a JSON null"),
    ("e.jsonl", "7\n", ":1: found a JSON number"),
    ("e.jsonl", "[" * 100_000 + "\n", r":1: not JSON that we read \(nested too deeply\)"),
    ("e.jsonl", '{"a": ' + "1" * 5000 + "}\n", ":1: not JSON that we read"),
    ("e.json", "", "no examples in it"),
    ("e.json", "[]", "no examples in it"),
    ("e.json", '{"data": []}', "no examples in it"),
    ("e.json", b'["\xe4"]', r"not UTF-8 text \(byte 2\)"),
    ("e.json", "[1]".encode("utf-16"), "not UTF-8 text but UTF-16"),
    ("e.json", LFS, "git-lfs pointer"),
    ("e.json", '[\n{"a": 1},\n]', r":3: not JSON \(.*column 1\); correct it there"),
    ("e.json", '{"a": 1}\n{"a": 2}\n', r":2: not JSON \(Extra data, column 1\); .* name it .jsonl"),
    ("e.json", '[{"a": 1}, 2]', "e.json row 2: found a JSON number; a row must be an object"),
    ("e.json", '"text"', "found a JSON text; it must be a list of objects"),
    ("e.json", '{"a": 1}', "must hold one list of rows.*found none"),
    ("e.json", '{"train": [1], "test": [2]}', "must hold one list of rows.*found the lists train, test"),
    ("e.json", "[" * 100_000, r"not JSON that we read \(nested too deeply\)"),
    ("e.csv", "", "no examples in it"),
    ("e.csv", "prompt,completion\n", "no examples in it"),
    ("e.csv", b"prompt,completion\n\xe4,b\n", r"not UTF-8 text \(byte 18\)"),
    ("e.csv", "a,b\n1,2\n".encode("utf-16"), "not UTF-8 text but UTF-16"),
    ("e.csv", LFS, "git-lfs pointer"),
    ("e.csv", "a,b\n1,2\n1,2,3\n", ":3: 3 cells under 2 columns; put double quotes around text with ','"),
    ("e.csv", "a,b\n1\n", ":2: 1 cells under 2 columns"),
    ("e.csv", "a,a,b\n1,2,3\n", ":1: the header has a more than once; rename one"),
    ("e.csv", "1,2\n3,4\n", ":1: no header, for cell 1 is no name of a column; put one line of column names"),
    ("e.csv", "a,\n3,4\n", ":1: no header, for cell 2"),
    ("e.csv", f"a,{'x' * 101}\n3,4\n", ":1: no header, for cell 2"),
    ("e.csv", ",a,b\n0,1,2\n", ":1: column 1 has no name; is it an index.*index=False"),
    ("e.csv", "a;b\n1;2\n", ":1: one column, a;b; .csv has commas"),
    ("e.csv", 'a,b\n1,2\n"never closed,3\n', r":3: not CSV from here .*is a double quote missing\?"),
    ("e.csv", 'a,b\n"x"y,2\n', ":2: not CSV from here"),
    ("e.tsv", "a\tb\n1\n", r":2: 1 cells under 2 columns; put double quotes around text with '\\t'"),
    ("e.tsv", "a,b\n1,2\n", ":1: one column, a,b; .csv has commas between cells, .tsv has tabs"),
    ("e.parquet", b"", "not readable as Parquet"),
    ("e.parquet", b"PAR1 but not really PAR1", "not readable as Parquet .*; fetch or save it again"),
    ("e.parquet", LFS, "git-lfs pointer"),
    ("e.xlsx", b"PK", "we do not read .xlsx; save it as one of .jsonl, .json, .csv, .tsv, .parquet"),
    ("examples", "x", "we do not read a name without a suffix"),
    ("new\nline.txt", "x", r"new\\nline.txt: we do not read .txt"),
]


@pytest.mark.parametrize(("name", "content", "says"), BROKEN)
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, name: str, content: bytes | str, says: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(ExamplesError, match=says) as caught:
        list(read_records(path))
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet", "xlsx"])
def test_a_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ExamplesError, match=f"e.{suffix}: no such file; give a .jsonl, .* or hub:ORG/NAME"):
        list(read_records(tmp_path / f"e.{suffix}"))


def test_a_parquet_file_cut_short_or_damaged_is_named(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "e.parquet", ROWS * 500).read_bytes()
    for damaged in (whole[:-20], whole[: len(whole) // 2], whole[:8] + b"\xff" * 60 + whole[68:]):
        with pytest.raises(ExamplesError, match=r"e\.parquet.*: not readable as Parquet"):
            list(read_records(write(tmp_path / "e.parquet", damaged)))


def test_parquet_without_rows_or_with_a_column_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), path)
    with pytest.raises(ExamplesError, match="no examples in it"):
        list(read_records(path))
    pq.write_table(pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["a", "a"]), path)
    with pytest.raises(ExamplesError, match="the columns a are there more than once"):
        list(read_records(path))


def test_without_pyarrow_parquet_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "e.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExamplesError, match="Parquet needs pyarrow; run `pip install pyarrow`"):
        list(read_records(path))


def test_folders_without_data_are_named(tmp_path: Path) -> None:
    write(tmp_path / "README.md", "x")
    with pytest.raises(ExamplesError, match="no data files in this folder; we read .jsonl, "):
        list(read_records(tmp_path))
    write(tmp_path / "data-00000-of-00001.arrow", "x")
    with pytest.raises(ExamplesError, match="written by save_to_disk; write it with to_parquet"):
        list(read_records(tmp_path))


@pytest.mark.parametrize(
    "source", ["hub:", "hub:squad", "hub:a/b/c", "hub:a/b@", "hub:a/b:", "hub:a b/c", "hub:a/b@x@y"]
)
def test_a_malformed_hub_name_is_refused_before_anybody_is_asked(source: str) -> None:
    with pytest.raises(ExamplesError, match="write hub:ORG/NAME, hub:ORG/NAME@REVISION"):
        list(read_records(source))


class FakeDatasets(SimpleNamespace):
    """What we use of `datasets`: splits of one data set, and a note of what was asked."""

    def __init__(self, **splits: list[dict]) -> None:
        super().__init__(splits=splits, asked=[])

    def disable_progress_bars(self) -> None:
        pass

    def get_dataset_split_names(self, repo: str, revision: str | None) -> list[str]:
        return list(self.splits)

    def load_dataset(self, repo: str, split: str, revision: str | None) -> Iterator[dict]:
        self.asked.append((repo, split, revision))
        return iter(self.splits[split.partition("[")[0]])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeDatasets:
    fake = FakeDatasets(train=ROWS, test=ROWS[:1])
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setattr("understudy.data.hub._require_dataset", lambda repo, revision: None)
    return fake


@pytest.mark.parametrize(
    ("source", "asked", "rows"),
    [
        ("hub:org/name", ("org/name", "train", None), 2),
        ("hub:org/name:test", ("org/name", "test", None), 1),
        ("hub:org/name@v1.0:test", ("org/name", "test", "v1.0"), 1),
        ("hub:org/name@0a1b2c:train[:2]", ("org/name", "train[:2]", "0a1b2c"), 2),
    ],
)
def test_hub_rows_come_from_the_split_that_was_named(hub: FakeDatasets, source: str, asked: tuple, rows: int) -> None:
    records = list(read_records(source))
    assert hub.asked == [asked]
    assert [record.row for record in records] == ROWS[:rows]
    assert records[0].origin == f"{source} row 1"


def test_an_unknown_split_lists_those_there_are(hub: FakeDatasets) -> None:
    with pytest.raises(ExamplesError, match="hub:org/name:dev: no split 'dev'; there are train, test"):
        list(read_records("hub:org/name:dev"))
    with pytest.raises(ExamplesError, match="say which split, as in hub:a/b:one; there are one, two"):
        _choose(None, ["one", "two"], "hub:a/b")
    assert _choose(None, ["only"], "hub:a/b") == "only"


def test_what_the_hub_refuses_is_said_in_one_line() -> None:
    import httpx
    from huggingface_hub import errors

    def answered(kind: type[errors.HfHubHTTPError], status: int) -> Exception:
        response: Any = httpx.Response(status, request=httpx.Request("GET", "http://hub"))
        return kind("text\nmore", response=response)

    cases = [
        (answered(errors.GatedRepoError, 403), "it is gated; accept its terms on the Hub and set HF_TOKEN"),
        (answered(errors.RepositoryNotFoundError, 404), "not on the Hub, or private; check the name"),
        (answered(errors.RevisionNotFoundError, 404), "no revision 'v1'; give a branch"),
        (answered(errors.HfHubHTTPError, 401), "not on the Hub, or private"),
        (answered(errors.HfHubHTTPError, 500), "the Hub answered 500; try again later"),
        (errors.OfflineModeIsEnabled("off"), "HF_HUB_OFFLINE is set"),
        (ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)"), "HF_HUB_OFFLINE is set"),
        (ConnectionError("nobody\nthere"), "the Hub cannot be reached (nobody there)"),
        (httpx.ConnectError("refused"), "the Hub cannot be reached (refused)"),
        (ValueError("Config name is missing.\nPlease pick one"), "several configurations; download one"),
        (RuntimeError("bad\nrow"), "cannot be read as rows (bad row)"),
    ]
    for error, says in cases:
        assert says in _reason(error, "v1")
        assert "\n" not in _reason(error, "v1")


def read_elsewhere(folder: Path, source: str, **env: str) -> str:
    """What a process of its own, in `folder`, reads or says: the libraries take their settings when they start."""
    program = (
        "import json, sys\nfrom understudy.data.files import read_records\n"
        "from understudy.errors import ExamplesError\n"
        "try:\n    print(json.dumps([r.row for r in read_records(sys.argv[1])]))\n"
        "except ExamplesError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, source],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "HF_HOME": str(folder / "hf"), **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.strip() or done.stderr


def test_the_real_library_reads_splits_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "org" / "name"
    folder.mkdir(parents=True)
    for split, rows in (("train", ROWS), ("test", ROWS[:1])):
        write(folder / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert json.loads(read_elsewhere(tmp_path, "hub:org/name:test", HF_HUB_OFFLINE="1")) == ROWS[:1]
    said = read_elsewhere(tmp_path, "hub:org/name:dev", HF_HUB_OFFLINE="1")
    assert said == "hub:org/name:dev: no split 'dev'; there are train, test"


def test_a_hub_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    said = read_elsewhere(tmp_path, "hub:org/name", HF_ENDPOINT=nobody)
    assert said.startswith("hub:org/name: the Hub cannot be reached (")
    offline = read_elsewhere(tmp_path, "hub:org/name", HF_HUB_OFFLINE="1")
    assert offline == "hub:org/name: HF_HUB_OFFLINE is set and it is not in the cache; unset it, or give a file"
