"""Loading and inspecting data: what is refused, what is left out, what is counted, and what the command prints."""

import json
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.support.system import SHARED
from understudy.cli.app import app
from understudy.cli.commands.data import parse_columns
from understudy.data.inspect import Distribution, Inspection, inspect_data
from understudy.data.load import NOTES, LoadedData, load_data, read_data
from understudy.errors import BaseModelError, ExamplesError

TINY = Path(__file__).parents[2] / "understudy" / "bases" / "tiny"


def pair(prompt: object, completion: object, **more: object) -> dict:
    return {"prompt": prompt, "completion": completion, **more}


def jsonl(folder: Path, *rows: dict, name: str = "e.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


MIXED = [
    pair("Say hi.", "Hi."),
    pair("Say bye.", None),
    pair("Say  hi.", "Hi.\n"),
    pair("Say hi.", "Hello."),
    pair("", "Why?"),
    pair("Say so.", "So."),
]


def test_refusing_names_the_first_bad_row_and_how_many_there_are(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *MIXED)
    with pytest.raises(ExamplesError) as caught:
        load_data(path)
    text = f"{path}:2: completion must be text that is not empty, found None (2 bad rows in all)"
    assert str(caught.value) == text


def test_skipping_leaves_out_bad_rows_and_duplicates_and_lists_them(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *MIXED)
    path.write_text(path.read_text() + "{oops\n")
    loaded = load_data(path, on_bad="skip")
    assert [origin[-1] for origin in loaded.origins] == ["1", "4", "6"]
    assert [(p.origin[-1], p.kind) for p in loaded.problems] == [
        *(("2", "null"), ("5", "empty"), ("7", "not_json"), ("3", "duplicate"), ("1", "conflict"))
    ]
    assert loaded.problems[3].text == f"the same row as {path}:1; remove one"
    assert loaded.problems[4].text.startswith(f"2 different answers to this prompt, another at {path}:4;")
    assert loaded.counts == {"rows": 7, "examples": 3, "bad": 3, "duplicates": 1, "conflicts": 1, "emptied": 0}


def test_duplicates_and_conflicts_alone_refuse_nothing(tmp_path: Path) -> None:
    loaded = load_data(jsonl(tmp_path, *(MIXED[n] for n in (0, 2, 3))))
    assert len(loaded.examples) == 3
    assert [p.kind for p in loaded.problems] == ["duplicate", "conflict"]
    assert loaded.bad == []


@pytest.mark.parametrize("content", ['{"prompt": "x", "completion": ""}\n', "{oops\n"])
def test_skipping_everything_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(content)
    with pytest.raises(ExamplesError, match=r"e\.jsonl: none of 1 rows can be used; .*e\.jsonl:1: "):
        load_data(path, on_bad="skip")


def test_a_limit_draws_rows_by_seed_and_keeps_their_order(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *(pair(f"q{n}", f"a{n}") for n in range(50)))
    first, again, other = (load_data(path, limit=10, seed=seed) for seed in (1, 1, 2))
    assert first.examples == again.examples
    assert first.examples != other.examples
    lines = [int(origin.rpartition(":")[2]) for origin in first.origins]
    assert lines == sorted(lines)
    assert [example.answer for example in first.examples] == [f"a{line - 1}" for line in lines]
    assert (first.counts["rows"], first.counts["examples"]) == (50, 10)
    assert len(load_data(path, limit=99).examples) == 50
    with pytest.raises(ExamplesError, match="limit: found 0"):
        load_data(path, limit=0)


texts = st.text(max_size=8) | st.sampled_from(["N/A", "null", " ", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
roles = st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool"]) | values
entries = st.fixed_dictionaries(
    {}, optional={"role": roles, "content": values, "from": roles, "value": values, "name": values}
)
names = ["prompt", "completion", "instruction", "input", "context", "output", "response", "question", "answer"]
cells = dict.fromkeys([*names, "topic", "source", ""], texts | values)
talks = dict.fromkeys(["messages", "conversations"], st.lists(entries, max_size=4) | values)
rows = st.fixed_dictionaries({}, optional={**cells, **talks}) | values


def check(loaded: LoadedData, rows: int | None = None) -> None:
    assert loaded.counts["rows"] == rows or rows is None
    assert len(loaded.examples) + len(loaded.bad) == loaded.counts["rows"]
    assert all("\n" not in str(problem) for problem in loaded.problems)
    assert all(example.prompt and example.answer.strip() for example in loaded.examples)


@given(st.lists(rows, min_size=1, max_size=5))
def test_no_row_raises_anything_but_our_error(some: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in some))
        for strict in (False, True):
            with suppress(ExamplesError):
                check(read_data(path, strict=strict), len(some))
        with suppress(ExamplesError):
            found = inspect_data(path)
            assert Inspection.model_validate_json(found.model_dump_json(exclude={"bad", "trainable"})) == found


@given(st.lists(rows, min_size=1, max_size=5) | st.dictionaries(texts, st.lists(rows, max_size=3), max_size=2) | values)
def test_no_json_file_raises_anything_but_our_error(content: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e.json"
        path.write_text(json.dumps(content))
        try:
            check(read_data(path))
        except ExamplesError as error:
            said = str(error)
        else:
            said = ""
    assert "\n" not in said


@given(st.binary(max_size=60), st.sampled_from(["jsonl", "json", "csv", "tsv", "parquet"]))
def test_no_file_raises_anything_but_our_error(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"e.{suffix}"
        path.write_bytes(content)
        with pytest.raises(ExamplesError) as caught:
            load_data(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "columns", "schema", "rows", "bad"),
    [
        ("instruct/alpaca_data_1k.json", None, "instruction/input/output", 1000, 0),
        ("instruct/dolly_sample_litgpt.json", None, "instruction/context/response", 12, 0),
        ("code/code_alpaca_2k.json", None, "instruction/input/output", 2017, 2),
        ("jokes/clean_jokes.json", {"prompt": "category", "completion": "body"}, "columns given", 150, 0),
    ],
)
def test_files_from_elsewhere_are_read(file: str, columns: dict | None, schema: str, rows: int, bad: int) -> None:
    path = SHARED / "data" / file
    if not path.exists():
        pytest.skip(f"{path} is third-party data that is not there")
    loaded = load_data(path, columns=columns, on_bad="skip")
    assert (loaded.schema, loaded.counts["rows"], loaded.counts["bad"]) == (schema, rows, bad)
    assert len(loaded.examples) == rows - bad - loaded.counts["duplicates"]
    assert {p.kind for p in loaded.problems} <= {"blank_answer", *NOTES}


def test_jokes_alone_fit_no_schema() -> None:
    path = SHARED / "data" / "jokes" / "clean_jokes.json"
    if not path.exists():
        pytest.skip(f"{path} is third-party data that is not there")
    with pytest.raises(ExamplesError, match="found category, body, rating; we know messages"):
        load_data(path)


LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


def test_an_inspection_counts_what_is_there(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        pair("abc", "y" * 10),
        pair("abcde", "y" * 20, mood="gay"),
        pair("TODO", "TODO"),
        pair("Write to me", "My key is hf_" + "a" * 34),
        pair("Write to me!", "I am ann@company.org"),
        pair("Hidden\u200b space", "bell \u0007"),
        pair("no", None),
        pair("abc", " " + "y" * 10),
    )
    found = inspect_data(path)
    assert (found.rows, found.usable, found.bad, found.duplicates, found.conflicts) == (8, 7, 1, 1, 0)
    assert not found.trainable
    assert found.schema_name == "prompt/completion"
    assert found.columns_used == ("prompt", "completion")
    assert found.columns_ignored == ("mood",)
    assert [(g.kind, g.count, g.bad) for g in found.problems] == [("null", 1, True), ("duplicate", 1, False)]
    assert found.turns == {1: 7}
    assert found.prompt_characters == Distribution(min=3, median=5, p95=13, max=13)
    assert {f.kind: f.origins for f in found.findings} == {
        "placeholder_answer": (f"{path}:3",),
        "secret": (f"{path}:4",),
        "email": (f"{path}:5",),
        "unprintable": (f"{path}:6",),
    }
    printed = found.model_dump_json()
    assert "hf_" not in printed
    assert "ann@" not in printed


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        ("...", ["placeholder_answer"]),
        ("[insert answer here]", ["placeholder_answer"]),
        ("{{output}}", ["placeholder_answer"]),
        ("Lorem ipsum dolor sit amet", ["placeholder_answer"]),
        ("[1, 2]", []),
        ("<h1>Tea</h1>", []),
        ("🎭", []),
        ("42", []),
        ("Tab\tand\r\nline, a family 👨‍👩‍👧, नमस्ते, café", []),
        ("cut \ufffd short", ["unprintable"]),
        ("-----BEGIN RSA PRIVATE KEY-----", ["secret"]),
        ("AKIAABCDEFGH12345678", ["secret"]),
        ("password = 'correct-horse-battery'", ["secret"]),
        ("Your password is the first line of defence.", []),
        ("Mail ann@mail.example.com or ann@example.org", []),
        ("Mail ann.lee+x@mail.company.co.uk", ["email"]),
        ("Use the @ decorator: x@y", []),
    ],
)
def test_only_what_a_person_should_look_at_is_found(tmp_path: Path, answer: str, kinds: list[str]) -> None:
    assert [f.kind for f in inspect_data(jsonl(tmp_path, pair("q", answer))).findings] == kinds


def test_turns_and_system_prompts_are_counted(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    system = [{"role": "system", "content": "S"}]
    found = inspect_data(jsonl(tmp_path, *({"messages": m} for m in (asked, system + asked, system + asked * 3))))
    assert found.turns == {1: 2, 3: 1}
    assert (found.system_prompts.rows, found.system_prompts.distinct) == (2, 1)


def test_held_out_rows_in_the_data_are_counted_once_each(tmp_path: Path) -> None:
    data = jsonl(tmp_path, pair("Say hi.", "Hi."), pair("Count to sixteen.", LONG))
    heldout = jsonl(
        tmp_path,
        pair("Say hi.", "Another answer."),
        pair("say   HI!", "Hi."),
        pair("Count, please.", LONG),
        pair(
            "Count a little.", "one two three four five six seven eight, and then no more of all that at all, my dear"
        ),
        pair("Something else.", "Short."),
        name="heldout.jsonl",
    )
    overlap = inspect_data(data, heldout=heldout).overlap
    assert overlap is not None
    assert (overlap.rows, overlap.exact, overlap.normalised, overlap.contained) == (5, 1, 1, 1)
    assert overlap.origins == tuple(f"{heldout}:{line}" for line in (1, 2, 3))


def test_rows_too_long_for_training_are_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path, pair("Say hi.", "Hi."), pair("Count.", LONG * 20))
    found = inspect_data(path, tokenizer=TINY, max_length=100)
    assert found.tokens is not None
    assert found.tokens.origins == (f"{path}:2",)
    assert found.tokens.spread.max > 100 > found.tokens.spread.min
    assert not found.trainable
    assert inspect_data(path, tokenizer=TINY).trainable
    with pytest.raises(BaseModelError, match="no tokenizer that we can load there"):
        inspect_data(path, tokenizer=tmp_path)


def inspect(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["data", "inspect", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_the_command_explains_itself() -> None:
    code, shown = inspect("--help")
    assert code == 0
    for words in ("FILE", "--columns", "--heldout", "--max-length", "--base", "--json", ".parquet"):
        assert words in shown


def test_the_command_says_yes_when_all_rows_are_good(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("id,q,a\n1,Say [bold]hi[/bold].,Hi.\n")
    code, shown = inspect(tmp_path / "e.csv", "--columns", "prompt=q,completion=a")
    assert code == 0
    assert shown.endswith("all rows can be trained on\n")
    assert "columns ignored    id" in shown
    assert "bad rows" not in shown


def test_the_command_says_no_and_why_when_rows_are_bad(tmp_path: Path) -> None:
    code, shown = inspect(jsonl(tmp_path, *MIXED), "--heldout", jsonl(tmp_path, MIXED[0], name="heldout.jsonl"))
    assert code == 1
    for words in ("bad rows", "1 null", "line 2: completion must be text", "line 5: prompt must", "worth a look"):
        assert words in shown
    assert "1 duplicate" in shown
    assert "1 held-out rows in the data" in shown
    assert shown.endswith("not ready: of 6 rows 2 bad; correct or remove them\n")


def test_the_command_prints_json(tmp_path: Path) -> None:
    code, shown = inspect(jsonl(tmp_path, *MIXED), "--json")
    record = json.loads(shown)
    assert code == 1
    assert (record["rows"], record["usable"], record["bad"], record["trainable"]) == (6, 4, 2, False)
    assert record["problems"][0]["first"][0]["text"] == "completion must be text that is not empty, found None"


def test_the_command_counts_tokens_when_a_length_is_given(tmp_path: Path) -> None:
    code, shown = inspect(jsonl(tmp_path, pair("Say hi.", "Hi. " * 40)), "--max-length", 20)
    assert code == 1
    assert "1 longer than 20 tokens" in shown
    assert "of 1 rows 1 too long" in shown


def test_data_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match="no such file"):
        inspect(tmp_path / "nothing.csv")


@pytest.mark.parametrize("text", ["prompt", "prompt=", "=a", "prompt=a,prompt=b"])
def test_malformed_columns_are_refused(text: str) -> None:
    with pytest.raises(ExamplesError, match="--columns: found .*; write each part once, as in prompt=a,completion=b"):
        parse_columns(text)


def test_columns_are_read_as_pairs() -> None:
    assert parse_columns("prompt = text in, completion=b") == {"prompt": "text in", "completion": "b"}
    assert parse_columns("") == {}
