"""A Space in front of a fake gateway, and people who visit it with a real browser; fixtures of the browser tests."""

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sqlalchemy.orm import Session

from arena.battles.store import BattleStore
from space.app import build_app, start
from space.backends.gateway import GatewayClient
from tests.support.fake_gateway import FakeGateway
from train.export.browser import find_chromium
from understudy.config.settings import PROJECT
from understudy.processes import free_port
from understudy.registry.database import open_database
from understudy.registry.tables import BattleRow

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = (1280, 860), (390, 844)
LISTENER = """
window.heard = '';
const plainFetch = window.fetch;
window.fetch = async (...request) => {
  const response = await plainFetch(...request);
  const reader = response.clone().body?.getReader();
  const decoder = new TextDecoder();
  const listen = async () => {
    for (let part = await reader.read(); !part.done; part = await reader.read())
      window.heard += decoder.decode(part.value, {stream: true});
  };
  if (reader) listen().catch(() => {});
  return response;
};
window.EventSource = class extends window.EventSource {
  constructor(...address) { super(...address); this.addEventListener('message', (e) => { window.heard += e.data; }); }
};
"""
"""Keeps every byte that the page receives after it has loaded, streams included."""
STEADY = """() => Promise.all(document.getAnimations()
  .filter(one => one.effect.getComputedTiming().endTime !== Infinity)
  .map(one => one.finished.catch(() => {})))"""
"""Colours that are on their way to others are measured when they are there."""
PATIENCE = 60_000
"""Milliseconds that a condition gets to come true; nothing is measured against it."""


idle: dict[tuple[str, bool], list[BrowserContext]] = {}
"""Contexts that nobody uses, by locale and by whether they take any certificate. They know no cookie and hold nothing
but the files of the page, which Chromium would compile anew for each visitor."""
present: "list[Visitor]" = []
"""Who has not left yet."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = find_chromium()
    if not chromium:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        idle.clear()
        present.clear()  # whoever a failed test has left behind
        browser.close()


@pytest.fixture(scope="module")
def artifacts() -> Path:
    folder = Path(os.environ.get("UNDERSTUDY_ARTIFACTS") or PROJECT / "artifacts") / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, which finds barriers."""
    package = next((PROJECT / ".venv" / "axe").glob("axe-core-*.tgz"), None)
    if package is None:
        pytest.skip("no axe-core: setup-browser.sh fetches it from the npm registry")
    with tarfile.open(package) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script
        return script.read().decode()


def serious_barriers(page: Page) -> list[str]:
    """What axe, which the page has evaluated, finds that is serious or worse."""
    page.evaluate(STEADY)
    found: list[dict[str, Any]] = page.evaluate("axe.run({resultTypes: ['violations']}).then(one => one.violations)")
    worst = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:200]}" for one in worst]


@dataclass
class Site:
    """A Space in front of a fake gateway that a test may stop, slow down or change."""

    fake: FakeGateway
    store: BattleStore
    port: int
    app: gr.Blocks = field(init=False)

    def __post_init__(self) -> None:
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        self.app = build_app(GatewayClient(self.fake.url), self.store)
        start(self.app, host="127.0.0.1", port=self.port, block=False)

    def battle(self) -> BattleRow:
        """The newest battle."""
        with Session(self.store.engine) as db:
            return db.query(BattleRow).order_by(BattleRow.at.desc()).limit(1).one()


@pytest.fixture(scope="session")
def site_port() -> int:
    """One address for every site, so that browsers need not fetch the page's files again."""
    return free_port()


@pytest.fixture
def site(tmp_path: Path, site_port: int) -> Iterator[Site]:
    """A site that nobody has visited."""
    store = BattleStore(open_database(f"sqlite:///{tmp_path / 'space.db'}"))
    site = Site(FakeGateway().start(), store, site_port)
    yield site
    for visitor in tuple(present):
        visitor.leave()
    site.app.close()
    site.fake.stop()


class Visitor:
    """A person at a browser, and everything that the browser heard and complained about."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        size: tuple[int, int] = DESKTOP,
        dark: bool = False,
        query: str = "",
        locale: str = "en-US",
    ) -> None:
        self.url = url
        self.kind = locale, url.startswith("https://localhost:")  # with a certificate that it signed itself
        if free := idle.get(self.kind):
            self.context = free.pop()
        else:
            self.context = browser.new_context(locale=locale, ignore_https_errors=self.kind[1])
        present.append(self)
        self.page: Page = self.context.new_page()
        self.look(size)
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.add_init_script(LISTENER)
        self.page.goto(f"{url}/?__theme={'dark' if dark else 'light'}&{query}")
        self.see("#recalled" if query.startswith("battle=") else "#chatbot")

    def look(self, size: tuple[int, int] | None = None, dark: bool | None = None) -> None:
        """Goes on with another screen, or by day or by night."""
        if size:
            self.page.set_viewport_size({"width": size[0], "height": size[1]})
        if dark is not None:
            self.page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)

    def looks(self) -> Iterator[str]:
        """Shows the page on a desk and on a phone, by day and by night; yields the name of each look.

        The last one is a phone by day: begin as that and go on as that.
        """
        for size, dark in ((DESKTOP, False), (DESKTOP, True), (PHONE, True), (PHONE, False)):
            self.look(size, dark)
            yield f"{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"

    def fits(self) -> None:
        """Waits until nothing is wider than the screen."""
        self.page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")

    def see(self, selector: str, text: str | re.Pattern[str] | None = None) -> None:
        place = self.page.locator(selector).first
        expect(place).to_be_visible(timeout=PATIENCE)
        if text is not None:
            expect(place).to_contain_text(text, timeout=PATIENCE)

    def choose(self, title: str) -> None:
        card = self.page.locator("#personas .card", has_text=title)
        if card.locator("input").is_checked():
            return
        card.locator("label").click()
        expect(card.locator("input")).to_be_checked(timeout=PATIENCE)
        self.see("#note", f"{title} answers next")

    def say(self, text: str) -> None:
        self.page.locator("#message textarea").fill(text)
        self.page.locator("#message textarea").press("Enter")

    def last_answer(self) -> str:
        return self.page.locator("#chatbot .bot.message").last.inner_text()

    def start_battle(self, prompt: str) -> None:
        self.page.get_by_role("tab", name="Arena").click()
        self.page.locator("#prompt textarea").fill(prompt)
        self.page.locator("#start").click()

    def vote(self, verdict: str) -> None:
        button = self.page.locator(f"#vote-{verdict}")
        expect(button).to_be_enabled(timeout=PATIENCE)
        button.click()

    def forget(self) -> None:
        """Forgets what the page has received so far."""
        self.page.evaluate("window.heard = ''")

    def heard(self, expected: str) -> str:
        """Everything that the page has received since `forget`, once `expected` is among it."""
        self.page.wait_for_function("text => window.heard.includes(text)", arg=expected)
        return self.page.evaluate("window.heard")

    def foreign_requests(self) -> list[str]:
        return [url for url in self.requests if not url.startswith((self.url, "data:", "blob:"))]

    def shot(self, path: Path) -> None:
        self.page.screenshot(path=path, full_page=True)

    def leave(self) -> None:
        """Closes the page; what it kept in the browser is gone."""
        if self not in present:
            return
        present.remove(self)
        for page in self.context.pages:
            page.close()
        self.context.set_storage_state({"cookies": [], "origins": []})
        idle.setdefault(self.kind, []).append(self.context)


@pytest.fixture
def visitor(browser: Browser, site: Site) -> Iterator[Visitor]:
    visitor = Visitor(browser, site.url)
    visitor.see("#personas", "Email copywriter")
    yield visitor
    visitor.leave()
