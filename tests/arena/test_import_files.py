"""`understudy rank`: the forms of votes files that are about, what is wrong with others, and what is printed."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arena.battles.store import BattleAnswer, BattleStore
from arena.votes.counts import VoteTable
from arena.votes.import_files import read_votes
from arena.votes.votes import VERDICTS, cast_vote
from bench.arena.simulated_votes import Crowd, simulate
from tests.support.pirate import understudy
from understudy.errors import ExamplesError
from understudy.registry.database import open_database

PLAIN = "left,right,winner\na,base,left\nbase,a,right\na,base,tie\na,base,both_bad\n"


def written(folder: Path, name: str, content: str | list[dict]) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(content), path)
    elif isinstance(content, list):
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    else:
        path.write_text(content)
    return path


def rows(table: VoteTable) -> list[tuple[str, str, str]]:
    names = table.contestants
    codes = zip(table.left, table.right, table.verdict, strict=True)
    return [(names[left], names[right], VERDICTS[verdict]) for left, right, verdict in codes]


EXPECTED = [("a", "base", "left"), ("base", "a", "right"), ("a", "base", "tie"), ("a", "base", "both_bad")]
LMARENA = [
    {"model_a": "a", "model_b": "base", "winner": "model_a", "judge": "u1", "language": "English"},
    {"model_a": "base", "model_b": "a", "winner": "model_b", "judge": "u2", "language": "German"},
    {"model_a": "a", "model_b": "base", "winner": "tie", "judge": "u1", "language": "English"},
    {"model_a": "a", "model_b": "base", "winner": "tie (bothbad)", "judge": "u1", "language": "English"},
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", PLAIN),
        ("plain.tsv", PLAIN.replace(",", "\t")),
        ("capitals.csv", PLAIN.replace("left,right,winner", "Left,Right,Winner").replace("tie", " TIE ")),
        ("by-name.csv", "left,right,winner\na,base,a\nbase,a,a\na,base,tie\na,base,both bad\n"),
        ("lmarena.jsonl", LMARENA),
        ("lmarena.parquet", LMARENA),
    ],
)
def test_the_same_votes_in_every_form(tmp_path: Path, name: str, content: str | list[dict]):
    file = read_votes(written(tmp_path, name, content))
    assert rows(file.votes) == EXPECTED
    assert (file.left_out, file.sides) == ({}, True)


def test_one_column_a_verdict(tmp_path: Path):
    text = "model_a,model_b,winner_model_a,winner_model_b,winner_tie\na,base,1,0,0\nbase,a,0,1,0\na,base,0,0,1\n"
    assert rows(read_votes(written(tmp_path, "kaggle.csv", text)).votes) == EXPECTED[:3]


def test_counts_of_wins(tmp_path: Path):
    file = read_votes(written(tmp_path, "counts.csv", "item_a,item_b,wins_a,wins_b,ties\na,base,2,1,0\nb,base,0,3,1\n"))
    assert (file.votes.votes, file.votes.times.tolist()) == (7, [2, 1, 3, 1])
    assert not file.sides


def test_rows_that_are_no_votes_are_counted(tmp_path: Path):
    text = "left,right,winner,anony\na,base,left,True\na,a,left,True\na,base,,True\na,base,left,False\na,b,,True\n"
    file = read_votes(written(tmp_path, "votes.csv", text))
    assert file.votes.votes == 1
    assert file.left_out == {"the same contestant on both sides": 1, "no verdict": 2, "not blind": 1}


def test_voters_categories_and_times(tmp_path: Path):
    text = (
        "left,right,winner,judge,language,tstamp\na,base,left,u1,English,30\nb,base,tie,u2,,10\na,b,right,,German,20\n"
    )
    table = read_votes(written(tmp_path, "votes.csv", text), by="Language").votes
    assert [left for left, _, _ in rows(table)] == ["b", "a", "a"], "oldest first"
    assert [table.categories[code] for code in table.category] == ["", "German", "English"]
    assert [table.voters[code] if code >= 0 else None for code in table.voter] == ["u2", None, "u1"]


@pytest.mark.parametrize(
    "row",
    [
        {"left_length": 30, "right_length": 10},
        {"length_a": "30", "length_b": "10"},
        {"response_a": "x" * 30, "response_b": " " + "y" * 10},
        {
            "conversation_a": [{"role": "user", "content": "hm"}, {"role": "assistant", "content": "x" * 30}],
            "conversation_b": [{"role": "user", "content": "hm"}, {"role": "assistant", "content": "x" * 10}],
        },
    ],
)
def test_lengths_from_numbers_texts_and_conversations(tmp_path: Path, row: dict):
    path = written(tmp_path, "votes.jsonl", [{"left": "a", "right": "b", "winner": "left", **row}])
    assert read_votes(path).votes.lean.tolist() == [0.5]


def test_a_length_that_is_not_known_is_none(tmp_path: Path):
    text = "left,right,winner,left_length,right_length\na,b,left,30,\na,b,left,0,0\n"
    unknown, empty = read_votes(written(tmp_path, "votes.csv", text)).votes.lean
    assert math.isnan(unknown)
    assert empty == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("left,right,winner\na,b,left\na,b,maybe\n", r"votes.csv:3: winner is 'maybe'; write left, right, tie or both"),
        ("left,right,winner\n,b,left\n", r"votes.csv:2: left names no contestant"),
        ("model_a,right,verdict\na,b\n", r"votes.csv:2: 2 cells under 3 columns"),
        ("one,right,winner\na,b,left\n", r"votes.csv:2: no column left \(or model_a, item_a\); found one, right, win"),
        ("left,right,who\na,b,left\n", r"votes.csv:2: no column winner .*found left, right, who"),
        ("left,right,winner\n", r"votes.csv: no rows in it; write the columns left,right,winner"),
        ("", r"votes.csv: no rows in it"),
        ("left,right,winner\na,a,left\n", r"votes.csv: no votes in it \(1 × the same contestant on both sides\)"),
        (
            "left,right,winner,left_length,right_length\na,b,left,-1,4\n",
            r"votes.csv:2: left_length is '-1'; write a num",
        ),
        ("left,right,winner,time\na,b,left,3\na,b,left,\n", r"votes.csv:3: time is empty, but other votes have"),
        ("model_a,model_b,winner_model_a,winner_model_b\na,b,1,1\n", r"votes.csv:2: left and right are both 1"),
        ("item_a,item_b,wins_a,wins_b\na,b,1.5,1\n", r"votes.csv:2: wins_a must be a whole number"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_why_and_what_to_do(tmp_path: Path, content: str, says: str):
    with pytest.raises(ExamplesError, match=says) as error:
        read_votes(written(tmp_path, "votes.csv", content))
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path: Path):
    with pytest.raises(ExamplesError, match=r"no such file"):
        read_votes(tmp_path / "none.csv")
    with pytest.raises(ExamplesError, match=r"a folder; give one .jsonl"):
        read_votes(tmp_path)
    with pytest.raises(ExamplesError, match=r".xlsx; give one"):
        read_votes(written(tmp_path, "votes.xlsx", "x"))
    with pytest.raises(ExamplesError, match=r"no column topic for --by; the file has left, right, winner"):
        read_votes(written(tmp_path, "votes.csv", PLAIN), by="topic")


def simulated(path: Path) -> Path:
    crowd = Crowd((0.0, 0.8, -0.3), wordiness=(0.0, 0.2, 0.0), both_bad=0.05)
    table = simulate(crowd, 900, seed=1, voters=60, categories=2)
    columns = zip(table.left, table.right, table.verdict, table.category, table.voter, table.lean, strict=True)
    lines = [
        f"{table.contestants[a]},{table.contestants[b]},{VERDICTS[v]},{table.categories[c]},voter-{w},{1 + z},{1 - z}"
        for a, b, v, c, w, z in columns
    ]
    heading = "left,right,winner,category,voter,left_length,right_length"
    path.write_text("\n".join([heading, *lines, "base,persona-9,left,,,,", "base,base,left,,,,"]) + "\n")
    return path


def test_the_command_prints_every_figure_for_people(tmp_path: Path):
    done = understudy(tmp_path, "rank", str(simulated(tmp_path / "votes.csv")))
    assert (done.returncode, done.stderr) == (0, "")
    for text in (
        "901 votes by 60 voters",
        "left out: 1 rows (the same contestant on both sides)",
        "Elo's scale (base = 1000)",
        "Against base",
        "Side: the left answer won",
        "Length: of two equals, one twice as long wins",
        "category-0: ",
        "Hidden until they have 30 votes: persona-9 (29 to go)",
    ):
        assert text in done.stdout, done.stdout


def test_the_command_prints_every_figure_as_json(tmp_path: Path):
    file = str(simulated(tmp_path / "votes.csv"))
    done = understudy(tmp_path, "rank", file, "--json", "--min-votes", "50")
    board = json.loads(done.stdout)
    assert board["min_votes"] == 50
    assert [row["name"] for row in board["rows"]] == ["persona-1", "base", "persona-2"]
    assert [one["name"] for one in board["overall"]["ratings"]] == ["persona-1", "base", "persona-2"]
    assert (board["overall"]["intervals"], board["overall"]["clusters"]) == ("sandwich", 60)
    assert set(board["rankings"]) == {"bradley_terry", "bradley_terry_points", "elo", "average_win_rate"}
    assert board["left_out"] == {"the same contestant on both sides": 1}
    assert {one["name"] for one in board["categories"]} == {"category-0", "category-1"}
    again = understudy(tmp_path, "rank", file, "--json", "--bootstrap", "20", "--seed", "3", "--base", "persona-2")
    other = json.loads(again.stdout)
    assert (other["base"], other["overall"]["intervals"]) == ("persona-2", "bootstrap")


def test_without_a_file_the_arenas_own_votes_are_ranked(tmp_path: Path):
    engine = open_database(f"sqlite:///{tmp_path / 'home' / 'understudy.db'}")
    store = BattleStore(engine)
    for number in range(40):
        battle, ticket = store.create(
            prompt="Hi", persona="email-copy", session=f"tab-{number % 20}", temperature=0.7, max_tokens=50
        )
        store.finish(battle.id, BattleAnswer("a short one"), BattleAnswer("a somewhat longer one"))
        liked = "email-copy" if number % 4 else "base"
        cast_vote(engine, ticket, "left" if battle.left == liked else "right", session=f"tab-{number % 20}")
    done = understudy(tmp_path, "rank", "--json")
    board = json.loads(done.stdout)
    assert (board["votes"], board["voters"], board["base"]) == (40, 20, "base")
    (pair,) = board["against_base"]
    assert (pair["one"], pair["win_rate"]["wins"], pair["win_rate"]["losses"]) == ("email-copy", 30, 10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "error: no votes yet: vote in the arena"),
        (("--by", "topic"), "error: --by topic: battles of the arena have no such column"),
        (("votes.csv", "--base", "nobody"), "error: --base nobody: no votes on it; contestants are a, base"),
        (("none.csv",), "none.csv: no such file"),
    ],
)
def test_the_command_fails_in_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str):
    written(tmp_path, "votes.csv", PLAIN)
    places = [str(tmp_path / one) if one.endswith(".csv") else one for one in arguments]
    done = understudy(tmp_path, "rank", *places)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
