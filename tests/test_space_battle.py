"""One battle from prompt to vote: blind, fair, or void."""

import asyncio
from typing import Any

import pytest

from arena.battles import ASKED, OPEN, VOID, BattleStore
from arena.votes import VoteError, list_votes
from space.arena_tab import show
from space.banner import BASE, Backend, Snapshot
from space.battle import Ring, View, draw, fight, settle, suggestions
from space.gateway_client import GatewayClient
from tests.fake_gateway import EMAIL, STAND_UP, FakeGateway
from tests.fake_gateway import Answer as Said
from tests.space_helpers import EMAIL_CARD, READY, eventually, only_battle

TELLING = ("email-copy", "stand-up", "Email copywriter", "Stand-up", EMAIL, STAND_UP)


async def fought(fake: FakeGateway, store: BattleStore, choice: str = "email-copy", prompt: str = "Hi") -> list[View]:
    ring = Ring(client := GatewayClient(fake.url), Backend(client), store)
    return [view async for view in fight(ring, prompt, choice, "tab")]


def test_a_battle_from_prompt_to_reveal(fake: FakeGateway, store: BattleStore):
    views = asyncio.run(fought(fake, store))
    assert all(view.ticket is None for view in views[:-1]), "the vote opens only when both are complete"
    row = only_battle(store)
    assert (row.status, {row.left, row.right}) == (OPEN, {"base", "email-copy"})
    assert (row.left_text, row.right_text) == (views[-1].left, views[-1].right)
    assert {row.left_revision, row.right_revision} == {None, EMAIL}
    ticket = views[-1].ticket
    ring = Ring(GatewayClient(fake.url), Backend(GatewayClient(fake.url)), store)
    battle = settle(ring, "left", ticket, "tab")
    assert battle.left == row.left
    with pytest.raises(VoteError, match="already"):
        settle(ring, "right", ticket, "tab")
    assert [vote.verdict for vote in list_votes(store.engine)] == ["left"]


def test_both_sides_are_asked_the_same_and_after_the_sides_are_on_record(fake: FakeGateway, store: BattleStore):
    held = [fake.say(name, Said(f"{name[:1]} one two", hold_after=1)) for name in ("base", "email-copy")]

    async def watch() -> dict[str, Any]:
        battle = asyncio.create_task(fought(fake, store))
        await eventually(lambda: len(fake.requests) == 2)
        row = only_battle(store)
        seen = {"status": row.status, "left": row.left, "sampling": row.sampling}
        for answer in held:
            answer.release.set()
        await battle
        return seen

    seen = asyncio.run(watch())
    one, other = ({k: v for k, v in asked.items() if k != "model"} for asked in fake.requests)
    assert one == other
    assert {asked["model"] for asked in fake.requests} == {"base", "email-copy"}
    assert seen["status"] == ASKED
    assert seen["left"] == only_battle(store).left
    assert seen["sampling"].items() <= one.items()
    assert (one["temperature"], one["max_tokens"]) == (0.6, 200)


def test_the_swift_side_waits_for_the_slow_one(fake: FakeGateway, store: BattleStore):
    fake.say("base", "word " * 60)
    slow = fake.say("email-copy", Said("term " * 60, hold_after=3))

    async def watch() -> list[View]:
        views: list[View] = []
        ring = Ring(client := GatewayClient(fake.url), Backend(client), store)
        async for view in fight(ring, "Hi", "email-copy", "tab"):
            views.append(view)
            if len(view.left) >= 15:
                slow.release.set()
        return views

    views = asyncio.run(watch())
    before = [view for view in views if max(len(view.left), len(view.right)) <= 15]
    assert before[-1].left
    assert all(len(view.left) == len(view.right) for view in views), "one side was ahead of the other"


@pytest.mark.parametrize(
    ("base", "persona", "reason", "says"),
    [
        (Said("boom", status=500), "fine", "error: boom", "does not count"),
        ("fine", Said("so far", cut=True), "error: The answer was cut off", "does not count"),
        ("Same.", "Same.", "both answers are the same", "the same"),
        ("", "", "both answers are empty", "empty"),
        ("fine", "I am your email-copy.", "identity leak: the", "gave away"),
        ("I am Qwen, a model.", "fine", "identity leak: the", "gave away"),
        ("fine", f"I am {EMAIL}.", "identity leak: the", "gave away"),
    ],
)
def test_a_battle_that_does_not_count(
    fake: FakeGateway, store: BattleStore, base: Said | str, persona: Said | str, reason: str, says: str
):
    fake.say("base", base)
    fake.say("email-copy", persona)
    last = asyncio.run(fought(fake, store))[-1]
    row = only_battle(store)
    assert row.status == VOID
    assert row.reason.startswith(reason)
    assert says in last.message
    assert last.ticket is None
    assert not last.busy


def test_a_battle_that_nobody_waits_for_is_void_and_withdrawn(fake: FakeGateway, store: BattleStore):
    for name in ("base", "email-copy"):
        fake.say(name, Said("one two three", hold_after=1))

    async def leave() -> None:
        task = asyncio.create_task(fought(fake, store))
        await eventually(lambda: len(fake.requests) == 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await eventually(lambda: len(fake.withdrawn) == 2)

    asyncio.run(leave())
    assert only_battle(store).status == VOID


def test_no_view_before_the_vote_names_anyone(fake: FakeGateway, store: BattleStore):
    for view in asyncio.run(fought(fake, store, choice="")):
        *visible, ticket = show(view)
        assert not [name for name in TELLING if name in repr(visible)]
        assert ticket is view.ticket


def test_the_arena_without_a_prompt_or_a_persona(fake: FakeGateway, store: BattleStore):
    assert asyncio.run(fought(fake, store, prompt="  "))[-1].message == "Write a prompt first."
    for name in ("email-copy", "stand-up"):
        fake.models.pop(name)
    assert "No persona is live" in asyncio.run(fought(fake, store))[-1].message
    assert fake.requests == []


def test_surprise_draws_everyone_sooner_or_later_and_a_choice_is_kept():
    other = EMAIL_CARD.model_copy(update={"name": "stand-up", "prompts": ("Joke.", "Sell it.")})
    two = Snapshot(READY.readiness, (BASE, EMAIL_CARD, other))
    assert {drawn.name for _ in range(200) if (drawn := draw(two, ""))} == {"email-copy", "stand-up"}
    assert {drawn.name for _ in range(50) if (drawn := draw(two, "stand-up"))} == {"stand-up"}
    assert draw(Snapshot(READY.readiness, (BASE,)), "") is None
    assert suggestions(two, "") == ["Sell it.", "Joke."]
    assert suggestions(two, "stand-up") == ["Joke.", "Sell it."]
