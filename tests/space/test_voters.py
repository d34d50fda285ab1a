"""Who is one voter: browsers, logins, addresses; and what a new tab does not reset."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from arena.battles.store import BattleStore
from space.app import build_app, start
from space.arena.client_ip import LOOPBACK, client_address, networks
from space.arena.voters import COOKIE, DAY, SHARED, Voters
from space.backends.gateway import GatewayClient
from tests.support.fake_gateway import FakeGateway
from tests.support.space import Page
from understudy.errors import ConfigError
from understudy.processes import free_port
from understudy.registry.tables import BattleRow, VoteRow

ANN, BOB = "a" * 32, "b" * 32


def request(tab: str = "t", *, browser: str = "", peer: str = "203.0.113.9", told: str = "", sub: str = "") -> Any:
    """One request as Gradio hands it to a handler."""
    headers = {"cookie": f"x=1; {COOKIE}={browser}"} if browser else {}
    headers |= {"x-forwarded-for": told} if told else {}
    session = {"oauth_info": {"userinfo": {"sub": sub}}} if sub else {}
    inner = SimpleNamespace(headers=headers, client=SimpleNamespace(host=peer), scope={"session": session})
    return SimpleNamespace(session_hash=tab, request=inner)


def test_all_tabs_of_a_browser_are_one_voter_and_a_login_is_one_everywhere():
    voters = Voters(b"salt")
    assert voters.name(request("t1", browser=ANN)) == voters.name(request("t2", browser=ANN, peer="192.0.2.1"))
    assert voters.name(request("t1", browser=ANN)) != voters.name(request("t1", browser=BOB))
    assert voters.name(request("t1")) != voters.name(request("t2")), "a program without cookies"
    assert voters.name(request("t1", browser="made up")) == voters.name(request("t1"))
    assert voters.name(request("t1", browser=ANN, sub="7")) == voters.name(request("t2", browser=BOB, sub="7"))


def test_a_new_tab_does_not_reset_the_limit():
    voters = Voters(most=2, clock=lambda: 0.0)
    assert [voters.start(request(f"tab {n}", browser=ANN)) for n in range(3)] == [0, 0, 60]
    assert voters.start(request("t", browser=BOB)) == 0, "somebody else at the same address"


def test_an_address_has_the_limit_of_a_household_and_of_one_where_nobody_can_be_told_apart():
    voters = Voters(most=2, clock=lambda: 0.0)
    browsers = [f"{n:032x}" for n in range(2 * SHARED + 1)]
    assert [voters.start(request(browser=one)) > 0 for one in browsers] == [False] * (2 * SHARED) + [True]
    assert voters.start(request(browser=ANN, peer="198.51.100.4")) == 0
    assert [voters.start(request(f"tab {n}", peer="192.0.2.7")) for n in range(3)] == [0, 0, 60]


def test_a_refused_start_counts_for_nobody():
    clock = [0.0]
    voters = Voters(most=1, clock=lambda: clock[0])
    assert voters.start(request(browser=ANN)) == 0
    clock[0] = 50
    assert voters.start(request(browser=ANN)) == 10
    clock[0] = 60
    assert voters.start(request(browser=ANN)) == 0


def test_addresses_are_hashed_under_a_key_that_changes_every_day():
    clock = [0.0]
    voters = Voters(b"salt", clock=lambda: clock[0])
    voters.start(request(browser=ANN, peer="203.0.113.9"))
    today = set(voters._started)
    assert "203.0.113.9" not in repr(voters.__dict__)
    clock[0] = DAY + 1
    voters.start(request(browser=ANN, peer="203.0.113.9"))
    assert len(set(voters._started) - today) == 1, "the browser is the same, its address has another hash"


@pytest.mark.parametrize(
    ("peer", "told", "trusted", "found"),
    [
        ("203.0.113.9", "", "loopback", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.4", "loopback,private", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.4", "loopback", "198.51.100.4"),
        ("10.2.3.4", "198.51.100.4", "loopback", "10.2.3.4"),
        ("10.2.3.4", "198.51.100.4", "private", "198.51.100.4"),
        ("10.2.3.4", "6.6.6.6, 198.51.100.4, 10.9.9.9", "private", "198.51.100.4"),
        ("10.2.3.4", "6.6.6.6, nonsense, 10.9.9.9", "private", "10.9.9.9"),
        ("10.2.3.4", "", "private", "10.2.3.4"),
        ("::ffff:10.2.3.4", "198.51.100.4", "10.0.0.0/8", "198.51.100.4"),
        ("10.2.3.4", "2001:db8:1:2:3:4:5:6", "private", "2001:db8:1:2::/64"),
        ("testclient", "198.51.100.4", "private", ""),
    ],
)
def test_only_trusted_proxies_say_where_a_request_comes_from(peer: str, told: str, trusted: str, found: str):
    assert client_address(request(peer=peer, told=told), networks(trusted)) == found


def test_a_proxy_that_is_no_network_is_named():
    assert networks("") == ()
    assert networks("loopback") == LOOPBACK
    with pytest.raises(ConfigError, match=r"UNDERSTUDY_TRUSTED_PROXIES\) 'nginx'.*10.0.0.0/8, or loopback, private"):
        networks("loopback, nginx")


def test_tabs_of_one_browser_share_a_limit_over_http_and_no_address_is_stored(fake: FakeGateway, store: BattleStore):
    app = build_app(GatewayClient(fake.url), store, voters=Voters(b"salt", most=2))
    start(app, host="127.0.0.1", port=(port := free_port()), block=False)
    try:
        one, other = Page(f"http://127.0.0.1:{port}"), Page(f"http://127.0.0.1:{port}")
        assert one.http.cookies[COOKIE] != other.http.cookies[COOKIE]
        told = {"x-forwarded-for": "198.51.100.77"}
        one.http.headers.update(told)
        said = []
        for tab in ("tab 1", "tab 2", "tab 3"):
            one.session = tab
            said.append(one.call("battle", f"Hi {tab}", "email-copy", "base"))
            assert "Your vote is counted" in one.call("cast", None, []) or tab == "tab 3"
        assert ["Which answer is better?" in text for text in said] == [True, True, False]
        assert "a lot of battles" in said[-1]
        assert "Which answer is better?" in other.call("battle", "Hello", "email-copy", "base")
    finally:
        app.close()
    with Session(store.engine) as db:
        rows = [row.__dict__ for row in (*db.query(VoteRow), *db.query(BattleRow))]
        assert len({row.session for row in db.query(VoteRow)}) == 1, "two tabs, one voter"
    assert "198.51.100.77" not in repr(rows)
    assert "127.0.0.1" not in repr(rows)


@pytest.mark.parametrize(("proto", "says"), [("http", "SameSite=Lax"), ("https", "SameSite=None; Secure; Partitioned")])
def test_the_cookie_is_for_the_server_alone(fake: FakeGateway, store: BattleStore, proto: str, says: str):
    app = build_app(GatewayClient(fake.url), store)
    start(app, host="127.0.0.1", port=(port := free_port()), block=False)
    try:
        page = httpx.get(f"http://127.0.0.1:{port}/", headers={"x-forwarded-proto": proto})
        assert "HttpOnly" in page.headers["set-cookie"]
        assert page.headers["set-cookie"].endswith(says)
        value = page.headers["set-cookie"].partition("=")[2].partition(";")[0]
        again = httpx.get(f"http://127.0.0.1:{port}/", headers={"cookie": f"{COOKIE}={value}"})
        assert "set-cookie" not in again.headers
    finally:
        app.close()
