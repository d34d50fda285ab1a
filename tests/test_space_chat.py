"""Chat handlers, from data to data."""

import asyncio
import itertools
from typing import Any

import pytest

from space import chat
from space.gateway_client import GatewayClient
from tests.fake_gateway import EMAIL, FakeGateway
from tests.fake_gateway import Answer as Said

KEY = "secret-inference-key"


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}], "metadata": None, "options": None}


def bot(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}], "metadata": {}, "options": []}


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([user("a"), bot("b"), user("c")], ["a", "b", "c"]),
        ([user("unanswered"), user("c")], ["c"]),
        ([user("stopped at once"), bot(""), user("c")], ["c"]),
        ([user("a"), {"role": "assistant", "content": "b"}], ["a", "b"]),
        ([], []),
    ],
)
def test_the_endpoint_gets_plain_alternating_turns(history: list[dict[str, Any]], expected: list[str]):
    turns = chat.plain(history)
    assert [turn["content"] for turn in turns] == expected
    assert all(turn.keys() == {"role", "content"} for turn in turns)
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"][: len(expected)]


def test_retry_goes_back_to_the_last_question():
    assert chat.rewind([user("a"), bot("b"), user("c"), bot("d")]) == [user("a"), bot("b"), user("c")]
    assert chat.rewind([bot("hello")]) == []


async def chatted(fake: FakeGateway, history: list[dict[str, Any]]) -> list[chat.Chat]:
    client = GatewayClient(fake.url)
    _, email, _ = await client.contestants()
    return [step async for step in chat.answer(client, email, history, temperature=0.4, max_tokens=50)]


def test_an_answer_streams_into_the_conversation(fake: FakeGateway):
    fake.say("email-copy", Said("One two three four five six.", pause=0.03))
    steps = asyncio.run(chatted(fake, [user("a"), bot("b"), user("c")]))
    texts = [step.history[-1]["content"] for step in steps if step.history[-1]["role"] == "assistant"]
    assert len(set(texts)) > 1, "it came in one piece"
    assert all(later.startswith(sooner) for sooner, later in itertools.pairwise(texts))
    assert texts[-1] == "One two three four five six."
    assert [step.busy for step in steps] == [True] * (len(steps) - 1) + [False]
    assert [step.note for step in steps if "Answered by" in step.note] == [steps[-1].note]
    assert f"email-copy@{EMAIL}" in steps[-1].note
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
    assert [turn["role"] for turn in last.history] == ["user", "assistant"][: 1 + kept]
