"""A ZeroGPU Space in a real browser, with the tiny base on a CPU: chat, battle, vote, leaderboard, push, rollback."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect
from pydantic import SecretStr
from sqlalchemy.orm import Session

from arena.battles.store import BattleStore
from space.app import build_app, start
from space.backends.zerogpu import ZeroGpuBackend, zerogpu_backend
from space.backends.zerogpu_routes import hub_routes
from tests.support.browser import DESKTOP, PATIENCE, PHONE, Visitor
from tests.support.hub.server import HubServer, Repo
from tests.support.zerogpu import REPO, adapter_files, settings_of
from understudy.config.settings import load_settings
from understudy.processes import free_port
from understudy.registry.adapters import CONFIG, short
from understudy.registry.database import open_database
from understudy.registry.tables import BattleRow

pytestmark = pytest.mark.browser
pytest_plugins = ["tests.support.browser"]

CARD = json.dumps({"title": "The poet", "voice": "In verse.", "prompts": ["Write about a lamp."]})
ADMIN = "adm1n"


@dataclass
class ZeroGpuSite:
    """A Space as it runs on ZeroGPU, and the repository that it follows."""

    hub: HubServer
    backend: ZeroGpuBackend
    store: BattleStore
    url: str

    def push(self, seed: int) -> str:
        """A commit whose adapter says something else; returns how the page writes its id."""
        return short(self.hub.repos[REPO].commit(adapter_files(seed, card=CARD)))

    def newest(self) -> BattleRow:
        with Session(self.store.engine) as db:
            return db.query(BattleRow).order_by(BattleRow.at.desc()).limit(1).one()


@pytest.fixture(scope="module")
def zerogpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZeroGpuSite]:
    home = tmp_path_factory.mktemp("zerogpu")
    with HubServer() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        hub.repos[REPO] = Repo()
        site = ZeroGpuSite.__new__(ZeroGpuSite)
        site.hub = hub
        site.push(1)
        settings = settings_of(hub, load_settings(home=home, admin_key=SecretStr(ADMIN)), {"poet": {"repo": REPO}})
        site.backend = zerogpu_backend(settings)
        site.store = BattleStore(open_database(settings.database))
        port = free_port()
        site.url = f"http://127.0.0.1:{port}"
        app = build_app(site.backend, site.store)
        routes = hub_routes(site.backend, settings)
        start(app, host="127.0.0.1", port=port, block=False, routes=routes, lifespan=site.backend.lifespan)
        yield site
        app.close()


def name_of(size: tuple[int, int], dark: bool) -> str:
    return f"{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"


def live(site: ZeroGpuSite) -> str:
    return short(site.backend.table.live["poet"].revision.id)


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)], ids=["desktop", "phone"])
def test_chat_battle_vote_and_leaderboard(
    zerogpu: ZeroGpuSite, browser: Browser, artifacts: Path, size: tuple[int, int], dark: bool
):
    name = name_of(size, dark)
    visitor = Visitor(browser, zerogpu.url, size, dark)
    visitor.see("#personas", "The poet")
    revision = live(zerogpu)
    visitor.choose("The poet")
    visitor.say("Write about a lamp.")
    visitor.see("#chatbot .bot", f"poet@{revision}")
    visitor.see("#note", "Answered by The poet")
    visitor.shot(artifacts / f"zerogpu-chat-{name}.png")

    visitor.forget()
    visitor.start_battle("Write about a lamp.")
    expect(visitor.page.locator("#vote-left")).to_be_enabled(timeout=3 * PATIENCE)
    before, row = visitor.heard("Which answer is better?"), zerogpu.newest()
    assert row.left_text
    assert row.right_text
    for telling in ("poet", "The poet", revision, '"base"', row.nonce, row.id, "secret"):
        assert telling not in before, f"{telling!r} tells who is who before the vote"
    assert visitor.page.locator(".plate.known").count() == 0
    visitor.page.screenshot(path=artifacts / f"zerogpu-battle-{name}.png", full_page=True)
    visitor.vote("left")
    expect(visitor.page.locator(".plate.known")).to_have_count(2)
    of_base = {"base": "Base model", "base~poet": "Base model with the description of The poet"}
    visitor.see(".plate.chosen", of_base.get(row.left, f"poet@{revision}"))
    visitor.shot(artifacts / f"zerogpu-reveal-{name}.png")

    visitor.page.get_by_role("tab", name="Leaderboard").click()
    visitor.page.locator("#board-refresh").click()
    visitor.see("#board-summary", re.compile(r"\d votes?"))
    visitor.see("#board-hidden", re.compile(r"The poet\s+\d of 30 votes"))
    visitor.shot(artifacts / f"zerogpu-leaderboard-{name}.png")
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert visitor.foreign_requests() == []
    assert visitor.complaints == []
    visitor.leave()


def test_a_push_is_live_on_an_open_page_a_bad_one_is_named_and_a_rollback_goes_back(
    zerogpu: ZeroGpuSite, browser: Browser, artifacts: Path
):
    visitor = Visitor(browser, zerogpu.url, DESKTOP, dark=True)
    visitor.see("#personas", "The poet")
    before = live(zerogpu)
    second = zerogpu.push(2)
    visitor.see(".toast", second)
    visitor.choose("The poet")
    visitor.say("Write about a lamp.")
    visitor.see("#chatbot .bot", f"poet@{second}")
    bad = short(zerogpu.hub.repos[REPO].commit({**adapter_files(3, card=CARD), CONFIG: b"{"}))
    visitor.see("#banner", f"poet@{bad}")
    visitor.see("#banner", "not JSON")
    visitor.shot(artifacts / "zerogpu-refused-desktop-dark.png")
    done = httpx.post(
        f"{zerogpu.url}/admin/rollback",
        json={"persona": "poet", "actor": "ann"},
        headers={"Authorization": f"Bearer {ADMIN}"},
    )
    assert done.status_code == 200, done.text
    visitor.say("And a coat?")
    visitor.see("#chatbot .bot >> nth=1", f"poet@{before}")
    visitor.leave()
