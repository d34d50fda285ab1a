"""Votes files of any content: each row is a vote, is left out and counted, or is refused in one line."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.votes.import_files import read_votes
from understudy.errors import ExamplesError

pytestmark = pytest.mark.fuzz

NAMES = st.sampled_from(["a", "b", "base", "tie", "[/x]", " a ", "", None, 7, 1.5, True, ["a"]])
WORDS = st.sampled_from(["left", "model_b", "tie", "both_bad", "tie (bothbad)", "a", "TIE", "", None, "maybe", 1, {}])
TIMES = st.sampled_from([1, 2.5, "3", "9/1/2024", "13/1/2024", "2024-09-01", "2024-09-01T10:00:00Z", "", None, "noon"])
TEXT = st.text(string.printable, max_size=8)
TEXTS = st.one_of(TEXT, st.none(), st.integers(), st.lists(TEXT, max_size=2), st.sampled_from([
    [{"role": "assistant", "content": [{"type": "text", "text": "x"}]}], '["x"]', "[{'role': 'user', 'content': 'x'}]",
]))  # fmt: skip
COUNTS = st.sampled_from([0, 1, 3, "2", "", None, -1, 1.5, "x", True])
COLUMNS = {
    "left": NAMES, "model_a": NAMES, "right": NAMES, "model_b": NAMES, "winner": WORDS, "winner_model_a": COUNTS,
    "winner_model_b": COUNTS, "wins_a": COUNTS, "wins_b": COUNTS, "both_bad": COUNTS, "category": NAMES, "judge": NAMES,
    "tstamp": TIMES, "response_a": TEXTS, "response_b": TEXTS, "left_length": COUNTS, "right_length": COUNTS,
    "anony": st.sampled_from([True, False, "true", "", None, "perhaps"]), "prompt": TEXT,
    "dedup_tag": st.sampled_from([None, {"sampled": False}, {"sampled": True}, "{'sampled': False}", "{", {}]),
}  # fmt: skip
OPTIONAL = {name: values for name, values in COLUMNS.items() if name not in ("left", "right", "winner")}


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, object]]:
    """Rows of the plain columns or of any, with the same columns in all of them."""
    chosen = draw(st.sets(st.sampled_from(sorted(OPTIONAL)), max_size=4))
    plain = draw(st.sampled_from([("left", "right", "winner"), ("left", "right", "winner"), ("left",), ()]))
    columns = {name: COLUMNS[name] for name in (*plain, *sorted(chosen))}
    return draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=5))


def check(path: Path, rows: int, counted: bool) -> None:
    read, refusal = None, ""
    try:
        read = read_votes(path)
    except ExamplesError as error:
        refusal = str(error)
    if read is None:
        assert "\n" not in refusal
        assert str(path) in refusal
    elif not counted:
        assert read.votes.votes + sum(read.left_out.values()) == rows


@given(tables())
def test_rows_of_json_are_votes_left_out_or_refused(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]):
    path = tmp_path_factory.getbasetemp() / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    check(path, len(rows), counted={"wins_a", "wins_b"} <= rows[0].keys())


@given(tables(), st.booleans(), st.sampled_from(["", '"', "\n", ","]))
def test_rows_of_csv_are_votes_left_out_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict], quoted: bool, torn: str
):
    def cell(value: object) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if quoted else text.translate({ord(c): " " for c in ',"\r\n'})

    lines = [",".join(rows[0]), *(",".join(map(cell, row.values())) for row in rows)]
    path = tmp_path_factory.getbasetemp() / "votes.csv"
    path.write_text("\n".join(lines) + torn, newline="")
    check(path, len(rows), counted={"wins_a", "wins_b"} <= rows[0].keys())
