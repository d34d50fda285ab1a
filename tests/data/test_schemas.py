"""Schemas: which one a file has, and what each row becomes or why it is refused."""

import json
from pathlib import Path

import pytest

from understudy.data.forms.convert import to_example
from understudy.data.forms.schemas import detect_schema
from understudy.data.load import load_data, load_examples, read_data
from understudy.data.records import DataRecord
from understudy.errors import ExamplesError

ASKED = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
NAN = float("nan")


def jsonl(folder: Path, *rows: dict, name: str = "e.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turns(**row: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in row.items()]


GOOD: list[tuple[str, dict, list[dict[str, str]]]] = [
    ("messages", {"messages": ASKED}, ASKED),
    (
        "messages",
        {"messages": [*turns(system="Be brief."), *ASKED, *ASKED]},
        [*turns(system="Be brief."), *ASKED, *ASKED],
    ),
    ("messages", {"messages": [*turns(system=""), *ASKED]}, ASKED),
    ("messages", {"messages": [{**message, "tool_calls": None} for message in ASKED]}, ASKED),
    ("ShareGPT", {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]}, ASKED),
    ("ShareGPT", {"conversations": ASKED}, ASKED),
    (
        "ShareGPT",
        {
            "id": "1",
            "conversations": [
                {"from": "system", "value": "S"},
                *({"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}),
            ],
        },
        [*turns(system="S"), *ASKED],
    ),
    ("prompt/completion", {"prompt": "Hi", "completion": "Hello."}, ASKED),
    ("instruction/input/output", {"instruction": "Hi", "input": "", "output": "Hello."}, ASKED),
    ("instruction/input/output", {"instruction": "Hi", "input": None, "output": "Hello."}, ASKED),
    ("instruction/input/output", {"instruction": "Hi", "input": NAN, "output": "Hello."}, ASKED),
    ("instruction/input/output", {"instruction": "Hi", "input": "<noinput>", "output": "Hello."}, ASKED),
    (
        "instruction/input/output",
        {"instruction": "Add", "input": "1 2", "output": "3"},
        turns(user="Add\n\n1 2", assistant="3"),
    ),
    ("instruction/output", {"instruction": "Hi", "output": "Hello."}, ASKED),
    (
        "instruction/context/response",
        {"instruction": "Who?", "context": "Ann.", "response": "Ann", "category": "closed_qa"},
        turns(user="Who?\n\nAnn.", assistant="Ann"),
    ),
    ("instruction/context/response", {"instruction": "Hi", "context": " ", "response": "Hello."}, ASKED),
    ("instruction/response", {"instruction": "Hi", "response": "Hello."}, ASKED),
    ("question/answer", {"question": "Hi", "answer": "Hello."}, ASKED),
    (
        "question/context/answer",
        {"id": 1, "question": "Who?", "answer": "Ann", "context": "Ann."},
        turns(user="Who?\n\nAnn.", assistant="Ann"),
    ),
]


@pytest.mark.parametrize(("name", "row", "messages"), GOOD)
def test_every_schema_is_recognised_and_becomes_messages(
    tmp_path: Path, name: str, row: dict, messages: list[dict[str, str]]
) -> None:
    loaded = load_data(jsonl(tmp_path, row))
    assert loaded.schema == name
    assert [m.model_dump() for m in loaded.examples[0].messages] == messages
    assert "all 1 rows have" in loaded.detected


PAIR_SCHEMAS = [
    ("prompt", "completion", {}),
    ("instruction", "output", {"input": "x"}),
    ("instruction", "response", {"context": "x"}),
    ("question", "answer", {}),
]
NULLS = [None, NAN, "null", "None", " N/A ", "NaN", "#N/A", "<NA>"]


@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize(("asked", "answered", "more"), PAIR_SCHEMAS)
def test_a_null_where_text_is_needed_makes_the_row_bad(
    tmp_path: Path, asked: str, answered: str, more: dict, null: object
) -> None:
    rows = [{asked: "q", answered: "a", **more}, {asked: null, answered: "a"}, {asked: "q", answered: null}]
    problems = read_data(jsonl(tmp_path, *rows)).problems
    assert [(p.origin[-2:], p.kind) for p in problems] == [(":2", "null"), (":3", "null")]
    assert problems[0].text.startswith(f"{asked} must be text that is not empty, found ")
    assert problems[1].text.startswith(f"{answered} must be text that is not empty, found ")


@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize(("column", "answer"), [("input", "output"), ("context", "response"), ("topic", "output")])
def test_a_null_in_an_optional_column_counts_as_empty(tmp_path: Path, column: str, answer: str, null: object) -> None:
    rows = [{"instruction": "Hi", answer: "Hello.", column: null}, {"instruction": "Hi", answer: "Hello.", column: ""}]
    loaded = load_data(jsonl(tmp_path, *rows))
    assert [m.model_dump() for m in loaded.examples[0].messages] == ASKED
    assert loaded.counts["emptied"] == 1
    assert loaded.examples[0].topic is None


def messages(*entries: object) -> dict:
    return {"messages": list(entries)}


USER, ASSISTANT = ASKED
BAD: list[tuple[dict, str, str]] = [
    ({"messages": None}, "null", "messages must be a list of objects with role and content, found None"),
    ({"messages": "Hi"}, "wrong_type", "messages must be a list .*, found text"),
    ({"messages": "N/A"}, "null", "messages must be a list .*, found the placeholder 'N/A'"),
    ({"messages": {}}, "wrong_type", "found an object"),
    (messages("Hi"), "wrong_type", "messages.0 must be an object with role and content, found text"),
    (messages(None), "wrong_type", "messages.0 must be an object .* found None"),
    (messages(), "bad_turns", "found nothing"),
    (messages(USER), "bad_turns", "ending with the assistant; found user"),
    (messages(USER, ASSISTANT, {"role": "system", "content": "x"}), "bad_turns", "found user, assistant, system"),
    (messages(*[USER] * 20), "bad_turns", "found user, .*, …"),
    (messages({"content": "x"}), "wrong_type", "messages.0.role: Input should be 'system', 'user' or 'assistant'"),
    (messages({"role": ["user"], "content": "x"}), "wrong_type", "messages.0.role: Input should be"),
    (messages({**USER, "name": "Ann"}), "wrong_type", "messages.0.name: Extra inputs are not permitted"),
    (messages({"role": "user", "content": None}, ASSISTANT), "null", "messages.0.content must be text .*, found None"),
    (messages({"role": "user", "content": "none"}, ASSISTANT), "null", "found the placeholder 'none'"),
    (messages({"role": "user", "content": " "}, ASSISTANT), "empty", "messages.0.content must be text .*, found ' '"),
    (messages({"role": "user", "content": 3}, ASSISTANT), "wrong_type", "messages.0.content must be text .*, found 3"),
    (messages({"role": "system", "content": 3}, *ASKED), "wrong_type", "must be text or nothing, found 3"),
    (
        messages(USER, {"role": "assistant", "content": "\n"}),
        "blank_answer",
        "messages.1: the assistant's answer is blank",
    ),
    (messages(USER, {"role": "assistant", "content": None}), "null", "messages.1.content must be text"),
    (
        messages({"role": "user", "content": "\ud800"}, ASSISTANT),
        "wrong_type",
        "messages.0.content: .*Input should be a valid string",
    ),
    ({"conversations": 3}, "wrong_type", "conversations must be a list of objects with from and value, .* found 3"),
    ({"conversations": [{"from": "narrator", "value": "x"}]}, "wrong_type", "conversations.0.from: .*human or gpt"),
    ({"conversations": [{"from": "gpt", "value": "x"}]}, "bad_turns", "found assistant"),
    ({"conversations": [{"from": "human", "value": ""}]}, "empty", "conversations.0.value must be text"),
    ({"conversations": [{"from": "human", "value": "x", "mood": 0}]}, "wrong_type", "0.mood: Extra inputs"),
    ({"prompt": "", "completion": "a"}, "empty", "prompt must be text that is not empty, found ''"),
    ({"prompt": "q", "completion": "  "}, "blank_answer", "completion must be text that is not empty, found '  '"),
    ({"prompt": ["q"], "completion": "a"}, "wrong_type", "prompt must be text that is not empty, found a list"),
    ({"prompt": "q", "completion": True}, "wrong_type", "completion must be text that is not empty, found True"),
    ({"prompt": "q"}, "null", "completion must be text that is not empty, found None"),
    ({"instruction": "q", "input": 3, "output": "a"}, "wrong_type", "input must be text or nothing, found 3"),
    ({"instruction": " ", "input": "", "output": "a"}, "empty", "instruction must be text"),
    ({"instruction": "q", "output": ""}, "blank_answer", "output must be text"),
    (
        {"instruction": "q", "context": ["x"], "response": "a"},
        "wrong_type",
        "context must be text or nothing, found a list",
    ),
    ({"question": "", "answer": "a"}, "empty", "question must be text"),
    ({"question": "q", "answer": {}}, "wrong_type", "answer must be text that is not empty, found an object"),
]


@pytest.mark.parametrize(("row", "kind", "says"), BAD)
def test_a_bad_row_has_a_kind_and_says_why(tmp_path: Path, row: dict, kind: str, says: str) -> None:
    path = jsonl(tmp_path, row)
    assert [p.kind for p in read_data(path).problems] == [kind]
    with pytest.raises(ExamplesError, match=says) as caught:
        load_data(path)
    assert str(caught.value).startswith(f"{path}:1: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"text": "x"}, "found text;"),
        ({"prompt": "x", "reply": "y"}, "found prompt, reply;"),
        ({"a\nb": "x", "\ud800": "y"}, r"found a\\nb, \\ud800;"),
        ({}, "found no columns;"),
        ({f"c{n}": "x" for n in range(50)}, "found c0, .* c19;"),
    ],
)
def test_what_fits_no_schema_lists_columns_and_schemas(tmp_path: Path, row: dict, found: str) -> None:
    with pytest.raises(ExamplesError, match=found) as caught:
        load_data(jsonl(tmp_path, row))
    for word in ("messages", "ShareGPT", "prompt, completion", "Alpaca", "Dolly", "question, answer", "--columns"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_of_several_schemas_are_each_read_by_their_own(tmp_path: Path) -> None:
    pair = {"prompt": "Hi", "completion": "Hello."}
    loaded = read_data(jsonl(tmp_path, {"messages": ASKED}, pair, pair, {"prompt": "x"}, {"text": "x"}))
    assert loaded.schema == "prompt/completion and messages"
    assert loaded.examples[0] == loaded.examples[1]
    assert [(p.kind, p.origin[-1]) for p in loaded.bad] == [("null", "4"), ("no_schema", "5")]


def test_columns_given_win_over_names(tmp_path: Path) -> None:
    row = {"prompt": "wrong", "completion": "wrong", "text_in": "Hi", "text_out": "Hello.", "who": "ann"}
    given = {"prompt": "text_in", "completion": "text_out", "source": "who"}
    loaded = load_data(jsonl(tmp_path, row), columns=given)
    assert [m.model_dump() for m in loaded.examples[0].messages] == ASKED
    assert loaded.examples[0].source == "ann"
    assert loaded.schema == "columns given"
    assert loaded.detected == "columns given: prompt = text_in, completion = text_out, source = who"
    assert loaded.columns_ignored == ("prompt", "completion")


@pytest.mark.parametrize(
    ("row", "given", "expected"),
    [
        ({"prompt": "Hi", "out": "Hello."}, {"completion": "out"}, ASKED),
        (
            {"q": "Hi", "a": "Hello.", "more": "x"},
            {"prompt": "q", "completion": "a", "input": "more"},
            turns(user="Hi\n\nx", assistant="Hello."),
        ),
        (
            {"q": "Hi", "a": "Hello.", "sys": "S"},
            {"prompt": "q", "completion": "a", "system": "sys"},
            [*turns(system="S"), *ASKED],
        ),
        ({"q": "Hi", "a": "Hello.", "sys": None}, {"prompt": "q", "completion": "a", "system": "sys"}, ASKED),
        ({"dialog": ASKED}, {"messages": "dialog"}, ASKED),
    ],
)
def test_columns_may_name_any_part(tmp_path: Path, row: dict, given: dict, expected: list) -> None:
    loaded = load_data(jsonl(tmp_path, row), columns=given)
    assert [m.model_dump() for m in loaded.examples[0].messages] == expected


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"answer": "a"},
            "answer is no part of an example; the parts are prompt, completion, context, system, messages",
        ),
        ({"prompt": "nope"}, "there is no column nope; found q, a"),
        ({"prompt": "q"}, "there is no column completion; found q, a"),
        ({"messages": "q", "prompt": "a"}, "give messages or prompt, not both"),
    ],
)
def test_columns_that_cannot_be_are_refused(tmp_path: Path, given: dict, says: str) -> None:
    with pytest.raises(ExamplesError, match=says):
        load_data(jsonl(tmp_path, {"q": "Hi", "a": "Hello."}), columns=given)


def test_known_columns_are_carried_and_others_named(tmp_path: Path) -> None:
    row = {"instruction": "Hi", "output": "Hello.", "topic": "tea", "source": "me", "category": "x", "id": 7}
    loaded = load_data(jsonl(tmp_path, row))
    assert (loaded.examples[0].topic, loaded.examples[0].source) == ("tea", "me")
    assert loaded.columns_used == ("instruction", "output", "topic", "source")
    assert loaded.columns_ignored == ("category", "id")


def test_a_recipe_refuses_unknown_columns_only_in_rows_of_our_own_form(tmp_path: Path) -> None:
    pair = {"prompt": "Hi", "completion": "Hello."}
    with pytest.raises(ExamplesError, match=":1: mood: Extra inputs"):
        load_examples(jsonl(tmp_path, {**pair, "mood": "gay"}))
    alpaca = {"instruction": "Hi", "output": "Hello.", "id": 1}
    assert load_examples(jsonl(tmp_path, alpaca)) == load_examples(jsonl(tmp_path, pair))
    (tmp_path / "e.csv").write_text("id,prompt,completion\n1,Hi,Hello.\n")
    assert load_examples(tmp_path / "e.csv") == load_examples(jsonl(tmp_path, pair))


def test_detection_and_conversion_work_on_rows_from_anywhere() -> None:
    record = DataRecord("here", {"question": "Hi", "answer": "Hello."})
    schema = detect_schema([record]).schema_of(record.row)
    assert schema is not None
    assert to_example(record.row, schema).example.answer == "Hello."
