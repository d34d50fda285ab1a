"""A Space in its own environment, with its own files: signing in with the Hub, and what programs get by MCP."""

import ast
import hashlib
import hmac
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy.orm import Session

from arena.battles.store import digest
from tests.support.browser import PATIENCE, Visitor
from tests.support.fake_gateway import FakeGateway
from tests.support.hub.proxy import HubProxy
from tests.support.hub.server import TOKEN, USER, HubServer
from tests.support.openid_provider import CLIENT, SCOPES, SECRET, OpenIdProvider, subject
from tests.support.space_environment import DeployedSpace, space_python
from understudy.registry.database import open_database
from understudy.registry.tables import VoteRow

pytestmark = pytest.mark.slow
pytest_plugins = ["tests.support.browser"]

ANN = "annabel-lee"
MOCKED = "11111111111111111111111"
"""The number of the account that Gradio makes up off a Space (gradio/oauth.py)."""
SIGN_IN = "Sign in: your votes are yours in every browser"


def open_own_votes(visitor: Visitor) -> None:
    visitor.page.get_by_role("tab", name="Leaderboard").click()
    if not visitor.page.locator("#sign-in").is_visible():
        visitor.page.locator("#own-votes button").first.click()
    visitor.see("#sign-in")


def sign_in(visitor: Visitor, account: str) -> None:
    """The whole dance: to the provider, consent, and back to the page."""
    open_own_votes(visitor)
    visitor.page.locator("#sign-in").click()
    visitor.page.get_by_role("button", name=f"Go on as {account}").click()
    visitor.see("#chatbot")
    open_own_votes(visitor)
    visitor.see("#sign-in", f"Logout ({account})")


def vote_once(visitor: Visitor, prompt: str) -> None:
    visitor.start_battle(prompt)
    visitor.vote("left")
    expect(visitor.page.locator(".plate.known")).to_have_count(2, timeout=PATIENCE)


def until_refused(visitor: Visitor, prompt: str) -> None:
    """Starts battles until one is refused: on a busy machine the account's last three may take more than a minute."""
    trouble, vote = visitor.page.locator("#verdict .trouble"), visitor.page.locator("#vote-left:enabled")
    for _ in range(4):
        visitor.start_battle(prompt)
        expect(trouble.or_(vote).first).to_be_visible(timeout=PATIENCE)
        if trouble.count():
            break
        visitor.vote("left")
        expect(vote).to_have_count(0, timeout=PATIENCE)
    visitor.see("#verdict .trouble", "a lot of battles")


def voters(space: DeployedSpace) -> list[str]:
    """Who voted, oldest first, as the database knows them."""
    with Session(open_database(f"sqlite:///{space.home / 'understudy.db'}")) as db:
        return [row.session for row in db.query(VoteRow).order_by(VoteRow.at)]


def stored(space: DeployedSpace) -> bytes:
    return b"".join(path.read_bytes() for path in space.home.rglob("*") if path.is_file())


@pytest.fixture
def space_with_login(tmp_path: Path, fake: FakeGateway) -> Iterator[tuple[DeployedSpace, HubProxy, OpenIdProvider]]:
    """A Space as on the Hub: behind its proxy, with an OAuth application of a provider."""
    space_python()
    place = DeployedSpace(tmp_path, fake)
    proxy = HubProxy(place.url, tmp_path)
    provider = OpenIdProvider([ANN, "bob"], f"{proxy.url}/login/callback")
    place.env |= {
        "SYSTEM": "spaces",
        "SPACE_ID": "ann/stage",
        "SPACE_HOST": f"localhost:{proxy.port}",
        "OAUTH_CLIENT_ID": CLIENT,
        "OAUTH_CLIENT_SECRET": SECRET,
        "OAUTH_SCOPES": SCOPES,
        "OPENID_PROVIDER_URL": provider.url,
        "UNDERSTUDY_BATTLES_PER_MINUTE": "3",
    }
    with provider, proxy, place:
        yield place, proxy, provider


@pytest.mark.browser
def test_somebody_signs_in_votes_is_one_voter_everywhere_and_signs_out(
    browser: Browser, space_with_login: tuple[DeployedSpace, HubProxy, OpenIdProvider]
):
    space, proxy, provider = space_with_login
    visitor = Visitor(browser, proxy.url)
    vote_once(visitor, "Before I signed in")
    sign_in(visitor, ANN)
    vote_once(visitor, "Signed in")
    elsewhere = Visitor(browser, proxy.url)
    sign_in(elsewhere, ANN)
    vote_once(elsewhere, "Signed in, in another browser")
    vote_once(elsewhere, "Once more")
    until_refused(elsewhere, "One battle more than the account has")
    until_refused(visitor, "And the same in the first browser")
    anonymous, *signed_in = voters(space)
    assert len(signed_in) >= 3
    assert len(set(signed_in)) == 1
    assert anonymous not in signed_in
    assert digest(subject(ANN)) not in signed_in, "without the salt a hash leads to nobody"
    open_own_votes(visitor)
    visitor.page.locator("#sign-in").click()
    visitor.see("#chatbot")
    open_own_votes(visitor)
    visitor.see("#sign-in", SIGN_IN)
    vote_once(visitor, "Signed out")
    assert voters(space)[-1] == anonymous, "the browser is who it was before"
    for secret in (ANN, subject(ANN), "Annabel", proxy.visitor):
        assert secret.encode() not in stored(space)
    assert provider.refused == []
    assert visitor.foreign_requests() == [url for url in visitor.requests if url.startswith(provider.url)]
    for one in (visitor, elsewhere):
        one.leave()


@pytest.mark.browser
def test_off_a_space_gradio_plays_the_sign_in_with_the_machines_own_account(
    browser: Browser, tmp_path: Path, fake: FakeGateway
):
    space = DeployedSpace(tmp_path, fake)
    with HubServer() as hub:
        space.env |= {"OAUTH_CLIENT_ID": CLIENT, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
        with space:
            visitor = Visitor(browser, space.url)
            open_own_votes(visitor)
            visitor.page.locator("#sign-in").click()
            visitor.page.wait_for_function("label => document.querySelector('#sign-in') === null", arg="")
            visitor.see("#chatbot")
            open_own_votes(visitor)
            visitor.see("#sign-in", f"Logout ({USER})")
            vote_once(visitor, "Signed in")
            (voter,) = voters(space)
            salt = (space.home / "voters.salt").read_text().encode()
            name = hmac.new(salt, f"login\0{MOCKED}".encode(), hashlib.sha256).hexdigest()
            assert voter == digest(name), "the account, and not the browser"
            visitor.leave()


PROGRAM = """
import asyncio, json, sys
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

async def main(url, calls):
    async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as session:
        await session.initialize()
        tools = [tool.model_dump(mode="json") for tool in (await session.list_tools()).tools]
        answers = []
        for name, arguments in calls:
            result = await session.call_tool(name, arguments)
            answers.append([result.isError, "".join(getattr(part, "text", "") for part in result.content)])
        resources = (await session.list_resources()).resources
        prompts = (await session.list_prompts()).prompts
    print(json.dumps({"tools": tools, "answers": answers, "others": len(resources) + len(prompts)}))

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


def by_mcp(url: str, *calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """What an MCP client of the Space's own environment is told."""
    command = [space_python(), "-c", PROGRAM, f"{url}/gradio_api/mcp/", json.dumps(calls)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_programs_ask_personas_by_mcp_and_can_neither_vote_nor_see_more(tmp_path: Path, fake: FakeGateway):
    calls = [
        ("personas", {}),
        ("chat", {"message": "Hi", "persona": "stand-up"}),
        ("chat", {"message": "Hi", "persona": "pirate"}),
        ("leaderboard", {}),
        *((name, {}) for name in ("cast", "cast_1", "battle", "refresh", "own", "withdraw", "published")),
    ]
    with DeployedSpace(tmp_path, fake) as space:
        told = by_mcp(space.url, *calls)
    assert [tool["name"] for tool in told["tools"]] == ["chat", "personas", "leaderboard"]
    assert told["others"] == 0
    for tool in told["tools"]:
        assert tool["description"].startswith(("Asks", "Lists", "Tells"))
        assert all(field["description"] for field in tool["inputSchema"]["properties"].values())
    (_, listed), (failed, said), (refused, why), (_, board), *private = told["answers"]
    assert {"email-copy", "stand-up"} <= set(re.findall(r"[a-z]+-[a-z]+", listed))
    assert (failed, said) == (False, "So, get this. You said: Hi")
    assert refused
    assert "'pirate' is not known; known: base, email-copy, stand-up" in why
    assert ast.literal_eval(board).items() >= {"votes": 0, "contestants": [], "waiting": []}.items()
    assert all(is_error for is_error, _ in private), private
    assert voters(space) == []
