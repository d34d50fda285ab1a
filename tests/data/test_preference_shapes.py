"""Shapes of preferences: what TRL and well-known data sets write is read, and what is none is refused by name."""

import json
from pathlib import Path

import pytest

from understudy.data.preferences import Label, PreferencePair, read_preferences
from understudy.errors import ExamplesError

ASK = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Ahoy!"}
POOR = {"role": "assistant", "content": "Hello."}
SYSTEM = {"role": "system", "content": "S"}

PAIRS: dict[str, tuple[dict, list[dict]]] = {
    "texts": ({"prompt": "Hi", "chosen": "Ahoy!", "rejected": "Hello."}, [ASK]),
    "messages": ({"prompt": [ASK], "chosen": [GOOD], "rejected": [POOR]}, [ASK]),
    "answers that begin with the prompt": ({"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": [ASK, POOR]}, [ASK]),
    "UltraFeedback": (
        {"prompt": "Hi", "prompt_id": "1", "chosen": [ASK, GOOD], "rejected": [ASK, POOR], "score_chosen": 8.5},
        [ASK],
    ),
    "an implicit prompt": ({"chosen": [ASK, GOOD], "rejected": [ASK, POOR]}, [ASK]),
    "an implicit prompt with system": ({"chosen": [SYSTEM, ASK, GOOD], "rejected": [SYSTEM, ASK, POOR]}, [SYSTEM, ASK]),
    "an implicit prompt of turns": (
        {"chosen": [ASK, POOR, ASK, GOOD], "rejected": [ASK, POOR, ASK, POOR]},
        [ASK, POOR, ASK],
    ),
    "dialogues": (
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Ahoy!", "rejected": "\n\nHuman: Hi\n\nAssistant: Hello."},
        [ASK],
    ),
    "system, question": ({"system": "S", "question": "Hi", "chosen": "Ahoy!", "rejected": "Hello."}, [SYSTEM, ASK]),
    "ShareGPT": (
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Ahoy!"},
            "rejected": {"from": "gpt", "value": "Hello."},
        },
        [ASK],
    ),
    "parts": (
        {
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            "chosen": [GOOD],
            "rejected": [POOR],
        },
        [ASK],
    ),
}


def written(folder: Path, row: dict) -> Path:
    (folder / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    return folder / "pairs.jsonl"


@pytest.mark.parametrize("shape", PAIRS)
def test_a_pair_is_read(tmp_path: Path, shape: str) -> None:
    row, prompt = PAIRS[shape]
    (pair,) = read_preferences(written(tmp_path, row))
    assert isinstance(pair, PreferencePair)
    assert [m.model_dump() for m in pair.prompt] == prompt
    assert [m.model_dump() for m in (*pair.chosen, *pair.rejected)] == [GOOD, POOR]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": "Ahoy!", "label": True},
        {"prompt": [ASK], "completion": [GOOD], "label": True},
        {"prompt": [ASK], "completion": [ASK, GOOD], "label": True},
        {"completion": [ASK, GOOD], "label": True},
    ],
)
def test_a_label_is_read(tmp_path: Path, row: dict) -> None:
    (label,) = read_preferences(written(tmp_path, row))
    assert isinstance(label, Label)
    assert label.label
    assert [m.model_dump() for m in (*label.prompt, *label.completion)] == [ASK, GOOD]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "Hi", "chosen": [], "rejected": "Hello."}, "chosen has no message"),
        ({"prompt": [ASK], "chosen": [GOOD], "rejected": []}, "rejected has no message"),
        ({"chosen": "Ahoy!", "rejected": "Hello."}, "there is no prompt"),
        ({"chosen": [GOOD], "rejected": [POOR]}, "there is no prompt"),
        ({"prompt": "Ho", "chosen": [ASK, GOOD], "rejected": [ASK, POOR]}, "chosen begins with another prompt"),
        ({"prompt": "Hi", "chosen": [ASK], "rejected": [ASK, POOR]}, "chosen begins with another prompt"),
        ({"prompt": "Hi", "chosen": [GOOD, ASK], "rejected": [POOR]}, "chosen must end with the assistant"),
        ({"prompt": "Hi", "question": "Ho", "chosen": "a", "rejected": "b"}, "prompt and question are both prompts"),
        ({"prompt": "Hi", "images": ["x"], "chosen": "a", "rejected": "b"}, "images: found a list"),
        ({"prompt": "Hi", "chosen": "a", "rejected": "b", "margin": 2}, "margin: Extra inputs"),
        ({"prompt": "Hi", "chosen": "", "rejected": "b"}, "chosen"),
        ({"prompt": [3], "chosen": "a", "rejected": "b"}, "prompt.0 must be an object"),
    ],
)
def test_what_is_no_pair_is_refused_by_name(tmp_path: Path, row: dict, says: str) -> None:
    with pytest.raises(ExamplesError, match=says) as caught:
        read_preferences(written(tmp_path, row))
    assert str(caught.value).startswith(f"{tmp_path / 'pairs.jsonl'}:1: ")
    assert "\n" not in str(caught.value)


def test_a_list_and_a_repeated_key_are_treated_as_in_examples(tmp_path: Path) -> None:
    rows = [{"prompt": "Hi", "chosen": "Ahoy!", "rejected": "Hello."}] * 2
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    assert len(read_preferences(tmp_path / "pairs.json")) == 2
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "Hi", "chosen": "a", "chosen": "b", "rejected": "c"}\n')
    with pytest.raises(ExamplesError, match="the key chosen stands twice"):
        read_preferences(tmp_path / "pairs.jsonl")
