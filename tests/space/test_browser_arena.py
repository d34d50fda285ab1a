"""Blind battles in a real browser."""

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy.orm import Session

from arena.battles.store import OPEN, VOID, digest
from arena.battles.store import BattleAnswer as Said
from arena.votes.votes import list_votes, withdraw_votes
from tests.support.browser import PATIENCE, PHONE, Site, Visitor
from tests.support.fake_gateway import EMAIL, STAND_UP, Answer
from understudy.registry.tables import VoteRow

pytestmark = pytest.mark.browser
pytest_plugins = ["tests.support.browser"]


def pick(visitor: Visitor, dropdown: str, option: str) -> None:
    """Chooses in one of the two pickers of the arena."""
    visitor.page.get_by_role("tab", name="Arena").click()
    visitor.page.locator(f"#{dropdown} input").click()
    visitor.page.get_by_role("option", name=option, exact=True).click()


def test_a_blind_battle_from_prompt_to_reveal(site: Site, visitor: Visitor, artifacts: Path):
    held = [
        site.fake.say(name, Answer(f"{word} one two three", hold_after=2))
        for name, word in (("base", "Plain"), ("stand-up", "Funny"))
    ]
    visitor.page.get_by_role("tab", name="Arena").click()
    pick(visitor, "rival", "Stand-up comedian")
    pick(visitor, "against", "The base")
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
    row = site.battle()
    assert "Plain on" in before
    for telling in ("stand-up", "Stand-up", STAND_UP, EMAIL, '"base"', row.nonce, row.id, "secret"):
        assert telling not in before
    assert visitor.page.locator(".plate.known").count() == 0
    visitor.shot(artifacts / "arena-vote.png")
    visitor.vote("right")
    visitor.see(".plate.chosen", "Base model" if row.right == "base" else f"stand-up@{STAND_UP}")
    expect(visitor.page.locator(".plate.known")).to_have_count(2)
    (vote,) = list_votes(site.store.engine)
    assert (vote.verdict, vote.winner) == ("right", row.right)
    visitor.page.locator("#next").click()
    visitor.see("#verdict", "Which answer is better?")
    expect(visitor.page.locator(".plate.known")).to_have_count(0)
    expect(visitor.page.locator("#prompt textarea")).not_to_have_value("Speak")
    assert site.battle().id != row.id


def test_votes_without_a_winner(site: Site, visitor: Visitor):
    visitor.start_battle("Speak")
    for verdict in ("tie", "both_bad"):
        visitor.vote(verdict)
        expect(visitor.page.locator(".plate.known")).to_have_count(2)
        expect(visitor.page.locator(".plate.chosen")).to_have_count(0)
        visitor.page.locator("#next").click()
    assert [(vote.verdict, vote.winner) for vote in list_votes(site.store.engine)] == [
        ("tie", None),
        ("both_bad", None),
    ]


def test_a_void_battle_says_so_and_the_next_one_starts_at_once(site: Site, visitor: Visitor):
    site.fake.say("base", Answer("boom", status=500))
    pick(visitor, "against", "The base")
    visitor.start_battle("Speak")
    visitor.see("#verdict .trouble", "does not count")
    assert site.battle().status == VOID
    expect(visitor.page.locator("#vote-left")).to_be_hidden()
    visitor.page.locator("#next").click()
    expect(visitor.page.locator("#vote-left")).to_be_enabled(timeout=PATIENCE)
    assert site.battle().status == OPEN


def test_a_battle_whose_visitor_leaves_is_void(site: Site, visitor: Visitor):
    for name in ("base", "email-copy", "stand-up"):
        site.fake.say(name, Answer("one " * 3_000, pause=0.05))
    visitor.start_battle("Speak")
    visitor.see("#answer-left", "one one")
    visitor.leave()
    for _ in range(400):
        if site.battle().status == VOID:
            break
        time.sleep(0.05)
    assert site.battle().status == VOID
    assert len(site.fake.withdrawn) == 2


def test_the_arena_goes_on_with_recorded_battles_while_the_engine_sleeps(browser: Browser, site: Site, artifacts: Path):
    battle, _ = site.store.create(
        prompt="What is wrong with airports?", persona="stand-up", session="x", temperature=0, max_tokens=9
    )
    said = {"base": "Airports have long queues.", "stand-up": "You pay for speed, and then you queue."}
    site.store.finish(battle.id, Said(said[battle.left], None), Said(said[battle.right], STAND_UP))
    site.fake.asleep = 503
    visitor = Visitor(browser, site.url, PHONE)
    visitor.see("#banner .waking", "The model is waking up.")
    visitor.see("#banner", "Meanwhile the Arena shows battles recorded earlier.")
    visitor.see("#banner .clock", re.compile(r"For \d+ s so far; looking again"))
    visitor.say("Anyone there?")
    visitor.see("#note", re.compile("waking up.*Trying again in"))
    visitor.shot(artifacts / "asleep-chat.png")
    visitor.start_battle("")
    visitor.see("#recorded", "What is wrong with airports?")
    visitor.see("#verdict", "recorded earlier")
    visitor.shot(artifacts / "asleep-replay.png")
    visitor.vote("left")
    expect(visitor.page.locator(".plate.known")).to_have_count(2)
    visitor.shot(artifacts / "asleep-reveal.png")
    assert [vote.origin for vote in list_votes(site.store.engine)] == ["replay"]
    visitor.page.locator("#next").click()
    visitor.see("#verdict .trouble", "not seen")
    visitor.shot(artifacts / "asleep-all-seen.png")
    site.fake.asleep = 0
    expect(visitor.page.locator("#banner .banner")).to_have_count(0, timeout=PATIENCE)
    visitor.page.locator("#next").click()
    visitor.see("#verdict", "Which answer is better?")
    expect(visitor.page.locator("#recorded")).to_be_hidden()
    visitor.fits()
    assert visitor.foreign_requests() == []
    visitor.leave()


# After the vote


def test_keys_vote_and_go_on_and_leave_typing_alone(site: Site, visitor: Visitor):
    pick(visitor, "against", "The base")
    visitor.page.locator("#prompt textarea").fill("A tan nt")
    visitor.page.locator("#prompt textarea").press("b")
    visitor.page.locator("#prompt textarea").press("Enter")
    expect(visitor.page.locator("#vote-left")).to_be_enabled(timeout=PATIENCE)
    visitor.page.get_by_label("Better style").check()
    visitor.page.get_by_label("Shorter").check()
    visitor.page.keyboard.press("ArrowRight")
    expect(visitor.page.locator(".plate.known")).to_have_count(2)
    (vote,) = list_votes(site.store.engine)
    assert (vote.verdict, vote.reasons) == ("right", ["style", "short"])
    visitor.page.keyboard.press("n")
    expect(visitor.page.locator("#vote-left")).to_be_enabled(timeout=PATIENCE)
    expect(visitor.page.get_by_label("Shorter")).not_to_be_checked()
    for key, verdict in (("t", "tie"), ("n", "both_bad"), ("a", "left")):
        visitor.page.keyboard.press(key)
        expect(visitor.page.locator(".plate.known")).to_have_count(2)
        assert list_votes(site.store.engine)[-1].verdict == verdict
        visitor.page.keyboard.press("n")
        expect(visitor.page.locator("#vote-left")).to_be_enabled(timeout=PATIENCE)


def test_the_reveal_shows_times_and_which_words_differ(site: Site, visitor: Visitor):
    site.fake.say("base", "The big sale ends <b>soon</b>")
    site.fake.say("email-copy", "The sale ends on Sunday")
    pick(visitor, "rival", "Email copywriter")
    pick(visitor, "against", "The base")
    visitor.start_battle("Sell")
    visitor.vote("left")
    expect(visitor.page.locator(".plate small")).to_have_count(2)
    visitor.see(".plate small", re.compile(r"first words after \d+\.\d s, all after"))
    visitor.page.locator(".differences summary").click()
    marks = visitor.page.locator(".differences mark").all_inner_texts()
    assert sorted(mark.strip() for mark in marks) == ["<b>soon</b>", "big", "on Sunday"]
    timing = site.battle().timing
    assert set(timing) == {"left_first", "left_total", "right_first", "right_total"}


def test_a_link_brings_a_battle_back_after_a_restart_but_only_once_it_was_voted_on(
    site: Site, browser: Browser, visitor: Visitor, artifacts: Path
):
    pick(visitor, "against", "The base")
    visitor.start_battle("Which voice is it?")
    expect(visitor.page.locator("#vote-left")).to_be_enabled(timeout=PATIENCE)
    row = site.battle()
    early = Visitor(browser, site.url, query=f"battle={row.id}")
    early.see("#recalled", "There is no such battle")
    assert "Which voice" not in early.page.locator("#recalled").inner_text()
    early.leave()
    visitor.vote("left")
    address = visitor.page.locator("#verdict a").get_attribute("href") or ""
    assert address == f"?battle={row.id}"
    site.app.close()
    site.open()
    later = Visitor(browser, site.url, query=address[1:])
    later.see("#recalled", "Which voice is it?")
    for text in (row.left_text, row.right_text, row.left, row.right, "Preferred"):
        later.see("#recalled", text)
    later.shot(artifacts / "arena-recalled.png")
    later.leave()
    withdraw_votes(site.store.engine, session=voter_of(site, row.id))
    gone = Visitor(browser, site.url, query=address[1:])
    gone.see("#recalled", "There is no such battle")


def voter_of(site: Site, battle: str) -> str:
    """Names of voters are hashed twice; so the test takes the row's hash away again."""
    with Session(site.store.engine) as db, db.begin():
        db.get_one(VoteRow, battle).session = digest("somebody")
    return "somebody"


def test_two_people_at_once_see_and_judge_their_own_battles(site: Site, browser: Browser):
    people = [Visitor(browser, site.url) for _ in range(2)]
    for number, person in enumerate(people):
        pick(person, "against", "The base")
        person.start_battle(f"Question of person {number}")
    for number, person in enumerate(people):
        for side in ("left", "right"):
            person.see(f"#answer-{side}", f"You said: Question of person {number}")
    people[1].vote("right")
    people[0].vote("left")
    for person in people:
        expect(person.page.locator(".plate.known")).to_have_count(2)
    said = {site.store.get(vote.battle).prompt: vote.verdict for vote in list_votes(site.store.engine)}
    assert said == {"Question of person 0": "left", "Question of person 1": "right"}
    for person in people:
        person.leave()


# Looks


def test_a_battle_fits_every_screen_and_fetches_nothing_from_elsewhere(site: Site, browser: Browser, artifacts: Path):
    visitor = Visitor(browser, site.url, PHONE)
    page = visitor.page
    site.fake.say("base", "A sale is a time when a shop asks for less money than it does on other days. " * 9)
    site.fake.say("email-copy", "Hi Ana,\n\nour summer sale ends on **Sunday**. Will you take a look?\n\nWarmly, Tom")
    pick(visitor, "rival", "Email copywriter")
    pick(visitor, "against", "The base")
    visitor.see("#suggestions", "summer sale")
    for look in visitor.looks():
        visitor.fits()
        visitor.shot(artifacts / f"arena-empty-{look}.png")
    page.locator("#suggestions button").first.click()
    expect(page.locator("#prompt textarea")).to_have_value(re.compile("summer sale"))
    page.locator("#start").click()
    button = page.locator("#vote-both_bad")
    expect(button).to_be_enabled(timeout=PATIENCE)
    expect(button).to_be_in_viewport()
    expect(page.locator("#answer-left")).to_be_in_viewport()
    page.get_by_label("Better style").check()
    for look in visitor.looks():
        visitor.fits()
        sides = [box for side in ("left", "right") if (box := page.locator(f"#answer-{side}").bounding_box())]
        stacked = sides[1]["y"] >= sides[0]["y"] + sides[0]["height"]
        assert stacked == look.startswith("phone")
        page.screenshot(path=artifacts / f"arena-vote-{look}.png")
    visitor.vote("left")
    expect(page.locator(".plate.known")).to_have_count(2)
    page.locator(".differences summary").click()
    for look in visitor.looks():
        visitor.fits()
        visitor.shot(artifacts / f"arena-reveal-{look}.png")
    assert visitor.foreign_requests() == []
    assert visitor.complaints == []
