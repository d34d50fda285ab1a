"""What programs get from a Space: gradio_client against the running page."""

from collections.abc import Iterator

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from arena.battles.store import BattleStore
from space.api import mcp_works
from space.app import build_app, start
from space.backends.gateway import GatewayClient
from space.i18n import translate_page
from tests.support.fake_gateway import Answer, FakeGateway
from understudy.processes import free_port


@pytest.fixture
def url(fake: FakeGateway, store: BattleStore) -> Iterator[str]:
    app = build_app(GatewayClient(fake.url), store)
    port = free_port()
    start(app, host="127.0.0.1", port=port, block=False)
    yield f"http://127.0.0.1:{port}"
    app.close()


def test_a_program_can_list_the_personas_and_ask_one(fake: FakeGateway, url: str):
    client = Client(url, verbose=False)
    listed = client.predict(api_name="/personas")
    assert [one["name"] for one in listed] == ["base", "email-copy", "stand-up"]
    assert client.predict("Hi", "stand-up", api_name="/chat") == "So, get this. You said: Hi"
    asked = fake.requests[-1]
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("stand-up", 0.6, 200)
    client.predict("Hi", "base", 9.0, 99_999, api_name="/chat")
    assert (fake.requests[-1]["temperature"], fake.requests[-1]["max_tokens"]) == (2.0, 1024)


def test_a_program_is_told_what_is_wrong(fake: FakeGateway, url: str):
    client = Client(url, verbose=False)
    with pytest.raises(AppError, match="'pirate' is not known; known: base, email-copy, stand-up"):
        client.predict("Hi", "pirate", api_name="/chat")
    with pytest.raises(AppError, match="nothing was asked"):
        client.predict("  ", api_name="/chat")
    fake.say("base", Answer("Out of paper.", status=500))
    with pytest.raises(AppError, match="Out of paper"):
        client.predict("Hi", "base", api_name="/chat")


def test_the_docs_show_these_endpoints_and_no_inner_ones(url: str):
    info = httpx.get(f"{url}/gradio_api/info").json()
    assert {"/chat", "/personas", "/leaderboard"} == set(info["named_endpoints"])
    assert not {"/refresh", "/send", "/battle", "/cast"} & set(info["named_endpoints"])


@pytest.mark.parametrize(("found", "works"), [("1.26.0", True), ("2.3.0", False)])
def test_the_mcp_server_starts_only_beside_an_mcp_that_it_knows(
    monkeypatch: pytest.MonkeyPatch, found: str, works: bool
):
    monkeypatch.setattr("space.api.version", lambda name: found)
    assert mcp_works() is works


@pytest.mark.parametrize(
    ("query", "accepted", "language"),
    [("", "de-DE,de", "de"), ("?lang=fr", "de", "fr"), ("?lang=xx", "ja", "en"), ("", "", "en")],
)
def test_the_page_says_which_language_it_is_in(url: str, query: str, accepted: str, language: str):
    page = httpx.get(f"{url}/{query}", headers={"accept-language": accepted}).text
    assert f'lang="{language}"' in page[:200]
    said = {"en": "One model, many voices.", "de": "Ein Modell, viele Stimmen.", "fr": "Un modèle, plusieurs voix."}
    assert said[language] in page.partition("<body")[2].partition("<gradio-app")[0], "before any script has run"
    assert ("defineProperty(navigator" in page) == (query == "?lang=fr")


def test_only_known_languages_get_into_the_page():
    assert b"<script>" not in translate_page(b'<html lang="en"><head></head></html>', "de", override=False)
