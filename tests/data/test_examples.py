"""Examples files: what is read, and how each kind of broken file is named."""

import json
from pathlib import Path

import pytest

from understudy.data.load import load_examples
from understudy.data.messages import fingerprint
from understudy.errors import ExamplesError

PAIR = {"prompt": "Hi", "completion": "Hello."}


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_pairs_and_messages_become_the_same_example(tmp_path: Path) -> None:
    messages = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
    first, second = load_examples(write(tmp_path / "e.jsonl", PAIR, messages))
    assert first == second
    assert first.prompt == [{"role": "user", "content": "Hi"}]
    assert first.answer == "Hello."


def test_blank_lines_are_skipped_but_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", PAIR, "", "{broken")
    with pytest.raises(ExamplesError, match=r"e\.jsonl:3: not JSON"):
        load_examples(path)


def test_fingerprint_ignores_spacing_and_sees_content(tmp_path: Path) -> None:
    tight = write(tmp_path / "a.jsonl", json.dumps(PAIR, separators=(",", ":")))
    loose = write(tmp_path / "b.jsonl", json.dumps(PAIR, indent=None), "")
    other = write(tmp_path / "c.jsonl", {**PAIR, "completion": "Hello!"})
    assert fingerprint(load_examples(tight)) == fingerprint(load_examples(loose))
    assert fingerprint(load_examples(tight)) != fingerprint(load_examples(other))


def turn(*roles: str) -> dict:
    return {"messages": [{"role": role, "content": "x"} for role in roles]}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", r":1: not JSON \(.*column 2\)"),
        ("[1, 2]", ":1: found a JSON list"),
        ('{"text": "x"}', ":1: messages: Field required"),
        ({"prompt": "", "completion": "x"}, ":1: prompt must be text that is not empty"),
        ({"prompt": "x"}, ":1: completion must be text that is not empty, found None"),
        ({"prompt": 3, "completion": "x"}, ":1: prompt must be text that is not empty, found 3"),
        ({**PAIR, "mood": "gay"}, ":1: mood: Extra inputs"),
        (turn("user"), "ending with the assistant; found user"),
        (turn("assistant", "user"), "found assistant, user"),
        (turn("user", "user", "assistant"), "found user, user, assistant"),
        (turn(), "found nothing"),
        (turn("robot"), ":1: messages.0.role: Input should be 'system', 'user' or 'assistant'"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}]}, "answer is blank"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, line: object, says: str) -> None:
    with pytest.raises(ExamplesError, match=says) as caught:
        load_examples(write(tmp_path / "e.jsonl", line))
    assert str(caught.value).startswith(str(tmp_path / "e.jsonl"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), (b"", "no examples in it"), (b"\n \n", "no examples in it"), (b"\xff\xfe", "not UTF-8")],
)
def test_a_file_without_examples_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "e.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExamplesError, match=says):
        load_examples(path)
