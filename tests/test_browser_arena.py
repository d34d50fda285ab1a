"""Blind battles in a real browser."""

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from arena.battles import OPEN, VOID
from arena.battles import Answer as Said
from arena.votes import list_votes
from tests.fake_gateway import EMAIL, STAND_UP, Answer
from tests.visitor import DESKTOP, PATIENCE, PHONE, House, Visitor

pytestmark = pytest.mark.browser
pytest_plugins = ["tests.visitor"]


def test_a_blind_battle_from_prompt_to_reveal(house: House, visitor: Visitor, artifacts: Path):
    held = [
        house.fake.say(name, Answer(f"{word} one two three", hold_after=2))
        for name, word in (("base", "Plain"), ("stand-up", "Funny"))
    ]
    visitor.page.get_by_role("tab", name="Arena").click()
    visitor.page.locator("#rival input").click()
    visitor.page.get_by_role("option", name="Stand-up comedian").click()
    visitor.forget()
    visitor.start_battle("Speak")
    for side in ("left", "right"):
        visitor.see(f"#answer-{side}", re.compile("(Plain|Funny) on"))
    for verdict in ("left", "right", "tie", "both_bad"):
        expect(visitor.page.locator(f"#vote-{verdict}")).to_be_disabled()
    for answer in held:
        answer.release.set()
    expect(visitor.page.locator("#vote-left")).to_be_enabled(timeout=PATIENCE)
    before = visitor.heard("Which answer is better?")
    row = house.battle()
    assert "Plain on" in before
    for telling in ("stand-up", "Stand-up", STAND_UP, EMAIL, '"base"', row.nonce, row.id, "secret"):
        assert telling not in before
    assert visitor.page.locator(".plate.known").count() == 0
    visitor.shot(artifacts / "arena-vote.png")
    visitor.vote("right")
    visitor.see(".plate.chosen", "Base model" if row.right == "base" else f"stand-up@{STAND_UP}")
    expect(visitor.page.locator(".plate.known")).to_have_count(2)
    (vote,) = list_votes(house.store.engine)
    assert (vote.verdict, vote.winner) == ("right", row.right)
    visitor.page.locator("#next").click()
    visitor.see("#verdict", "Which answer is better?")
    expect(visitor.page.locator(".plate.known")).to_have_count(0)
    expect(visitor.page.locator("#prompt textarea")).not_to_have_value("Speak")
    assert house.battle().id != row.id


@pytest.mark.parametrize("verdict", ["tie", "both_bad"])
def test_votes_without_a_winner(house: House, visitor: Visitor, verdict: str):
    visitor.start_battle("Speak")
    visitor.vote(verdict)
    expect(visitor.page.locator(".plate.known")).to_have_count(2)
    expect(visitor.page.locator(".plate.chosen")).to_have_count(0)
    assert [(vote.verdict, vote.winner) for vote in list_votes(house.store.engine)] == [(verdict, None)]


def test_a_void_battle_says_so_and_the_next_one_starts_at_once(house: House, visitor: Visitor):
    house.fake.say("base", Answer("boom", status=500))
    visitor.start_battle("Speak")
    visitor.see("#verdict .trouble", "does not count")
    assert house.battle().status == VOID
    expect(visitor.page.locator("#vote-left")).to_be_hidden()
    visitor.page.locator("#next").click()
    expect(visitor.page.locator("#vote-left")).to_be_enabled(timeout=PATIENCE)
    assert house.battle().status == OPEN


def test_a_battle_whose_visitor_leaves_is_void(house: House, visitor: Visitor):
    for name in ("base", "email-copy", "stand-up"):
        house.fake.say(name, Answer("one " * 3_000, pause=0.05))
    visitor.start_battle("Speak")
    visitor.see("#answer-left", "one one")
    visitor.leave()
    for _ in range(400):
        if house.battle().status == VOID:
            break
        time.sleep(0.05)
    assert house.battle().status == VOID
    assert len(house.fake.withdrawn) == 2


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_arena_goes_on_with_recorded_battles_while_the_engine_sleeps(
    browser: Browser, house: House, artifacts: Path, size: tuple[int, int]
):
    name = "phone" if size == PHONE else "desktop"
    battle, _ = house.store.create(
        prompt="What is wrong with airports?", persona="stand-up", session="x", temperature=0, max_tokens=9
    )
    said = {"base": "Airports have long queues.", "stand-up": "You pay for speed, and then you queue."}
    house.store.finish(battle.id, Said(said[battle.left], None), Said(said[battle.right], STAND_UP))
    house.fake.asleep = 503
    visitor = Visitor(browser, house.url, size)
    visitor.see("#banner .waking", "The model is waking up.")
    visitor.see("#banner", "Meanwhile the Arena shows battles recorded earlier.")
    visitor.see("#banner .clock", re.compile(r"For \d+ s so far; looking again"))
    visitor.say("Anyone there?")
    visitor.see("#note", re.compile("waking up.*Trying again in"))
    visitor.shot(artifacts / f"asleep-chat-{name}.png")
    visitor.start_battle("")
    visitor.see("#recorded", "What is wrong with airports?")
    visitor.see("#verdict", "recorded earlier")
    visitor.shot(artifacts / f"asleep-replay-{name}.png")
    visitor.vote("left")
    expect(visitor.page.locator(".plate.known")).to_have_count(2)
    visitor.shot(artifacts / f"asleep-reveal-{name}.png")
    assert [vote.origin for vote in list_votes(house.store.engine)] == ["replay"]
    visitor.page.locator("#next").click()
    visitor.see("#verdict .trouble", "not seen")
    visitor.shot(artifacts / f"asleep-all-seen-{name}.png")
    house.fake.asleep = 0
    expect(visitor.page.locator("#banner .banner")).to_have_count(0, timeout=PATIENCE)
    visitor.page.locator("#next").click()
    visitor.see("#verdict", "Which answer is better?")
    expect(visitor.page.locator("#recorded")).to_be_hidden()
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert visitor.foreign_requests() == []
    visitor.leave()
