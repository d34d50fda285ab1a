"""Shapes of rows from elsewhere: what each becomes, or why it is refused; no column of the conversation is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from understudy.data.load import load_data, read_data
from understudy.errors import ExamplesError

ASK = {"role": "user", "content": "Hi"}
SAY = {"role": "assistant", "content": "Hello."}
FORMER = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Two."}]
SYSTEM = {"role": "system", "content": "S"}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}
AS_TEXT = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "12 degrees"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
ALPACA = {"instruction": "Hi", "input": "", "output": "Hello."}
UNLEARNED = {**SAY, "weight": 0}


def jsonl(folder: Path, *rows: dict) -> Path:
    path = folder / "e.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def chat(*messages: dict, **more: object) -> dict:
    return {"messages": list(messages), **more}


READ: dict[str, tuple[dict, list[dict]]] = {
    "history of pairs": ({**ALPACA, "history": [["How many?", "Two."]]}, [*FORMER, ASK, SAY]),
    "history and system": (
        {**ALPACA, "system": "S", "history": [["How many?", "Two."]]},
        [SYSTEM, *FORMER, ASK, SAY],
    ),
    "history as JSON text": ({**ALPACA, "history": '[["How many?", "Two."]]'}, [*FORMER, ASK, SAY]),
    "history of messages": ({**ALPACA, "history": FORMER}, [*FORMER, ASK, SAY]),
    "no history": ({**ALPACA, "history": [], "system": ""}, [ASK, SAY]),
    "history of a pair": (
        {"prompt": "Hi", "completion": "Hello.", "history": [["How many?", "Two."]]},
        [*FORMER, ASK, SAY],
    ),
    "history of a question": (
        {"question": "Hi", "answer": "Hello.", "history": [["How many?", "Two."]]},
        [*FORMER, ASK, SAY],
    ),
    "system of messages": (chat(ASK, SAY, system="S"), [SYSTEM, ASK, SAY]),
    "system twice the same": (chat(SYSTEM, ASK, SAY, system="S"), [SYSTEM, ASK, SAY]),
    "system of ShareGPT": (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}], "system": "S"},
        [SYSTEM, ASK, SAY],
    ),
    "OpenOrca": ({"id": 1, "system_prompt": "S", "question": "Hi", "response": "Hello."}, [SYSTEM, ASK, SAY]),
    "question with context": (
        {"question": "Who?", "context": "Ann.", "answer": "Ann"},
        [{"role": "user", "content": "Who?\n\nAnn."}, {"role": "assistant", "content": "Ann"}],
    ),
    "prompt with context": (
        {"prompt": "Who?", "context": "Ann.", "completion": "Ann"},
        [{"role": "user", "content": "Who?\n\nAnn."}, {"role": "assistant", "content": "Ann"}],
    ),
    "input and output": ({"input": "Hi", "output": "Hello."}, [ASK, SAY]),
    "query and response": ({"query": "Hi", "response": "Hello."}, [ASK, SAY]),
    "TRL's conversational pair": ({"prompt": [ASK], "completion": [SAY]}, [ASK, SAY]),
    "answers in the prompt are no loss": (
        {"prompt": [ASK, SAY, ASK], "completion": [SAY]},
        [ASK, UNLEARNED, ASK, SAY],
    ),
    "weight 0": (chat(ASK, {**SAY, "weight": 0}, ASK, {**SAY, "weight": 1}), [ASK, UNLEARNED, ASK, SAY]),
    "train false": (chat({**ASK, "train": False}, {**SAY, "train": False}, ASK, SAY), [ASK, UNLEARNED, ASK, SAY]),
    "parts of text": (chat({"role": "user", "content": [{"type": "text", "text": "Hi"}]}, SAY), [ASK, SAY]),
    "parts with nulls": (
        chat({"role": "user", "content": [{"type": "text", "text": "Hi", "image_url": None}]}, SAY),
        [ASK, SAY],
    ),
    "developer": (chat({"role": "developer", "content": "S"}, ASK, SAY), [SYSTEM, ASK, SAY]),
    "a call and its result": (chat(ASK, CALLED, RESULT, SAY), [ASK, CALLED, RESULT, SAY]),
    "a call at the end": (chat(ASK, CALLED), [ASK, CALLED]),
    "arguments as text": (
        chat(ASK, {"role": "assistant", "content": None, "tool_calls": [AS_TEXT]}),
        [ASK, {**CALLED, "tool_calls": [{"id": "1", **CALL}]}],
    ),
    "OpenAI's older call": (
        chat(
            ASK,
            {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"city":"Ulm"}'}},
            {"role": "function", "name": "weather", "content": "12 degrees"},
            SAY,
        ),
        [ASK, CALLED, {**RESULT, "name": "weather"}, SAY],
    ),
    "ShareGPT's call": (
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Ulm"}}'},
                {"from": "observation", "value": "12 degrees"},
                {"from": "gpt", "value": "Hello."},
            ],
            "tools": '[{"name": "weather"}]',
        },
        [ASK, CALLED, RESULT, SAY],
    ),
    "a wanted answer beside empty cells": ({"prompt": "Hi", "completion": "Hello.", "label": 1.0}, [ASK, SAY]),
    "what is kept beside a row": ({**ALPACA, "text": "Hi Hello.", "source": "x", "num_turns": 1}, [ASK, SAY]),
    "a wanted answer": ({"prompt": "Hi", "completion": "Hello.", "label": True}, [ASK, SAY]),
    "a column that repeats the messages": (chat(ASK, SAY, prompt="Hi"), [ASK, SAY]),
    "no images": ({**ALPACA, "images": []}, [ASK, SAY]),
}


@pytest.mark.parametrize("shape", READ)
def test_a_shape_is_read(tmp_path: Path, shape: str) -> None:
    row, messages = READ[shape]
    loaded = load_data(jsonl(tmp_path, row))
    assert [m.model_dump(mode="json") for m in loaded.examples[0].messages] == messages
    meaningful = {"history", "system", "system_prompt", "context", "tools"}
    assert not meaningful & set(loaded.columns_ignored)


REFUSED: dict[str, tuple[dict, str, str]] = {
    "history that is no list": ({**ALPACA, "history": {"a": "b"}}, "wrong_type", "history must be a list of pairs"),
    "history with a key twice": (
        {**ALPACA, "history": '[{"role": "user", "role": "assistant", "content": "a"}]'},
        "repeated_key",
        "history: the key 'role' stands twice in one object",
    ),
    "history of threes": ({**ALPACA, "history": [["a", "b", "c"]]}, "wrong_type", "history.0 must be a pair"),
    "history with a null": ({**ALPACA, "history": [["a", None]]}, "null", "history.0.1 must be text"),
    "two system prompts": (chat(SYSTEM, ASK, SAY, system="T"), "bad_turns", "two different system prompts"),
    "choices": ({"question": "Hi", "choices": ["a"], "answer": "Hello."}, "unused_column", "choices belongs to"),
    "passage": ({"question": "Hi", "passage": "x y", "answer": "Hello."}, "unused_column", "passage belongs to"),
    "a rejected answer": ({"prompt": "Hi", "completion": "Hello.", "rejected": "No."}, "unused_column", "rejected"),
    "another spelling of context": (
        {"question": "Hi", "Context": "x", "answer": "Hello."},
        "unused_column",
        "Context belongs to",
    ),
    "another spelling of history": ({**ALPACA, "chatHistory": [["a", "b"]]}, "unused_column", "chatHistory belongs to"),
    "another name of history": ({**ALPACA, "previous_turns": [["a", "b"]]}, "unused_column", "previous_turns belongs"),
    "another name of system": ({**ALPACA, "system_message": "T"}, "unused_column", "system_message belongs to"),
    "another name of context": ({**ALPACA, "background": "x"}, "unused_column", "background belongs to"),
    "the older form of tools": (chat(ASK, SAY, functions=[{"name": "f"}]), "unused_column", "functions belongs to"),
    "label 0.0": ({"prompt": "Hi", "completion": "Hello.", "label": 0.0}, "unwanted", "label is 0.0: people did"),
    "label 0.0 as text": ({"prompt": "Hi", "completion": "Hello.", "label": "0.0"}, "unwanted", "label is 0.0"),
    "Is Good": ({"prompt": "Hi", "completion": "Hello.", "Is Good": "no"}, "unwanted", "Is Good is no"),
    "label false": ({"prompt": "Hi", "completion": "Hello.", "label": False}, "unwanted", "label is False: people did"),
    "label as text": ({"prompt": "Hi", "completion": "Hello.", "label": "false"}, "unwanted", "label is false"),
    "label 0": ({"prompt": [ASK], "completion": [SAY], "label": 0}, "unwanted", "label is 0"),
    "kto_tag": ({**ALPACA, "kto_tag": False}, "unwanted", "kto_tag is False"),
    "thumbs down": ({**ALPACA, "thumbs": "down"}, "unwanted", "thumbs is down"),
    "images": ({**ALPACA, "instruction": "<image>\nWhat?", "images": ["a.png"]}, "not_text", "images: found a list"),
    "a place for an image": (
        {**ALPACA, "instruction": "<image>\nWhat?", "images": None},
        "not_text",
        "place for an",
    ),
    "an image part": (
        chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, SAY),
        "not_text",
        "messages.0.content.0: found image_url; a model learns from text only",
    ),
    "weight 0.5": (chat(ASK, {**SAY, "weight": 0.5}), "wrong_type", "messages.1.weight must be 0 or 1, found 0.5"),
    "weight on the user": (chat({**ASK, "weight": 1}, SAY), "wrong_type", "only answers are learned"),
    "nothing learned": (chat(ASK, {**SAY, "weight": 0}), "bad_turns", "every answer has weight 0"),
    "a result without a call": (chat(ASK, RESULT, SAY), "bad_turns", "found user, tool, assistant"),
    "a call without a result": (chat(ASK, CALLED, SAY), "bad_turns", "results of tools after a call"),
    "a call without a name": (
        chat(ASK, {**CALLED, "tool_calls": [{}]}),
        "wrong_type",
        "call with name",
    ),
    "arguments that are none": (
        chat(ASK, {**CALLED, "tool_calls": [{"function": {"name": "f", "arguments": "{oops"}}]}),
        "wrong_type",
        "arguments must be JSON",
    ),
    "tools that are none": (chat(ASK, SAY, tools="oops"), "wrong_type", "tools must be JSON"),
    "tools with a key twice": (
        chat(ASK, SAY, tools='[{"name": "f", "name": "g"}]'),
        "repeated_key",
        "tools: the key 'name' stands twice in one object",
    ),
    "a tool without a name": (chat(ASK, SAY, tools=[{"type": "function"}]), "wrong_type", "tools.0 must be a function"),
}


@pytest.mark.parametrize("shape", REFUSED)
def test_a_shape_is_refused_by_name(tmp_path: Path, shape: str) -> None:
    row, kind, says = REFUSED[shape]
    path = jsonl(tmp_path, row)
    (problem,) = read_data(path).problems
    assert problem.kind == kind
    assert says in problem.text
    with pytest.raises(ExamplesError, match=r"e\.jsonl:1: "):
        load_data(path)
    kept = load_data(jsonl(tmp_path, {"prompt": "Good", "completion": "Yes."}, row), on_bad="skip")
    assert [example.answer for example in kept.examples] == ["Yes."], "filtered where bad rows are skipped"


def test_columns_that_a_person_names_are_all_that_is_meant(tmp_path: Path) -> None:
    row = {"question": "Hi", "choices": ["a"], "answer": "Hello."}
    loaded = load_data(jsonl(tmp_path, row), columns={"prompt": "question", "completion": "answer"})
    assert loaded.columns_ignored == ("choices",)


def test_what_no_row_has_is_never_said_to_be_in_all(tmp_path: Path) -> None:
    loaded = read_data(jsonl(tmp_path, {"output": "Hello."}))
    assert loaded.detected == "no row has all of instruction, output; there is no column instruction"
    assert [p.kind for p in loaded.problems] == ["null"]
    mixed = read_data(jsonl(tmp_path, ALPACA, {"input": "Hi", "output": "Hello."}))
    assert [(p.kind, p.text[:11]) for p in mixed.problems] == [("null", "instruction")]


def test_pairs_of_answers_are_sent_to_where_they_are_learned_from(tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match="pairs of answers .* --method dpo --preferences FILE"):
        load_data(jsonl(tmp_path, {"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}))


TWICE = [
    '{"prompt": "Hi", "prompt": "Ho", "completion": "Hello."}',
    '{"prompt": "Hi", "completion": "Hello.", "completion": "Hello."}',
    '{"messages": [{"role": "user", "content": "a", "content": "b"}, {"role": "assistant", "content": "c"}]}',
]


@pytest.mark.parametrize("line", TWICE)
@pytest.mark.parametrize("form", ["{}\n", "[{}]", "\n{}\n"])
def test_a_key_that_stands_twice_makes_the_row_bad(tmp_path: Path, line: str, form: str) -> None:
    for name in ("e.jsonl", "e.json"):
        path = tmp_path / name
        path.write_text(form.replace("{}", line) if name == "e.jsonl" else f"[{line}]")
        (problem,) = read_data(path).problems
        assert problem.kind == "repeated_key"
        assert "stands twice in one object" in problem.text


PAIR = {"prompt": "Hi", "completion": "Hello."}
DOCUMENTS: dict[str, Any] = {
    "a list in one line": json.dumps([PAIR, PAIR]),
    "a list over lines": json.dumps([PAIR, PAIR], indent=2),
    "a list, an object a line": "[\n" + json.dumps(PAIR) + ",\n" + json.dumps(PAIR) + "\n]\n",
    "a list after a mark": "\ufeff" + json.dumps([PAIR, PAIR], indent=1),
    "a list after blank lines": "\n\n" + json.dumps([PAIR, PAIR], indent=1),
    "an object with a list": json.dumps({"data": [PAIR, PAIR]}, indent=2),
    "an object with a list on one line": json.dumps({"version": "1", "data": [PAIR, PAIR]}),
}


@pytest.mark.parametrize("form", DOCUMENTS)
def test_a_list_that_is_named_jsonl_is_read_as_a_list(tmp_path: Path, form: str) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(DOCUMENTS[form], encoding="utf-8")
    loaded = load_data(path)
    assert (loaded.counts["rows"], len(loaded.examples)) == (2, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[\n" + json.dumps(PAIR) + ",\n]", ":3: not JSON"),
        ('[{"prompt": "Hi",', ":1: not JSON"),
        (f"[{json.dumps(PAIR)}]\n[{json.dumps(PAIR)}]", "write one object a line, or one list"),
        (json.dumps(PAIR, indent=1) + "\n" + json.dumps(PAIR, indent=1), "its objects go over several lines"),
    ],
)
def test_a_document_that_is_broken_is_one_line_not_many_rows(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(text)
    with pytest.raises(ExamplesError, match=says) as caught:
        load_data(path)
    assert "bad rows" not in str(caught.value)


def test_one_row_of_messages_is_a_row_and_no_document(tmp_path: Path) -> None:
    assert len(load_data(jsonl(tmp_path, chat(ASK, SAY))).examples) == 1


def test_a_field_of_any_length_is_read_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text(f'prompt,completion\nHi,"{"word " * 40_000}"\n')
    assert len(load_data(path).examples[0].answer) == 200_000
    path.write_text('prompt,completion\nHi,"' + "word " * 40_000 + "\n")
    with pytest.raises(ExamplesError, match=":2: not CSV from here .*; is a double quote missing"):
        load_data(path)
