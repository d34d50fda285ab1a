"""Large JSON files of votes: read as a stream, with the same votes and the same errors as row by row."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.votes import import_files, json_portions, vote_chunks
from arena.votes.counts import COLUMNS
from arena.votes.import_files import read_votes
from arena.votes.json_shapes import RowForm, RowShape
from arena.votes.vote_chunks import Chunk, NotInColumnsError, fast_chunks
from understudy.errors import ExamplesError

ROWS: list[dict[str, object]] = [
    {
        "model_a": f"model-{i % 3}",
        "model_b": ["base", "ü/ß", 'say "x"\n', "😀"][i % 4],
        "winner": ["model_a", "model_b", "tie", "tie (bothbad)"][i % 4],
        "judge": [f"user {i}", None, 7][i % 3],
        "tstamp": 1.68e9 + i * 0.25,
        "anony": True,
        "conv_metadata": {"turns": i, "headers": {"h1": 0, "h2": -1.5e-7}, "tags": [[], [1, None], {}]},
        "conversation_a": [{"role": "user", "content": "}, {"}, {"role": "assistant", "content": "x\\" * (i % 5)}],
        "conversation_b": [{"role": "assistant", "content": "[]\n"}],
        "dedup_tag": {"high_freq": False, "sampled": i % 7 > 0},
        "language": "German",
    }
    for i in range(40)
]
OTHERS: list[dict[str, object]] = [
    {"winner": "tie", "model_b": "a", "model_a": "base", "tstamp": 1, "anony": None},
    {"model_a": "a", "model_b": "base", "winner": "tie", "tstamp": float("nan"), "language": None, "more": [{}]},
    {"model_a": "a", "model_b": 5, "winner": "tie", "tstamp": 3, "conversation_a": "text", "conversation_b": "te"},
]
WRITERS: dict[str, Callable[[list], str]] = {
    "list": json.dumps,
    "dense": lambda rows: json.dumps(rows, separators=(",", ":"), ensure_ascii=False),
    "pretty": lambda rows: f"\n {json.dumps(rows, indent=2)}\n",
    "lines": lambda rows: "".join(json.dumps(row) + "\n" for row in rows),
    "lines with gaps": lambda rows: "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
}


def refuse(path: Path, wanted: object) -> Iterator[Chunk]:
    raise NotInColumnsError
    yield


def outcome(path: Path, by: str | None = None) -> tuple[object, ...]:
    """Everything that is read of a file, or why not."""
    try:
        read = read_votes(path, by=by)
    except ExamplesError as error:
        return ("refused", str(error))
    votes = read.votes
    figures = [getattr(votes, name).tolist() for name in COLUMNS if name != "lean"]
    names = (votes.contestants, votes.categories, votes.voters)
    rest = (read.left_out, read.sides, read.ordered, read.repeats, read.remarks)
    return (*names, *figures, str(votes.lean.tolist()), *rest)


def both_ways(path: Path, by: str | None = None) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """What the stream says of a file, and what the reader does that goes row by row."""
    streamed = outcome(path, by)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_files, "fast_chunks", refuse)
        return streamed, outcome(path, by)


def streams(path: Path) -> bool:
    try:
        return sum(chunk.size for chunk in fast_chunks(path, lambda _: True)) > 0
    except NotInColumnsError:
        return False


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("block", [5, 500, 4 << 20])
@pytest.mark.parametrize("rows", [ROWS, OTHERS, ROWS[:9] + OTHERS + ROWS[9:]], ids=["alike", "unlike", "mixed"])
def test_a_stream_has_the_votes_of_the_row_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, block: int, rows: list[dict]
):
    monkeypatch.setattr(json_portions, "BLOCK", block)
    monkeypatch.setattr(json_portions, "WINDOW", max(1, block // 3))
    monkeypatch.setattr(vote_chunks, "PORTION", 7)
    path = tmp_path / ("votes.jsonl" if writer == "lines with gaps" else "votes.json")
    path.write_text(WRITERS[writer](rows), newline="")
    assert streams(path)
    streamed, plain = both_ways(path)
    assert streamed == plain
    assert streamed[0] != "refused" or rows is not ROWS


def test_rows_that_look_like_earlier_ones_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "votes.json"
    path.write_text(json.dumps(ROWS * 5))
    parsed = []
    written = RowShape.written
    monkeypatch.setattr(RowShape, "written", lambda shape, row: parsed.append(row) or written(shape, row))
    assert streams(path)
    assert len(parsed) < 10


@pytest.mark.parametrize(
    "time",
    [{"x": 1.5}, [1.5], "1.5", 1.5, -3, 1e300, 10**17, 10**30, True, None, "2024-09-01T10:00:00Z", "a.b", "", {}, []],
)
def test_a_time_of_any_kind_is_read_or_refused_as_by_the_row_reader(tmp_path: Path, time: object):
    path = tmp_path / "votes.json"
    path.write_text(json.dumps([{"left": "a", "right": "b", "winner": "left", "tstamp": time}] * 3))
    streamed, plain = both_ways(path)
    assert streamed == plain


def text_of(*rows: str) -> str:
    return f"[{', '.join(rows)}]"


VOTE = '{"left": "a", "right": "b", "winner": "left", "more": {"x": 1}}'
BAD = VOTE.replace('"winner": "left"', '"winner": "perhaps"')
REFUSED = {
    "truncated": text_of(VOTE, VOTE)[:-5],
    "without its end": text_of(VOTE, VOTE)[:-1],
    "more behind it": text_of(VOTE, VOTE) + "]",
    "a comma too many": text_of(VOTE, VOTE)[:-1] + ",]",
    "a comma too few": text_of(f"{VOTE} {VOTE}"),
    "no object": text_of(VOTE, "7", VOTE),
    "a list in it": text_of(VOTE, f"[{VOTE}]", VOTE),
    "a repeated key": text_of(VOTE, VOTE, '{"left": "a", "left": "c", "right": "b", "winner": "left"}'),
    "a repeated key below": text_of(VOTE, VOTE, VOTE.replace('"x": 1', '"x": 1, "x": 1')),
    "a repeated key in other letters": text_of(VOTE, VOTE, VOTE.replace('"x": 1', '"x": 1, "\\u0078": 1')),
    "a number of Excel": text_of(VOTE, VOTE.replace("1", "01")),
    "a very long number": text_of(VOTE, VOTE.replace("1", "1" * 5000)),
    "a line end in a text": text_of(VOTE, VOTE.replace('"a"', '"a\n"')),
    "an unknown escape": text_of(VOTE, VOTE.replace('"a"', '"\\x41"')),
    "nested deeply": text_of(VOTE, VOTE.replace("1", "[" * 100_000 + "]" * 100_000)),
    "an error after a bad vote": text_of(BAD, VOTE, "{"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_amiss_is_said_by_the_row_reader(tmp_path: Path, case: str):
    path = tmp_path / "votes.json"
    path.write_text(REFUSED[case])
    assert not streams(path)
    streamed, plain = both_ways(path)
    assert streamed == plain
    assert streamed[0] == "refused"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("votes.json", text_of(VOTE, VOTE, BAD, VOTE), r"votes.json row 3: winner is 'perhaps'"),
        ("votes.json", f"{VOTE}\n{VOTE}\n{BAD}\n", r"votes.json:3: winner is 'perhaps'"),
        ("votes.jsonl", f"{VOTE}\n\n \n{VOTE}\n{BAD}", r"votes.jsonl:5: winner is 'perhaps'"),
        ("votes.json", text_of(VOTE, '{"left": "a"}', VOTE), "row 2: right names no contestant"),
        ("votes.json", text_of('{"left": "a", "right": "b"}'), "row 1: no column winner .*found left, right"),
        ("votes.json", text_of(BAD, VOTE, VOTE)[:-2], r"votes.json:1: not JSON \("),
        ("votes.json", "[]", "no rows in it"),
        ("votes.json", f'{{\n"data": {text_of(VOTE, BAD)}}}', "row 2: winner is 'perhaps'"),
    ],
)
def test_an_error_names_its_row(tmp_path: Path, name: str, text: str, says: str):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ExamplesError, match=says):
        read_votes(path)


def test_a_mark_is_passed_over_and_other_bytes_are_refused(tmp_path: Path):
    path = tmp_path / "votes.json"
    path.write_bytes(b"\xef\xbb\xbf" + text_of(VOTE, VOTE).encode())
    assert streams(path)
    assert both_ways(path)[0] == both_ways(path)[1]
    path.write_bytes(text_of(VOTE, VOTE).encode().replace(b'"a"', b'"\xff"'))
    assert not streams(path)
    with pytest.raises(ExamplesError, match="not UTF-8"):
        read_votes(path)


def test_repeats_are_told_by_every_column_of_a_row(tmp_path: Path):
    path = tmp_path / "votes.json"
    rows = [ROWS[1], ROWS[2], {**ROWS[1], "conv_metadata": {"turns": 2}}, ROWS[1]]
    path.write_text(json.dumps(rows))
    assert streams(path)
    assert read_votes(path).repeats == 1


SPACED = RowForm(space=r"[ ]*+", end=r"\n")
SEEN = {"a": 1, "b": {"c": "x", "d": [1.5, "é\n"]}}


@pytest.mark.parametrize(
    ("text", "like"),
    [
        ('{"a": 2, "b": {"c": "", "d": []}}', True),
        ('{"a": 3, "b": {"c": "z", "d": ["\\u00e9", 2, 3e5]}}', True),
        ('{"a": 03, "b": {"c": "z", "d": []}}', False),
        ('{"a": 1.0, "b": {"c": "z", "d": []}}', False),
        ('{"a": 1, "b": {"c": "z", "c": "z", "d": []}}', False),
        ('{"a": 1, "b": {"d": [], "c": "z"}}', False),
        ('{"a": 1, "b": {"c": "z", "d": [1,]}}', False),
        ('{"a": 1, "b": {"c": "z", "d": [,]}}', False),
        ('{"a": 1, "b": {"c": "z", "d": [""1]}}', False),
        ('{"a": 1, "b": {"c": "z", "d": []}', False),
    ],
)
def test_a_pattern_matches_rows_of_its_shape_alone(text: str, like: bool):
    shape = RowShape(tuple(SEEN), lambda name: name == "a", SPACED)
    assert shape.learn(SEEN, json.dumps(SEEN) + "\n")
    assert not shape.learn(SEEN, json.dumps(SEEN) + "\n")
    rows, end = shape.found(f"{text}\n", 0, len(text) + 1)
    assert (len(rows), end) == ((1, len(text) + 1) if like else (0, 0))


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
USUAL: dict[str, st.SearchStrategy] = {
    "left": st.sampled_from("abc"),
    "right": st.sampled_from("abc"),
    "winner": st.sampled_from(["left", "tie", None]),
}
BESIDE = {
    "voter": SCALARS,
    "time": st.sampled_from([1, 2.5, "3", None]),
    "more": ANYTHING,
    "anony": SCALARS,
    "dedup_tag": st.fixed_dictionaries({}, optional={"sampled": SCALARS}),
    "language": SCALARS,
    "response_a": SCALARS,
    "response_b": SCALARS,
}
GOOD_VOTES = st.fixed_dictionaries(USUAL, optional=BESIDE)
ODD_VOTES = st.tuples(GOOD_VOTES, st.sampled_from(sorted(USUAL | BESIDE)), ANYTHING).map(
    lambda drawn: {**drawn[0], drawn[1]: drawn[2]}
)
VOTES = GOOD_VOTES | ODD_VOTES


@pytest.mark.fuzz
@given(st.lists(VOTES, max_size=8), st.sampled_from(sorted(WRITERS)), st.integers(1, 40), st.integers(0, 400))
def test_any_rows_are_read_alike(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict], writer: str, block: int, cut: int
):
    path = tmp_path_factory.getbasetemp() / ("rows.jsonl" if "lines" in writer else "rows.json")
    text = WRITERS[writer](rows)
    path.write_text(text[:cut] if cut % 3 == 0 else text, newline="", errors="surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_portions, "BLOCK", block)
        patch.setattr(vote_chunks, "PORTION", 3)
        streamed, plain = both_ways(path)
    assert streamed == plain
