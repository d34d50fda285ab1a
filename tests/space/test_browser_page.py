"""The page in a real browser: outages, restarts, desktop and phone, light and dark, the real engine."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from arena.votes.votes import list_votes
from tests.support.browser import DESKTOP, PATIENCE, PHONE, Site, Visitor
from tests.support.fake_gateway import EMAIL, card
from tests.support.system import System
from understudy.registry.database import open_database

pytestmark = pytest.mark.browser
pytest_plugins = ["tests.support.browser"]


def test_the_banner_comes_and_goes_by_itself(site: Site, visitor: Visitor, artifacts: Path):
    expect(visitor.page.locator("#banner .banner")).to_have_count(0)
    site.fake.status, site.fake.detail = "starting", "Loading the weights."
    visitor.see("#banner .starting", "Loading the weights.")
    visitor.shot(artifacts / "banner-starting.png")
    site.fake.stop()
    visitor.see("#banner .down", "not available")
    visitor.say("Anyone there?")
    visitor.see("#note .trouble", "cannot be reached")
    visitor.shot(artifacts / "banner-down.png")
    site.fake.status = "ready"
    site.fake.start()
    expect(visitor.page.locator("#banner .banner")).to_have_count(0, timeout=PATIENCE)
    visitor.page.locator("#retry").click()
    visitor.see("#chatbot", "You said: Anyone there?")


def test_a_page_opened_during_an_outage_fills_itself(browser: Browser, site: Site):
    site.fake.stop()
    visitor = Visitor(browser, site.url)
    visitor.see("#banner .down")
    visitor.see("#personas", "Base model")
    site.fake.start()
    visitor.see("#personas", "Stand-up comedian")
    visitor.see("#personas", EMAIL)
    visitor.leave()


def test_personas_that_are_learning_are_shown_and_step_in_while_one_chats(
    browser: Browser, site: Site, artifacts: Path
):
    fake, personas = site.fake, {}
    for name in ("email-copy", "stand-up"):
        personas[name] = fake.models.pop(name)
    fake.tells = True
    email = {"persona": "email-copy", "title": "Email <i>copywriter</i>", "state": "learning", "percent": 40}
    fake.learning = [email]
    visitor = Visitor(browser, site.url)
    visitor.see("#banner .learning", "Email <i>copywriter</i> is learning, 40 %")
    visitor.see("#personas", "No persona is live yet. You can talk to the base.")
    visitor.say("Stay")
    visitor.see("#chatbot", "You said: Stay")
    refused = {"persona": "stand-up", "title": "Comedian", "state": "refused", "reason": "it <b>repeats</b> itself"}
    fake.learning = [{**email, "percent": 70}, refused]
    fake.announce("learning")
    visitor.see("#banner .learning", "is learning, 70 %")
    visitor.see("#banner .learning .refused", "Comedian was refused: it <b>repeats</b> itself")
    visitor.shot(artifacts / "learning.png")
    fake.learning = [refused]
    fake.models["email-copy"] = personas["email-copy"]
    fake.announce("live")
    visitor.see("#personas", "Email copywriter")
    visitor.see(".toast", "Email copywriter is new on stage")
    expect(visitor.page.locator("#banner .learning .learning")).to_have_count(0)
    expect(visitor.page.locator('#personas input[value="base"]')).to_be_checked()
    visitor.see("#chatbot", "You said: Stay")
    fake.learning = []
    fake.announce("learning")
    expect(visitor.page.locator("#banner .learning")).to_have_count(0, timeout=PATIENCE)
    assert not visitor.complaints
    visitor.leave()


def test_new_personas_and_revisions_arrive_without_a_reload(site: Site, visitor: Visitor):
    visitor.see("#personas", EMAIL)
    visitor.say("Stay")
    visitor.see("#chatbot", "You said: Stay")
    site.fake.models["pirate"] = card("pirate", "Pirate", "Arr, every line.", ["Ahoy?"], "c" * 12)
    site.fake.models["email-copy"]["understudy"]["revision"] = "f" * 12
    visitor.see("#personas", "f" * 12)
    visitor.see("#personas", "Pirate")
    visitor.see("#chatbot", "You said: Stay")
    visitor.choose("Pirate")
    visitor.say("Ahoy")
    visitor.see("#chatbot", f"pirate@{'c' * 12}")


def test_a_page_survives_a_restart_of_the_space(site: Site, visitor: Visitor):
    visitor.choose("Stand-up comedian")
    site.app.close()
    site.open()
    site.fake.status, site.fake.detail = "starting", "Loading again."
    visitor.see("#banner .starting", "Loading again.")
    site.fake.status = "ready"
    expect(visitor.page.locator("#banner .banner")).to_have_count(0, timeout=PATIENCE)
    visitor.say("Still here?")
    visitor.see("#chatbot", "You said: Still here?")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_chat_fits_every_screen_and_fetches_nothing_from_elsewhere(
    browser: Browser, site: Site, artifacts: Path, dark: bool
):
    visitor = Visitor(browser, site.url, PHONE, dark)
    site.fake.say(
        "email-copy", "Subject: One week of sun\n\nHi Ana,\n\nOur summer sale ends on **Sunday**. Take a look?"
    )
    for state in ("empty", "answered"):
        visitor.see("#personas", "Email copywriter")
        background = visitor.page.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor")
        brightness = sum(int(part) for part in re.findall(r"\d+", background)[:3]) / 3
        assert (brightness < 60) == dark
        for size, name in ((DESKTOP, "desktop"), (PHONE, "phone")):
            visitor.look(size)
            visitor.fits()
            visitor.shot(artifacts / f"chat-{state}-{name}-{'dark' if dark else 'light'}.png")
        if state == "empty":
            visitor.say("Write an email that announces our summer sale.")
            visitor.see("#note", "Answered by")
    assert visitor.foreign_requests() == []
    assert visitor.complaints == []


@pytest.mark.engine
def test_a_revision_that_is_published_is_announced_by_the_real_gateways_news(browser: Browser, system: System):
    before = {model["id"]: model for model in httpx.get(f"{system.gateway_url}/v1/models").json()["data"]}
    visitor = Visitor(browser, system.space_url)
    visitor.see("#personas", before["email-copy"]["understudy"]["revision"])
    looks = [url for url in visitor.requests if url.endswith("/news")]
    assert looks, "the page listens"
    system.cli("train", "email-copy", "--seed", "4242")
    system.cli("publish", "email-copy")
    after = {model["id"]: model for model in httpx.get(f"{system.gateway_url}/v1/models").json()["data"]}
    revision = after["email-copy"]["understudy"]["revision"]
    assert revision != before["email-copy"]["understudy"]["revision"]
    visitor.see(".toast", f"is live: {revision}")
    system.cli("rollback", "email-copy")
    visitor.see("#personas", before["email-copy"]["understudy"]["revision"])
    visitor.leave()


@pytest.mark.engine
def test_chat_and_battle_with_the_real_engine(browser: Browser, system: System, artifacts: Path):
    models = httpx.get(f"{system.gateway_url}/v1/models").json()["data"]
    live = {model["id"]: model["understudy"] for model in models}
    visitor = Visitor(browser, system.space_url)
    visitor.see("#personas", live["email-copy"]["title"])
    visitor.choose(live["email-copy"]["title"])
    visitor.say(live["email-copy"]["prompts"][0])
    visitor.see("#chatbot", f"email-copy@{live['email-copy']['revision']}")
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
    visitor.shot(artifacts / "real-arena-vote.png")
    visitor.vote("left")
    expect(visitor.page.locator(".plate.known")).to_have_count(2)
    visitor.see(".plate.chosen", re.compile(r"base|@[0-9a-f]{12}"))
    visitor.shot(artifacts / "real-arena.png")
    (vote,) = list_votes(open_database(system.settings.database))
    assert vote.verdict == "left"
    visitor.leave()


# Languages and news


@pytest.mark.parametrize(
    ("locale", "tab", "legend", "placeholder", "answered", "away"),
    [
        (
            "de-AT",
            "Rangliste",
            "Wer soll antworten?",
            "Schreib eine Nachricht …",
            "Geantwortet hat",
            "nicht erreichbar",
        ),
        ("fr-FR", "Classement", "Qui doit répondre ?", "Écrivez un message…", "Réponse de", "pas disponible"),
        ("pt-BR", "Leaderboard", "Who should answer?", "Write a message…", "Answered by", "not available"),
    ],
)
def test_the_page_speaks_the_visitors_language(
    browser: Browser,
    site: Site,
    artifacts: Path,
    locale: str,
    tab: str,
    legend: str,
    placeholder: str,
    answered: str,
    away: str,
):
    visitor = Visitor(browser, site.url, locale=locale)
    visitor.see("#personas legend", legend)
    expect(visitor.page.get_by_role("tab", name=tab)).to_be_visible()
    expect(visitor.page.get_by_placeholder(placeholder)).to_be_visible()
    visitor.say("Hello")
    visitor.see("#note", answered)
    visitor.shot(artifacts / f"chat-{locale[:2]}.png")
    site.fake.stop()
    visitor.see("#banner .down", away)
    assert "__i18n__" not in visitor.page.content().split("</script>")[-1]
    visitor.leave()


def test_the_address_overrules_the_browsers_language(browser: Browser, site: Site):
    visitor = Visitor(browser, site.url, locale="fr-FR", query="&lang=de")
    visitor.see("#personas legend", "Wer soll antworten?")
    expect(visitor.page.get_by_placeholder("Schreib eine Nachricht …")).to_be_visible()
    assert visitor.page.evaluate("document.documentElement.lang") == "de"
    visitor.leave()


def test_a_new_revision_is_announced_while_the_page_is_open(site: Site, visitor: Visitor):
    expect(visitor.page.locator(".toast")).to_have_count(0)
    site.fake.models["stand-up"]["understudy"]["revision"] = "c0ffee123456"
    visitor.see(".toast", "A new revision of Stand-up comedian is live: c0ffee123456")
    visitor.see("#personas", "c0ffee123456")
    site.fake.models["stand-up"]["understudy"]["revision"] = "d0d0d0d0d0d0"
    visitor.see(".toast", "d0d0d0d0d0d0")
    expect(visitor.page.locator(".toast")).to_have_count(1)


def test_news_reach_every_open_page_at_once_through_one_reader(browser: Browser, site: Site):
    site.fake.tells = True
    visitors = [Visitor(browser, site.url) for _ in range(2)]
    for visitor in visitors:
        visitor.see("#personas", "Stand-up comedian")
    while not site.fake.listening:
        visitors[0].page.wait_for_timeout(20)
    visitors[1].page.wait_for_timeout(500)
    assert site.fake.listening == 1, "one reader for both"
    site.fake.models["stand-up"]["understudy"]["revision"] = "c0ffee123456"
    site.fake.announce()
    for visitor in visitors:
        visitor.see(".toast", "A new revision of Stand-up comedian is live: c0ffee123456")
    site.fake.stop()
    for visitor in visitors:
        visitor.see("#banner .down")
    site.fake.tells = False
    site.fake.start()
    for visitor in visitors:
        expect(visitor.page.locator("#banner .banner")).to_have_count(0, timeout=PATIENCE)
        assert visitor.complaints == []
        visitor.leave()


def test_a_card_says_what_the_persona_was_taught_with_and_shows_an_example(site: Site, visitor: Visitor):
    card = site.fake.models["email-copy"]["understudy"]
    card.update(examples=17, shots=[{"prompt": "Say hi <b>", "answer": "Hi there. Coffee on Friday?"}])
    visitor.see("#personas", "Trained on 17 examples")
    visitor.see("#personas", "30 votes until its win rate is shown")
    visitor.page.locator("#personas summary").click()
    visitor.see("#personas blockquote", "Coffee on Friday?")
    visitor.see("#personas .asked", "Say hi <b>")
    expect(visitor.page.get_by_role("radio", name="Email copywriter")).to_be_checked()


def test_a_hundred_personas_are_searched_and_paged(browser: Browser, site: Site, artifacts: Path):
    for number in range(120):
        name = f"poet-{number}"
        site.fake.models[name] = card(
            name, f"Poet {number}", f"Rhymes on {number % 7} feet.", ["Rhyme."], f"cccccccc{number:04}"
        )
    visitor = Visitor(browser, site.url)
    shown = visitor.page.locator("#personas .card:visible")
    visitor.see("#personas", "Email copywriter")
    expect(shown).to_have_count(13)  # twelve, and the base
    expect(visitor.page.get_by_role("radio", name="Base model")).to_be_visible()
    visitor.shot(artifacts / "gallery-120.png")
    visitor.page.get_by_role("button", name="Show more").click()
    expect(shown).to_have_count(25)
    visitor.page.get_by_placeholder("Search 122 personas").fill("poet 11 feet")
    expect(shown).to_have_count(11)  # 11 and 110 to 119
    expect(visitor.page.get_by_role("button", name="Show more")).to_be_hidden()
    visitor.choose("Poet 117")
    visitor.say("Rhyme")
    visitor.see("#chatbot", "poet-117@cccccccc0117")
    expect(shown).to_have_count(11)
    site.fake.models["poet-117"]["understudy"]["voice"] = "Rhymes on no more feet."
    visitor.see("#personas", "Rhymes on no more feet.")
    expect(visitor.page.get_by_role("radio", name="Poet 117")).to_be_checked()
    expect(shown).to_have_count(11)
    visitor.page.locator("#personas .find").fill("pirate")
    visitor.see("#personas .nobody", "Nobody like that")
    assert visitor.complaints == []
    visitor.leave()
