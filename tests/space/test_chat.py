"""Chat handlers, from data to data."""

import asyncio
import itertools
from typing import Any

import pytest

from space.backends.gateway import Contestant, GatewayClient
from space.chat import conversation
from tests.support.fake_gateway import EMAIL, FakeGateway
from tests.support.fake_gateway import Answer as Said

KEY = "secret-inference-key"


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}], "metadata": None, "options": None}


def bot(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}], "metadata": {}, "options": []}


BY = conversation.byline(Contestant(name="p", kind="persona", title="P*"), "3fa9")


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([user("a"), bot("b"), user("c")], ["a", "b", "c"]),
        ([user("unanswered"), user("c")], ["c"]),
        ([user("stopped at once"), bot(""), user("c")], ["c"]),
        ([user("a"), {"role": "assistant", "content": "b"}], ["a", "b"]),
        ([user("a"), bot("b"), BY, user("c")], ["a", "b", "c"]),
        ([user("a"), BY], ["a"]),
        ([], []),
    ],
)
def test_the_endpoint_gets_plain_alternating_turns(history: list[dict[str, Any]], expected: list[str]):
    turns = conversation.plain(history)
    assert [turn["content"] for turn in turns] == expected
    assert all(turn.keys() == {"role", "content"} for turn in turns)
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"][: len(expected)]


def test_retry_goes_back_to_the_last_question():
    assert conversation.rewind([user("a"), bot("b"), user("c"), bot("d")]) == [user("a"), bot("b"), user("c")]
    assert conversation.rewind([bot("hello")]) == []


@pytest.mark.parametrize(
    ("index", "text", "turns"),
    [
        (0, "x", ["x"]),
        (2, " y ", ["a", "b", "y"]),
        (1, "an answer is not mine", ["a", "b", "c", "d"]),
        (9, "no such turn", ["a", "b", "c", "d"]),
        (-1, "no such turn", ["a", "b", "c", "d"]),
        (2, "  ", ["a", "b", "c", "d"]),
    ],
)
def test_an_edited_question_is_where_the_conversation_goes_on(index: int, text: str, turns: list[str]):
    edited = conversation.edited([user("a"), bot("b"), user("c"), bot("d")], index, text)
    assert [conversation.text_of(message["content"]) for message in edited] == turns


@pytest.mark.parametrize(
    "kept",
    [
        None,
        "text",
        {"history": "text"},
        {"history": [None, 1, {"role": "system", "content": "x"}, {"content": "x"}]},
        {"history": {"role": "user"}},
    ],
)
def test_nonsense_from_a_browsers_store_is_no_conversation(kept: Any):
    assert conversation.restored(kept) == []


def test_a_kept_conversation_comes_back_with_its_bylines_and_nothing_else():
    said = {"role": "assistant", "content": [{"type": "text", "text": "b"}, {"type": "file", "file": {}}], "x": 1}
    trick = {"role": "assistant", "content": "c", "metadata": {"title": "<b>", "id": "other"}, "options": [1]}
    assert conversation.restored({"history": [user("a"), said, BY, trick]}) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "assistant", "content": "*— P · `p@3fa9`*", "metadata": {"id": "by:p@3fa9"}},
        {"role": "assistant", "content": "c"},
    ]


def test_what_was_asked_last():
    assert conversation.last_question([user("a"), bot("b"), user("c"), bot("d"), BY]) == "c"
    assert conversation.last_question([bot("hello")]) == ""


async def chatted(fake: FakeGateway, history: list[dict[str, Any]]) -> list[conversation.Chat]:
    client = GatewayClient(fake.url)
    _, email, _ = await client.contestants()
    return [step async for step in conversation.answer(client, email, history, temperature=0.4, max_tokens=50)]


def test_an_answer_streams_into_the_conversation(fake: FakeGateway):
    fake.say("email-copy", Said("One two three four five six.", pause=0.03))
    steps = asyncio.run(chatted(fake, [user("a"), bot("b"), user("c")]))
    texts = [step.history[3]["content"] for step in steps if len(step.history) > 3]
    assert len(set(texts)) > 1, "it came in one piece"
    assert all(later.startswith(sooner) for sooner, later in itertools.pairwise(texts))
    assert texts[-1] == "One two three four five six."
    assert [step.busy for step in steps] == [True] * (len(steps) - 1) + [False]
    assert [step.note for step in steps if "Answered by" in step.note] == [steps[-1].note]
    assert f"email-copy@{EMAIL}" in steps[-1].history[-1]["content"]
    assert [turn["content"] for turn in fake.requests[0]["messages"]] == ["a", "b", "c"]
    assert fake.requests[0]["temperature"] == 0.4


@pytest.mark.parametrize(
    ("answer", "says", "kept"),
    [
        (Said("<i>no</i>", status=400), "&lt;i&gt;no&lt;/i&gt;", False),
        (Said("so far", cut=True), "cut off", True),
        (Said(""), "empty", False),
    ],
)
def test_trouble_becomes_a_note_not_a_turn(fake: FakeGateway, answer: Said, says: str, kept: bool):
    fake.say("email-copy", answer)
    last = asyncio.run(chatted(fake, [user("a")]))[-1]
    assert says in last.note
    assert "Retry" in last.note
    assert not last.busy
    assert [turn["role"] for turn in conversation.plain(last.history)] == ["user", "assistant"][: 1 + kept]
