"""What an evaluation asks: which rows, and when the base's answers of before can be used."""

from dataclasses import replace

import pytest

from evaluate.collect import MAX_ROWS, Task, drawn
from evaluate.general_questions import GeneralQuestion
from understudy.data.messages import Example, Message

ROWS = [
    Example(messages=(Message(role="user", content=f"{n}?"), Message(role="assistant", content=f"{n}!")))
    for n in range(200)
]
TASK = Task("pirate", "tiny", "1", "Says arr.", ROWS[:3], ROWS[3:9], [GeneralQuestion("1 + 1?", "2")], 64)


@pytest.mark.parametrize("count", [0, 1, MAX_ROWS, 200])
def test_the_same_rows_are_drawn_each_time_and_none_is_lost(count: int):
    asked, rest = drawn(ROWS[:count])
    assert (asked, rest) == drawn(ROWS[:count])
    assert len(asked) == min(count, MAX_ROWS)
    assert sorted([*asked, *rest], key=ROWS.index) == ROWS[:count]
    assert asked == sorted(asked, key=ROWS.index)


@pytest.mark.parametrize(
    "changes",
    [
        {"base_revision": "2"},
        {"voice": "Says ahoy."},
        {"heldout": ROWS[:2]},
        {"training": ROWS[3:8]},
        {"questions": [GeneralQuestion("1 + 1?", "two")]},
        {"max_tokens": 65},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_bases_answers_are_asked_anew_when_what_they_depend_on_has_changed(changes: dict[str, object]):
    assert replace(TASK).key == TASK.key != replace(TASK, **changes).key


def test_another_engine_may_answer_otherwise(monkeypatch: pytest.MonkeyPatch):
    before = TASK.key
    monkeypatch.setattr("importlib.metadata.version", lambda package: "0.0")
    assert TASK.key != before
