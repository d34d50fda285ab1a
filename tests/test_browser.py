"""The Space in a real browser: chat, blind battles, outages; desktop and phone, light and dark."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy.orm import Session

from arena.battles import OPEN, VOID, BattleStore
from arena.battles import Answer as Said
from arena.votes import list_votes
from space.app import build_app, start
from space.gateway_client import GatewayClient
from tests.conftest import Stage
from tests.fake_gateway import EMAIL, STAND_UP, Answer, FakeGateway, card
from understudy.database import open_database
from understudy.processes import free_port
from understudy.settings import PROJECT
from understudy.tables import BattleRow

pytestmark = pytest.mark.browser

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
PATIENCE = 20_000
"""Milliseconds that a condition gets to come true; nothing is measured against it."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def artifacts() -> Path:
    folder = Path(os.environ.get("UNDERSTUDY_ARTIFACTS") or PROJECT / "artifacts") / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class House:
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


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    store = BattleStore(open_database(f"sqlite:///{tmp_path / 'space.db'}"))
    house = House(FakeGateway().start(), store, free_port())
    yield house
    house.app.close()
    house.fake.stop()


class Visitor:
    """A person at a browser, and everything that the browser heard and complained about."""

    def __init__(self, browser: Browser, url: str, size: tuple[int, int] = DESKTOP, dark: bool = False) -> None:
        self.url = url
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.add_init_script(LISTENER)
        self.page.goto(f"{url}/?__theme={'dark' if dark else 'light'}")
        self.see("#chatbot")

    def see(self, selector: str, text: str | re.Pattern[str] | None = None) -> None:
        place = self.page.locator(selector).first
        expect(place).to_be_visible(timeout=PATIENCE)
        if text is not None:
            expect(place).to_contain_text(text, timeout=PATIENCE)

    def choose(self, title: str) -> None:
        self.page.locator("#personas label", has_text=title).click()
        self.see("#live", title)

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
        self.context.close()


@pytest.fixture
def visitor(browser: Browser, house: House) -> Iterator[Visitor]:
    visitor = Visitor(browser, house.url)
    visitor.see("#personas", "Email copywriter")
    yield visitor
    visitor.leave()


# Chat


def test_an_answer_appears_while_it_is_written(house: House, visitor: Visitor):
    held = house.fake.say("stand-up", Answer("One thing. Another thing. The end.", hold_after=4))
    visitor.choose("Stand-up comedian")
    visitor.say("Tell me something")
    visitor.see("#chatbot", "One thing. Another thing.")
    assert "The end." not in visitor.last_answer()
    expect(visitor.page.locator("#message .stop-button")).to_be_visible()
    held.release.set()
    visitor.see("#chatbot", "The end.")
    visitor.see("#note", f"stand-up@{STAND_UP}")
    expect(visitor.page.locator("#message .submit-button")).to_be_visible()
    expect(visitor.page.locator("#message textarea")).to_have_value("")
    visitor.say("And then?")
    visitor.see("#chatbot", "You said: And then?")
    turns = [turn["content"] for turn in house.fake.requests[-1]["messages"]]
    assert turns == ["Tell me something", "One thing. Another thing. The end.", "And then?"]


def test_stop_withdraws_the_request_and_keeps_the_words(house: House, visitor: Visitor):
    house.fake.say("email-copy", Answer("Dear reader, this is long", hold_after=2))
    visitor.say("Write")
    visitor.see("#chatbot", "Dear reader,")
    visitor.page.locator("#message .stop-button").click()
    visitor.see("#note", "Stopped.")
    expect(visitor.page.locator("#message .submit-button")).to_be_visible()
    for _ in range(200):
        if house.fake.withdrawn:
            break
        visitor.page.wait_for_timeout(50)
    assert house.fake.withdrawn == ["email-copy"]
    assert visitor.last_answer().strip() == "Dear reader,"
    visitor.say("Go on")
    visitor.see("#chatbot", "You said: Go on")


def test_retry_asks_again_and_clear_starts_over(house: House, visitor: Visitor):
    house.fake.say("email-copy", "The first try.")
    house.fake.say("email-copy", "The second try.")
    visitor.say("Write")
    visitor.see("#note", "Answered by")
    visitor.see("#chatbot", "The first try.")
    visitor.page.locator("#retry").click()
    visitor.see("#chatbot", "The second try.")
    expect(visitor.page.locator("#chatbot")).not_to_contain_text("The first try.")
    assert [asked["messages"] for asked in house.fake.requests] == [[{"role": "user", "content": "Write"}]] * 2
    visitor.page.locator("#clear").click()
    expect(visitor.page.locator("#chatbot")).not_to_contain_text("The second try.")
    visitor.see("#chatbot", "Say hello")


def test_an_error_is_said_under_the_chat_and_retry_heals_it(house: House, visitor: Visitor):
    house.fake.say("email-copy", Answer("Out of paper.", status=500))
    visitor.say("Write")
    visitor.see("#note .trouble", "Out of paper.")
    visitor.page.locator("#retry").click()
    visitor.see("#chatbot", "You said: Write")
    visitor.see("#note", "Answered by")


def test_a_suggestion_is_sent_with_one_click(house: House, visitor: Visitor):
    visitor.choose("Stand-up comedian")
    visitor.page.locator("#chatbot").get_by_text("What is wrong with airports?").click()
    visitor.see("#note", "Answered by Stand-up comedian")
    visitor.see("#chatbot", "You said: What is wrong with airports?")


def test_every_persona_keeps_its_own_conversation(house: House, visitor: Visitor):
    visitor.say("For the writer")
    visitor.see("#chatbot", "You said: For the writer")
    visitor.see("#note", "Answered by")
    visitor.choose("Base model")
    expect(visitor.page.locator("#chatbot")).not_to_contain_text("For the writer")
    visitor.say("For the base")
    visitor.see("#note", "Answered by Base model")
    assert house.fake.requests[-1]["model"] == "base"
    assert len(house.fake.requests[-1]["messages"]) == 1
    visitor.choose("Email copywriter")
    visitor.see("#chatbot", "You said: For the writer")


def test_advanced_settings_are_sent(house: House, visitor: Visitor):
    visitor.page.locator("#advanced button").first.click()
    temperature = visitor.page.get_by_label("number input for Temperature")
    expect(temperature).to_have_value("0.6")
    temperature.fill("0.1")
    temperature.press("Tab")
    expect(visitor.page.get_by_label("range slider for Temperature")).to_have_value("0.1")
    visitor.page.wait_for_timeout(500)  # Gradio hands a typed number on a moment after the field has lost the focus
    visitor.say("Write")
    visitor.see("#note", "Answered by")
    assert (house.fake.requests[0]["temperature"], house.fake.requests[0]["max_tokens"]) == (0.1, 200)


def test_an_answer_cannot_make_the_browser_fetch_or_run_anything(house: House, visitor: Visitor):
    trap = (
        "![x](http://127.0.0.1:9/a.png) <img src='http://127.0.0.1:9/b.png'> <script>window.caught=1</script> **bold**"
    )
    house.fake.say("email-copy", trap)
    visitor.say("Write")
    visitor.see("#chatbot .bot strong", "bold")
    assert visitor.page.evaluate("window.caught") is None
    assert all("Content Security Policy" in complaint for complaint in visitor.complaints)


# Arena


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


# Outages


def test_the_banner_comes_and_goes_by_itself(house: House, visitor: Visitor, artifacts: Path):
    expect(visitor.page.locator("#banner .banner")).to_have_count(0)
    house.fake.status, house.fake.detail = "starting", "Loading the weights."
    visitor.see("#banner .starting", "Loading the weights.")
    visitor.shot(artifacts / "banner-starting.png")
    house.fake.stop()
    visitor.see("#banner .down", "not available")
    visitor.say("Anyone there?")
    visitor.see("#note .trouble", "cannot be reached")
    visitor.shot(artifacts / "banner-down.png")
    house.fake.status = "ready"
    house.fake.start()
    expect(visitor.page.locator("#banner .banner")).to_have_count(0, timeout=PATIENCE)
    visitor.page.locator("#retry").click()
    visitor.see("#chatbot", "You said: Anyone there?")


def test_a_page_opened_during_an_outage_fills_itself(browser: Browser, house: House):
    house.fake.stop()
    visitor = Visitor(browser, house.url)
    visitor.see("#banner .down")
    visitor.see("#personas", "Base model")
    house.fake.start()
    visitor.see("#personas", "Stand-up comedian")
    visitor.see("#live", EMAIL)
    visitor.leave()


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


def test_new_personas_and_revisions_arrive_without_a_reload(house: House, visitor: Visitor):
    visitor.see("#live", EMAIL)
    visitor.say("Stay")
    visitor.see("#chatbot", "You said: Stay")
    house.fake.models["pirate"] = card("pirate", "Pirate", "Arr, every line.", ["Ahoy?"], "c" * 12)
    house.fake.models["email-copy"]["understudy"]["revision"] = "f" * 12
    visitor.see("#live", "f" * 12)
    visitor.see("#personas", "Pirate")
    visitor.see("#chatbot", "You said: Stay")
    visitor.choose("Pirate")
    visitor.say("Ahoy")
    visitor.see("#note", f"pirate@{'c' * 12}")


def test_a_page_survives_a_restart_of_the_space(house: House, visitor: Visitor):
    visitor.choose("Stand-up comedian")
    house.app.close()
    house.open()
    house.fake.status, house.fake.detail = "starting", "Loading again."
    visitor.see("#banner .starting", "Loading again.")
    house.fake.status = "ready"
    expect(visitor.page.locator("#banner .banner")).to_have_count(0, timeout=PATIENCE)
    visitor.say("Still here?")
    visitor.see("#chatbot", "You said: Still here?")


# Looks


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_fits_and_fetches_nothing_from_elsewhere(
    browser: Browser, house: House, artifacts: Path, size: tuple[int, int], dark: bool
):
    name = f"{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"
    visitor = Visitor(browser, house.url, size, dark)
    page = visitor.page
    visitor.see("#personas", "Email copywriter")
    visitor.shot(artifacts / f"chat-empty-{name}.png")
    house.fake.say(
        "email-copy", "Subject: One week of sun\n\nHi Ana,\n\nOur summer sale ends on **Sunday**. Take a look?"
    )
    visitor.say("Write an email that announces our summer sale.")
    visitor.see("#note", "Answered by")
    visitor.shot(artifacts / f"chat-{name}.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    long = "A sale is a time when a shop asks for less money than it does on other days. " * 9
    house.fake.say("base", long)
    page.get_by_role("tab", name="Arena").click()
    visitor.see("#suggestions", "summer sale")
    visitor.shot(artifacts / f"arena-empty-{name}.png")
    page.locator("#suggestions button").first.click()
    expect(page.locator("#prompt textarea")).to_have_value(re.compile("summer sale"))
    page.locator("#start").click()
    button = page.locator("#vote-both_bad")
    expect(button).to_be_enabled(timeout=PATIENCE)
    sides = [box for side in ("left", "right") if (box := page.locator(f"#answer-{side}").bounding_box())]
    stacked = sides[1]["y"] >= sides[0]["y"] + sides[0]["height"]
    assert stacked == (size == PHONE)
    if size == PHONE:
        expect(button).to_be_in_viewport()
    page.screenshot(path=artifacts / f"arena-vote-{name}.png")
    visitor.vote("left")
    expect(page.locator(".plate.known")).to_have_count(2)
    visitor.shot(artifacts / f"arena-reveal-{name}.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    background = page.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor")
    brightness = sum(int(part) for part in re.findall(r"\d+", background)[:3]) / 3
    assert (brightness < 60) == dark
    assert visitor.foreign_requests() == []
    assert visitor.complaints == []
    visitor.leave()


# The real thing


@pytest.mark.engine
def test_chat_and_battle_with_the_real_engine(browser: Browser, stage: Stage, artifacts: Path):
    models = httpx.get(f"{stage.gateway_url}/v1/models").json()["data"]
    live = {model["id"]: model["understudy"] for model in models}
    visitor = Visitor(browser, stage.space_url)
    visitor.see("#personas", live["email-copy"]["title"])
    visitor.choose(live["email-copy"]["title"])
    visitor.say(live["email-copy"]["prompts"][0])
    visitor.see("#note", f"email-copy@{live['email-copy']['revision']}")
    visitor.see("#note", "Answered by")
    assert len(visitor.last_answer().split()) > 3
    visitor.shot(artifacts / "real-chat.png")
    visitor.page.locator("#retry").click()
    visitor.see("#note", re.compile("is thinking|Being answered"))  # not the note of the answer before
    expect(visitor.page.locator("#message .submit-button")).to_be_visible(timeout=60_000)
    visitor.see("#note", "Answered by")
    expect(visitor.page.locator("#chatbot .user.message")).to_have_count(1)
    visitor.forget()
    visitor.start_battle(live["stand-up"]["prompts"][0])
    for _ in range(5):
        ended = visitor.page.locator("#vote-left:enabled, #verdict .trouble").first
        ended.wait_for(timeout=60_000)
        if visitor.page.locator("#vote-left:enabled").count():
            break
        visitor.page.locator("#next").click()
        visitor.see("#verdict", "Both sides")
    before = visitor.heard("Which answer is better?")
    for model in live.values():
        assert model["kind"] == "base" or model["title"] not in before
        assert not model["revision"] or model["revision"] not in before
    visitor.vote("left")
    expect(visitor.page.locator(".plate.known")).to_have_count(2)
    visitor.see(".plate.chosen", re.compile(r"base|@[0-9a-f]{12}"))
    visitor.shot(artifacts / "real-arena.png")
    (vote,) = list_votes(open_database(stage.settings.database))
    assert vote.verdict == "left"
    visitor.leave()
