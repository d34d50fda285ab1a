"""Votes files of other arenas: each shape is read as its publisher means it, or refused by row."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

from arena.ranking.leaderboard import build_leaderboard
from arena.ranking.other_methods import elo, other_rankings
from arena.ranking.rank_votes import rank_votes
from arena.votes.answer_length import NoTextError, answer_length
from arena.votes.counts import CountedVote, VoteTable, count_cells
from arena.votes.import_files import VotesFile, read_votes
from arena.votes.vote_chunks import chunks
from arena.votes.votes import VERDICTS
from tests.support.pirate import understudy
from understudy.config.settings import Settings
from understudy.errors import ExamplesError

LMARENA = "model_a,model_b,winner\n" + "x,y,model_a\n" * 10 + "y,x,model_a\n" * 5 + "x,y,tie (bothbad)\n" * 15


def file_of(folder: Path, text: str, name: str = "votes.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def lines_of(folder: Path, rows: list[dict], name: str = "votes.jsonl") -> Path:
    return file_of(folder, "".join(json.dumps(row) + "\n" for row in rows), name)


def verdicts(read: VotesFile) -> list[tuple[str, str, str]]:
    names, table = read.votes.contestants, read.votes
    codes = zip(table.left, table.right, table.verdict, strict=True)
    return [(names[left], names[right], VERDICTS[verdict]) for left, right, verdict in codes]


@pytest.mark.parametrize(("both_bad", "apart"), [("tie", 58.451), ("out", 120.412)])
def test_both_bad_is_half_a_win_as_lmarena_has_it_or_nothing(tmp_path: Path, both_bad: str, apart: float):
    scores = other_rankings(count_cells(read_votes(file_of(tmp_path, LMARENA)).votes), both_bad)  # pyright: ignore
    points = scores["bradley_terry_points"]
    assert (points["x"] or 0) - (points["y"] or 0) == pytest.approx(apart, abs=0.001)


def test_which_reading_of_both_bad_it_was_is_said(tmp_path: Path):
    path = str(file_of(tmp_path, LMARENA))
    assert "half a win for each, as LMArena counts them" in understudy(tmp_path, "rank", path).stdout
    assert "leave out the 15 votes for both bad" in understudy(tmp_path, "rank", path, "--both-bad", "out").stdout


def test_points_are_anchored_as_lmarenas_published_tables_are(tmp_path: Path):
    text = LMARENA.replace("x,", "mixtral-8x7b-instruct-v0.1,").replace(",x,", ",mixtral-8x7b-instruct-v0.1,")
    points = other_rankings(count_cells(read_votes(file_of(tmp_path, text)).votes))["bradley_terry_points"]
    assert points["mixtral-8x7b-instruct-v0.1"] == 1114
    assert points["y"] == pytest.approx(1114 - 58.451, abs=0.001)


def test_points_are_those_of_fastchats_regression(tmp_path: Path):
    """LMArena's tables come from a logistic regression without intercept (FastChat, `elo_analysis.py`): each battle
    twice, a tie of either kind once as a win of each, log-odds times 400 / ln 10, one model put at 1114."""
    names = ["mixtral-8x7b-instruct-v0.1", *(f"model-{number}" for number in range(11))]
    chance = np.random.default_rng(0)
    left = chance.integers(12, size=6_000)
    right = (left + chance.integers(1, 12, size=6_000)) % 12
    winner = chance.choice(["model_a", "model_b", "tie", "tie (bothbad)"], 6_000, p=[0.3, 0.25, 0.25, 0.2])
    winner = np.where((left < right) & (chance.random(6_000) < 0.3), "model_a", winner)
    header = "model_a,model_b,winner\n"
    lines = (f"{names[a]},{names[b]},{won}\n" for a, b, won in zip(left, right, winner, strict=True))
    path = file_of(tmp_path, header + "".join(lines))
    points = other_rankings(count_cells(read_votes(path).votes))["bradley_terry_points"]

    design = np.zeros((6_000, 12))
    design[np.arange(6_000), left], design[np.arange(6_000), right] = 1, -1
    tied = np.char.startswith(winner.astype(str), "tie")
    first, second = (winner == "model_a") | tied, winner == "model_a"
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    odds = regression.fit(np.concatenate([design, design]), np.concatenate([first, second])).coef_[0]
    theirs = 400 / np.log(10) * (odds - odds[0]) + 1114
    assert [points[name] for name in names] == pytest.approx(theirs.tolist(), abs=1e-3)


def test_both_bad_moves_elo_as_a_tie_does():
    votes = VoteTable.of([CountedVote("x", "y", "left"), CountedVote("x", "y", "both_bad")])
    ties = VoteTable.of([CountedVote("x", "y", "left"), CountedVote("x", "y", "tie")])
    assert elo(votes) == elo(ties) != elo(votes, "out")


TURNS = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
LENGTHS = [
    ("answer", 6),
    ("  answer\n", 6),
    ("[1, 2, 3]", 9),
    ("{not json}", 10),
    ('"To be", he said', 16),
    (TURNS, 6),
    (json.dumps(TURNS), 6),
    (repr(TURNS), 6),
    (json.dumps(["answer", "again"]), 11),
    (json.dumps(["ans\nwer", None]), 7),
    (json.dumps('a "quoted" answer\n!'), 19),
    ([{"role": "assistant", "content": [{"type": "text", "text": "answer"}, {"type": "image_url", "url": "x"}]}], 6),
    (json.dumps([{"role": "assistant", "content": [{"type": "text", "text": "answer"}]}]), 6),
    ([{"type": "text", "text": "ans"}, {"type": "text", "text": "wer"}], 6),
    ([{"from": "human", "value": "question"}, {"from": "gpt", "value": "answer"}], 6),
    ([["user", "question"], ["assistant", "answer"]], 6),
    ({"role": "assistant", "content": "answer"}, 6),
    ({"messages": TURNS}, 6),
    ([{"role": "assistant", "content": None}], 0),
    ("", 0),
    (None, None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "length"), LENGTHS)
def test_an_answers_length_is_that_of_its_text(value: object, length: int | None):
    assert answer_length(value) == length


@pytest.mark.parametrize("value", [5, [TURNS[0]], True])
def test_what_holds_no_answer_is_refused(value: object, tmp_path: Path):
    with pytest.raises(NoTextError):
        answer_length(value)
    path = lines_of(tmp_path, [{"left": "a", "right": "b", "winner": "left", "response_a": value, "response_b": "x"}])
    with pytest.raises(ExamplesError, match=r"votes.jsonl:1: response_a (is|has)"):
        read_votes(path)


IN_ORDER = [
    ["1", "2.5", "10"],
    ["1700000000", "1700000001"],
    ["8/31/2024", "9/1/2024", "10/1/2024"],
    ["31/8/2024 9:05", "1/9/2024 10:00"],
    ["9/1/2024 11:59 AM", "9/1/2024 1:00 PM", "9/13/2024 12:00 AM"],
    ["2024-09-01T10:00:00+02:00", "2024-09-01T09:00:00Z"],
    ["2024-09-01 10:00:00 UTC", "2024-09-01 10:00:01 GMT"],
    ["2024-09-01", "2024-09-01T00:00:01", "2024-9-2 10:00"],
    ["31.8.2024", "1.9.2024 10:00"],
    ["Sun, 01 Sep 2024 10:00:00 +0200", "Sun, 01 Sep 2024 09:00:00 GMT"],
    ["Aug 31, 2024", "Sep 1, 2024 10:00 am"],
    ["31 August 2024", "1 September 2024"],
    ["2024/09/01 10:00:00.25", "2024/09/01 10:00:00.5"],
]


@pytest.mark.parametrize("times", IN_ORDER, ids=lambda times: times[0])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_times_put_votes_in_order(times: list[str], form: str, tmp_path: Path):
    rows = [{"left": f"m{i}", "right": "base", "winner": "left", "time": time} for i, time in enumerate(times)]
    if form == "csv":
        text = "".join(f'{row["left"]},base,left,"{row["time"]}"\n' for row in reversed(rows))
        path = file_of(tmp_path, "left,right,winner,time\n" + text)
    else:
        path = lines_of(tmp_path, rows[::-1])
    assert [left for left, _, _ in verdicts(read_votes(path))] == [row["left"] for row in rows]


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (["9/1/2024", "10/1/2024"], "csv:2: time is '9/1/2024': is the day or the month first"),
        (["13/1/2024", "1/13/2024"], "csv:3: time is '1/13/2024', but other dates have day and month the other way"),
        (["2024-09-01T10:00:00", "2024-09-01T10:00:00Z"], "csv:3: .*a date with a zone, where others are a date with"),
        (["1700000000", "2024-09-01"], "csv:3: .* a date without a zone, where others are a number"),
        (["1700000000", "1700000000001"], "csv:3: .*seconds where this is milliseconds"),
        (["2024-09-01 10:00 CEST", "2024-09-01 11:00 CEST"], "csv:2: .*no time that we read"),
        (["yesterday", "today"], "csv:2: time is 'yesterday'"),
        (["2024-13-01", "2024-01-01"], "csv:2: time is '2024-13-01'"),
        (["nan", "1"], "csv:2: time is"),
        (["10:32", "10:33"], "csv:2: time is '10:32'"),
        (["1", ""], "csv:3: time is empty"),
    ],
)
def test_times_that_cannot_be_put_in_order_are_refused(times: list[str], says: str, tmp_path: Path):
    path = file_of(tmp_path, "left,right,winner,time\n" + "".join(f"a,b,left,{time}\n" for time in times))
    with pytest.raises(ExamplesError, match=says):
        read_votes(path)


def test_sides_that_never_changed_are_not_told_apart_from_strength(tmp_path: Path):
    fixed = (
        [CountedVote("a", "b", "left")] * 30
        + [CountedVote("b", "c", "left")] * 20
        + [CountedVote("a", "c", "right")] * 9
    )
    board = build_leaderboard(count_cells(VoteTable.of(fixed)), min_votes=1)
    assert board.position is None
    assert "Sides never changed, so side and strength cannot be told apart." in [note.text for note in board.notes]
    assert board.controlled is None
    changed = build_leaderboard(count_cells(VoteTable.of([*fixed, CountedVote("b", "a", "right")])), min_votes=1)
    assert changed.position is not None
    assert "sides" not in [note.code for note in changed.notes]


def test_exact_repeats_are_counted_and_said(tmp_path: Path):
    rows = "a,b,left,u1,30\nb,a,left,u1,31\n"
    path = file_of(tmp_path, "left,right,winner,judge,tstamp\n" + rows * 3 + "a,b,left,u2,30\n")
    read = read_votes(path)
    assert (read.repeats, read.votes.votes) == (4, 7)
    assert (
        "4 rows are exact repeats of earlier rows; they are counted" in understudy(tmp_path, "rank", str(path)).stdout
    )
    prompts = file_of(
        tmp_path, "left,right,winner,judge,prompt\na,b,left,u1,Hi\na,b,left,u1,Ho\na,b,left,u1,Hi\n", "p.csv"
    )
    assert read_votes(prompts).repeats == 1
    assert read_votes(file_of(tmp_path, "left,right,winner\na,b,left\na,b,left\n", "plain.csv")).repeats == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dedup_tag", {"high_freq": True, "sampled": False}),
        ("dedup_tag", "{'high_freq': True, 'sampled': False}"),
        ("dedup_tag", '{"high_freq": true, "sampled": false}'),
        ("dedup_tag.sampled", False),
        ("anony", False),
        ("anony", "False"),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_rows_that_their_publisher_leaves_out_are_left_out(name: str, value: object, form: str, tmp_path: Path):
    kept = True if not isinstance(value, dict) else {"high_freq": False, "sampled": True}
    kept = "True" if value == "False" else '{"sampled": true}' if isinstance(value, str) else kept
    rows = [{"left": "a", "right": "b", "winner": "left", name: each} for each in (kept, value)]
    path = tmp_path / f"votes.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        lines_of(tmp_path, rows)
    read = read_votes(path)
    assert read.votes.votes == 1
    assert list(read.left_out.values()) == [1]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("item_a,item_b,wins_a,wins_b,ties,both_bad\na,b,3,2,1,4\n", [3, 2, 1, 4]),
        ("item_a,item_b,wins_a,wins_b,tie (bothbad)\na,b,3,2,4\n", [3, 2, 0, 4]),
        ("model_a,model_b,winner_model_a,winner_model_b,winner_tie,both_bad\na,b,0,0,0,1\na,b,1,0,0,0\n", [1, 0, 0, 1]),
        ("model_a,model_b,winner_model_a,winner_model_b,winner_tie (bothbad)\na,b,False,False,True\n", [0, 0, 0, 1]),
    ],
)
def test_both_bad_may_have_its_column(text: str, counts: list[int], tmp_path: Path):
    table = read_votes(file_of(tmp_path, text)).votes
    assert [int(table.times[table.verdict == code].sum()) for code in range(4)] == counts


def fastchat(kind: str, *, shown: tuple[str, str] = ("", ""), models: tuple[str, str] = ("a", "b")) -> dict:
    messages = [["user", "question"], ["assistant", "answer"]]
    states = [{"model_name": name, "offset": 0, "messages": messages} for name in models]
    return {"tstamp": 1.7e9, "type": kind, "models": list(shown), "states": states, "ip": "1.2.3.4"}


@pytest.mark.parametrize("name", ["log.jsonl", "2024-09-01-conv.json"])
def test_fastchats_log_is_read(name: str, tmp_path: Path):
    kinds = ["chat", "leftvote", "rightvote", "tievote", "bothbad_vote", "upvote"]
    rows = [fastchat(kind) for kind in kinds]
    rows += [fastchat("leftvote", shown=("### Model A: a", "### Model B: b"))]
    rows += [fastchat("leftvote", shown=("### Model A: a", "### Model B: other"))]
    read = read_votes(lines_of(tmp_path, rows, name))
    assert [verdict for _, _, verdict in verdicts(read)] == list(VERDICTS)
    assert read.left_out == {
        "no vote but chat": 1,
        "no vote but upvote": 1,
        "not blind": 1,
        "the names shown are not those of the models": 1,
    }
    assert (read.votes.lean == 0).all()
    assert read.votes.voters == ("1.2.3.4",)


def test_open_webuis_feedback_is_read(tmp_path: Path):
    def feedback(rating: object, rivals: object, at: int = 1) -> dict:
        data = {"rating": rating, "model_id": "a", "sibling_model_ids": rivals}
        return {"id": "1", "user_id": "u", "type": "rating", "data": data, "meta": {}, "created_at": at}

    rows = [feedback(1, ["b", "c"], 2), feedback("-1", ["b"], 1), feedback(1, None), feedback(None, ["b"])]
    read = read_votes(file_of(tmp_path, json.dumps(rows), "feedback.json"))
    assert verdicts(read) == [("a", "b", "right"), ("a", "b", "left"), ("a", "c", "left")]
    assert sum(read.left_out.values()) == 2
    assert (read.sides, read.ordered) == (False, True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("left,right,winner\ntie,b,tie\n", "csv:2: winner is 'tie', a verdict and a contestant's name"),
        ("left,right,winner,anony\na,b,left,perhaps\n", "csv:2: anony is 'perhaps'; write true or false"),
        (
            "left,right,winner_model_a,winner_model_b\na,b,x,0\n".replace("left,right", "model_a,model_b"),
            "write 0 or 1",
        ),
        ("left,right,winner,wins_a,wins_b\na,b,left,3,4\n", "csv:2: both winner and wins_a say who won; remove one"),
        ('left,right,winner\na,"b"x,left\n', "csv:2: not CSV from here"),
        ('left,right,winner\na,b,left\na,b,"left\n', "csv:3: not CSV from here"),
    ],
)
def test_rows_with_two_readings_are_refused(text: str, says: str, tmp_path: Path):
    with pytest.raises(ExamplesError, match=says):
        read_votes(file_of(tmp_path, text))


def test_columns_of_one_side_are_told(tmp_path: Path):
    path = file_of(tmp_path, "left,right,winner,left_length\na,b,left,3\n")
    board = rank_votes(Settings(), path, base="base", min_votes=1, by=None, bootstrap=0, seed=0)
    assert "The column left_length is not used, for there is no right_length." in [note.text for note in board.notes]


def test_columns_and_rows_are_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A quoted file with every column, by pyarrow and row by row."""
    head = '"left","right","winner","judge","tstamp","language","answer_a","answer_b"\n'
    rows = [
        f'"m{i % 3}","m{i % 4}","model_{"ab"[i % 2]}","u{i % 5}",{i},"L, {i % 2}","say ""{"x" * i}""\n","y"\n'
        for i in range(60)
    ]
    path = file_of(tmp_path, head + "".join(rows))
    fast = read_votes(path, by="language")
    monkeypatch.setattr("arena.votes.import_files.fast_chunks", lambda path, wanted: chunks(path))
    slow = read_votes(path, by="language")
    assert verdicts(fast) == verdicts(slow)
    assert fast.left_out == slow.left_out
    assert fast.votes.lean.tolist() == slow.votes.lean.tolist()
    assert (fast.votes.categories, fast.votes.voters) == (slow.votes.categories, slow.votes.voters)
