"""One battle from prompt to vote: blind, fair, or void."""

import asyncio
from typing import Any

import pytest

from arena.battles.store import ASKED, OPEN, VOID, BattleAnswer, BattleStore
from arena.votes.votes import BattleVotes, VoteError, list_votes
from space.app import changes
from space.arena.battle import ArenaServices, BattleView, run_battle, suggestions, vote
from space.arena.tab import reveal, show
from space.backends.errors import Readiness
from space.backends.gateway import GatewayClient
from space.status import BASE, GatewayMonitor, GatewayStatus
from tests.support.fake_gateway import EMAIL, STAND_UP, FakeGateway
from tests.support.fake_gateway import Answer as Said
from tests.support.space import EMAIL_CARD, READY, eventually, only_battle
from understudy.registry.tables import now

TELLING = ("email-copy", "stand-up", "Email copywriter", "Stand-up", EMAIL, STAND_UP)


async def fought(
    fake: FakeGateway, store: BattleStore, choice: str = "email-copy", prompt: str = "Hi"
) -> list[BattleView]:
    services = ArenaServices(client := GatewayClient(fake.url), GatewayMonitor(client), store)
    return [view async for view in run_battle(services, prompt, choice, "tab", "base")]


def test_a_battle_from_prompt_to_reveal(fake: FakeGateway, store: BattleStore):
    views = asyncio.run(fought(fake, store))
    assert all(view.ticket is None for view in views[:-1]), "the vote opens only when both are complete"
    row = only_battle(store)
    assert (row.status, {row.left, row.right}) == (OPEN, {"base", "email-copy"})
    assert (row.left_text, row.right_text) == (views[-1].left, views[-1].right)
    assert {row.left_revision, row.right_revision} == {None, EMAIL}
    ticket = views[-1].ticket
    services = ArenaServices(GatewayClient(fake.url), GatewayMonitor(GatewayClient(fake.url)), store)
    battle = vote(services, "left", ticket, "tab")
    assert battle.left == row.left
    with pytest.raises(VoteError, match="already"):
        vote(services, "right", ticket, "tab")
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

    async def watch() -> list[BattleView]:
        views: list[BattleView] = []
        services = ArenaServices(client := GatewayClient(fake.url), GatewayMonitor(client), store)
        async for view in run_battle(services, "Hi", "email-copy", "tab", "base"):
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
    assert says in last.message.text()
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
    assert asyncio.run(fought(fake, store, prompt="  "))[-1].message.text() == "Write a prompt first."
    for name in ("email-copy", "stand-up"):
        fake.models.pop(name)
    assert "No persona is live" in asyncio.run(fought(fake, store))[-1].message.text()
    assert fake.requests == []


def test_suggestions_are_everyones_or_the_chosen_ones():
    other = EMAIL_CARD.model_copy(update={"name": "stand-up", "prompts": ("Joke.", "Sell it.")})
    two = GatewayStatus(READY.readiness, (BASE, EMAIL_CARD, other))
    assert suggestions(two, "") == ["Sell it.", "Joke."]
    assert suggestions(two, "stand-up") == ["Joke.", "Sell it."]


# Nobody there: battles recorded earlier


async def fought_by(fake: FakeGateway, store: BattleStore, session: str, choice: str = "") -> BattleView:
    services = ArenaServices(client := GatewayClient(fake.url, pauses=()), GatewayMonitor(client), store)
    return [view async for view in run_battle(services, "Ignored while away", choice, session)][-1]


def record(store: BattleStore, persona: str, count: int = 1, session: str = "others") -> list[str]:
    """Finished battles, as somebody fought them earlier; their ids."""
    ids = []
    for number in range(count):
        battle, _ = store.create(
            prompt=f"{persona} {number}", persona=persona, session=session, temperature=0.5, max_tokens=9
        )
        said = {"base": BattleAnswer(f"plain {number}"), persona: BattleAnswer(f"{persona[:3]} {number}", EMAIL)}
        store.finish(battle.id, said[battle.left], said[battle.right])
        ids.append(battle.id)
    return ids


@pytest.mark.parametrize("away", ["stopped", "asleep", "starting"])
def test_while_nobody_answers_recorded_battles_are_voted_on_blind(fake: FakeGateway, store: BattleStore, away: str):
    originals = record(store, "email-copy", 3)
    if away == "stopped":
        fake.stop()
    fake.asleep = 503 if away == "asleep" else 0
    fake.status = "starting"
    shown = []
    for _ in originals:
        view = asyncio.run(fought_by(fake, store, "visitor"))
        assert view.ticket is not None
        assert "recorded earlier" in view.message.text()
        *visible, _ = show(view)
        assert EMAIL not in repr(visible)
        assert view.ticket.battle not in repr(visible)
        battle = vote(
            ArenaServices(c := GatewayClient(fake.url), GatewayMonitor(c), store), "left", view.ticket, "visitor"
        )
        assert (battle.origin, view.recorded, view.left) == ("replay", battle.prompt, battle.left_answer.text)
        original = store.get(battle.replay_of or "")
        answers = {battle.left: battle.left_answer, battle.right: battle.right_answer}
        assert answers == {original.left: original.left_answer, original.right: original.right_answer}
        shown.append(battle.replay_of)
    assert sorted(shown) == sorted(originals), "nobody gets the same one twice"
    none_left = asyncio.run(fought_by(fake, store, "visitor"))
    assert none_left.ticket is None
    assert "not seen" in none_left.message.text()
    assert asyncio.run(fought_by(fake, store, "another visitor")).ticket is not None


def test_votes_on_recorded_battles_are_told_apart(fake: FakeGateway, store: BattleStore):
    since = now()
    (original,) = record(store, "email-copy")
    fake.stop()
    for visitor in ("one", "two"):
        view = asyncio.run(fought_by(fake, store, visitor))
        vote(ArenaServices(c := GatewayClient(fake.url), GatewayMonitor(c), store), "left", view.ticket, visitor)
    votes = list_votes(store.engine)
    assert [vote.origin for vote in votes] == ["replay", "replay"]
    assert original not in {vote.battle for vote in votes}, "the original's own vote is untouched"
    assert BattleVotes(store.engine).outcomes("email-copy", since) == []


def test_only_finished_battles_of_others_are_replayed_and_the_chosen_persona_first(store: BattleStore):
    record(store, "stand-up", 5)
    record(store, "email-copy", 1)
    record(store, "email-copy", 2, session="me")
    store.create(prompt="Hi", persona="email-copy", session="others", temperature=0, max_tokens=9)
    void, _ = store.create(prompt="Hi", persona="email-copy", session="others", temperature=0, max_tokens=9)
    store.void(void.id, "error: boom")
    fake = FakeGateway()  # never started
    first = asyncio.run(fought_by(fake, store, "me", "email-copy"))
    assert first.recorded == "email-copy 0"
    rest = [asyncio.run(fought_by(fake, store, "me", "email-copy")).recorded for _ in range(6)]
    assert sorted(rest[:5]) == [f"stand-up {number}" for number in range(5)]
    assert rest[5] == ""


def test_the_banner_points_to_the_arena_when_it_has_battles_to_show(store: BattleStore):
    store.create(prompt="Hi", persona="email-copy", session="others", temperature=0, max_tokens=9)
    assert not store.recorded(), "it has no answers yet"
    record(store, "email-copy")
    assert store.recorded()
    away = GatewayStatus(Readiness(status="waking"))
    shown = [changes(None, away, None, None, recorded=recorded)[1]["value"] for recorded in (True, False)]
    assert ["Meanwhile the Arena" in text for text in shown] == [True, False]


def test_sides_of_a_replay_are_shuffled_anew(store: BattleStore):
    (original,) = record(store, "email-copy")
    sides = {found[0].left for n in range(40) if (found := store.replay(session=f"visitor {n}"))}
    assert sides == {"base", "email-copy"}
    assert store.get(original).origin == "live"


def test_names_of_a_replay_come_out_even_if_nobody_has_listed_the_personas(store: BattleStore):
    record(store, "email-copy")
    found = store.replay(session="me")
    assert found
    shown = repr(reveal(found[0], "left", GatewayStatus(Readiness(status="down"))))
    assert f"email-copy@{EMAIL}" in shown
    assert shown.count("Base model") == 1
