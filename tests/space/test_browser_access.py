"""Barriers: axe-core finds none that is serious on any tab, by day and by night, on a desk and on a phone."""

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import PATIENCE, PHONE, Site, Visitor, serious_barriers
from tests.support.fake_gateway import card

pytestmark = pytest.mark.browser
pytest_plugins = ["tests.support.browser"]


def barriers(visitor: Visitor) -> list[str]:
    """Barriers in every look."""
    return [f"{look}: {one}" for look in visitor.looks() for one in serious_barriers(visitor.page)]


def test_no_tab_has_a_serious_barrier(browser: Browser, site: Site, axe: str):
    visitor = Visitor(browser, site.url, PHONE)
    page = visitor.page
    visitor.see("#personas", "Email copywriter")
    visitor.see("#chatbot", "Say hello")
    page.evaluate(axe)
    assert barriers(visitor) == [], "chat, empty"
    page.locator("#advanced button").first.click()
    visitor.say("Hello")
    visitor.see("#note", "Answered by")
    page.locator("#share").click()
    visitor.see("#link")
    assert barriers(visitor) == [], "chat, after an answer"
    visitor.start_battle("Speak")
    expect(page.locator("#vote-left")).to_be_enabled(timeout=PATIENCE)
    assert barriers(visitor) == [], "arena, before the vote"
    visitor.vote("left")
    expect(page.locator(".plate.known")).to_have_count(2)
    assert barriers(visitor) == [], "arena, after the vote"
    page.get_by_role("tab", name="Leaderboard").click()
    visitor.see("#board-summary", "votes")
    assert barriers(visitor) == [], "leaderboard"
    site.fake.stop()
    visitor.see("#banner .down")
    assert barriers(visitor) == [], "outage"


def test_a_gallery_with_a_search_has_no_serious_barrier(browser: Browser, site: Site, axe: str):
    for number in range(20):
        site.fake.models[f"poet-{number}"] = card(f"poet-{number}", f"Poet {number}", "Rhymes.", ["Rhyme."], "c" * 12)
    visitor = Visitor(browser, site.url, PHONE)
    visitor.see("#personas .more")
    visitor.page.evaluate(axe)
    assert barriers(visitor) == []
    visitor.page.locator("#personas .find").fill("nobody like that")
    visitor.see("#personas .nobody")
    assert barriers(visitor) == []
