"""Barriers: axe-core finds none that is serious on any tab, by day and by night, on a desk and on a phone."""

import tarfile
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import DESKTOP, PATIENCE, PHONE, Site, Visitor
from tests.support.fake_gateway import card
from understudy.config.settings import PROJECT

pytestmark = pytest.mark.browser
pytest_plugins = ["tests.support.browser"]

STEADY = """() => Promise.all(document.getAnimations()
  .filter(one => one.effect.getComputedTiming().endTime !== Infinity)
  .map(one => one.finished.catch(() => {})))"""
"""Colours that are on their way to others are measured when they are there."""


@pytest.fixture(scope="module")
def axe() -> str:
    package = next((PROJECT / ".venv" / "axe").glob("axe-core-*.tgz"), None)
    if package is None:
        pytest.skip("no axe-core: setup-browser.sh fetches it from the npm registry")
    with tarfile.open(package) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script
        return script.read().decode()


def barriers(visitor: Visitor) -> list[str]:
    """What axe finds that is serious or worse."""
    visitor.page.evaluate(STEADY)
    found: list[dict[str, Any]] = visitor.page.evaluate("axe.run(document, {resultTypes: ['violations']})")[
        "violations"
    ]
    return [
        f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_tab_has_a_serious_barrier(browser: Browser, site: Site, axe: str, size: tuple[int, int], dark: bool):
    visitor = Visitor(browser, site.url, size, dark)
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
    visitor.leave()


def test_a_gallery_with_a_search_has_no_serious_barrier(browser: Browser, site: Site, axe: str):
    for number in range(20):
        site.fake.models[f"poet-{number}"] = card(f"poet-{number}", f"Poet {number}", "Rhymes.", ["Rhyme."], "c" * 12)
    visitor = Visitor(browser, site.url)
    visitor.see("#personas .more")
    visitor.page.evaluate(axe)
    assert barriers(visitor) == []
    visitor.page.locator("#personas .find").fill("nobody like that")
    visitor.see("#personas .nobody")
    assert barriers(visitor) == []
    visitor.leave()
