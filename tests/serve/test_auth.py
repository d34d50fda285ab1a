"""Who may come in: keys, addresses, and a database that is slow or away."""

import asyncio
import threading
import time
from collections.abc import Awaitable

import pytest

from serve.http import api_key_cache
from serve.http.auth import AdmittedRequest, Authenticator, Caller
from serve.http.errors import HttpRefusalError
from serve.http.rate_limits import RateLimits
from tests.support.api_callers import HERE, WRONG, CountingKeys, authenticator, keys, refusal
from understudy.config.settings import Settings

__all__ = ["keys"]


# --- who


@pytest.mark.parametrize(
    ("send", "inference", "metrics", "admin"),
    [
        ("inference", "key", 403, 403),
        ("metrics", 403, "key", 403),
        ("admin", 403, "key", "key"),
        ("revoked", 401, 401, 401),
        ("UNDERSTUDY_API_KEY", "env", 403, 403),
        ("UNDERSTUDY_ADMIN_KEY", 403, "env", "env"),
        (WRONG, 401, 401, 401),
        ("none", 401, 401, 401),
        ("", 401, 401, 401),
        ("é\xff", 401, 401, 401),
    ],
)
def test_each_key_opens_what_it_is_for(
    settings: Settings, keys: CountingKeys, send: str, inference: str | int, metrics: str | int, admin: str | int
) -> None:
    made = {kind: keys.create(kind, kind, created_by="ann") for kind in ("inference", "metrics", "admin")}
    made["revoked"] = keys.create("revoked", "inference", created_by="ann")
    keys.revoke("revoked", by="ann")
    secrets = {name: new.secret for name, new in made.items()}
    header = f"Bearer {secrets.get(send, send)}"

    async def outcome(coming: Awaitable[Caller]) -> str | int:
        try:
            return (await coming).id.partition(":")[0]
        except HttpRefusalError as error:
            return error.status

    async def scene() -> None:
        gate = authenticator(settings, keys, api_key="UNDERSTUDY_API_KEY", admin_key="UNDERSTUDY_ADMIN_KEY")
        found = [await outcome(gate.caller(header, HERE))]
        found += [await outcome(gate.require("metrics", header)), await outcome(gate.require("admin", header))]
        assert found == [inference, metrics, admin]

    asyncio.run(scene())


@pytest.mark.parametrize("header", ["KEY", "Basic KEY", "Bearer", "BearerKEY", "Bearer KEY x", ""])
def test_a_key_is_sent_as_a_bearer_token_or_not_at_all(settings: Settings, keys: CountingKeys, header: str) -> None:
    key, secret = keys.create("app", "inference", requests_per_minute=5, created_by="ann")

    async def scene() -> None:
        gate = authenticator(settings, keys)
        assert await refusal(gate.caller(header.replace("KEY", secret), HERE)) == (401, "invalid_api_key")
        found = await gate.caller(f"bearer  {secret} ", HERE)
        assert found == Caller(f"key:{key.id}", "app", "inference", RateLimits(requests_per_minute=5))

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("anonymous", "api_key", "has_key", "header", "comes_in"),
    [
        (None, None, False, "", True),
        (None, None, False, "Bearer none", True),
        (None, None, False, "Bearer sk-anything", True),
        (None, None, False, f"Bearer {WRONG}", False),
        (None, None, True, "", False),
        (None, None, True, "Bearer none", False),
        (None, "secret", False, "", False),
        (True, None, True, "", True),
        (True, None, True, f"Bearer {WRONG}", False),
        (True, "secret", True, "Bearer none", True),
        (True, "secret", True, "Bearer sercet", False),
        (False, None, False, "", False),
    ],
)
def test_whether_one_may_come_without_a_key(
    settings: Settings,
    keys: CountingKeys,
    anonymous: bool | None,
    api_key: str | None,
    has_key: bool,
    header: str,
    comes_in: bool,
) -> None:
    keys.create("figures", "metrics", created_by="ann")
    if has_key:
        key, _ = keys.create("app", "inference", created_by="ann")
        keys.revoke(key.id, by="ann")  # once locked, the gate stays so

    async def scene() -> None:
        gate = authenticator(settings, keys, anonymous=anonymous, api_key=api_key)
        if comes_in:
            assert (await gate.caller(header, HERE)).kind == "anonymous"
        else:
            assert await refusal(gate.caller(header, HERE)) == (401, "invalid_api_key")

    asyncio.run(scene())


def test_addresses_are_told_apart_but_not_told(settings: Settings, keys: CountingKeys) -> None:
    async def scene() -> None:
        gate, other = authenticator(settings, keys), authenticator(settings, keys)

        async def seen(address: str, at: Authenticator = gate) -> str:
            caller = await at.caller("", address)
            assert address not in repr(caller)
            return caller.id

        assert await seen(HERE) == await seen(HERE) == await seen(f"::ffff:{HERE}")
        assert await seen(HERE) != await seen("192.0.2.2")
        assert await seen("2001:db8::1") == await seen("2001:db8::ffff:1"), "one customer, one /64"
        assert await seen("2001:db8::1") != await seen("2001:db8:0:1::1")
        assert await seen(HERE) != await seen(HERE, other), "of no use after a restart"
        for odd in ("fe80::1%eth0", ":not:an:address:", "unix"):
            assert (await seen(odd)).startswith("anonymous:")

    asyncio.run(scene())


# --- the database


def test_a_new_key_works_at_once_and_a_revoked_one_ends(
    settings: Settings, keys: CountingKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_cache, "FRESH", 0.3)
    monkeypatch.setattr(api_key_cache, "SPACING", 0.1)

    async def scene() -> None:
        gate = authenticator(settings, keys)
        assert (await gate.caller("", HERE)).kind == "anonymous"
        key, secret = keys.create("app", "inference", created_by="ann")
        assert (await gate.caller(f"Bearer {secret}", HERE)).name == "app"
        keys.revoke(key.id, by="ann")
        await asyncio.sleep(0.3)
        assert await refusal(gate.caller(f"Bearer {secret}", HERE)) == (401, "invalid_api_key")

    asyncio.run(scene())


def test_a_flood_of_keys_known_and_wrong_reads_the_database_a_few_times(
    settings: Settings, keys: CountingKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_cache, "SPACING", 0.2)
    secret = keys.create("app", "inference", created_by="ann").secret

    async def scene() -> None:
        gate, begin = authenticator(settings, keys), time.monotonic()
        for _ in range(1000):
            await gate.caller(f"Bearer {secret}", HERE)
        assert keys.reads == 1
        for text in ("", "none", "us-", "x" * 100_000, WRONG + "x"):
            await refusal(gate.caller(f"Bearer {text}", HERE))
        assert keys.reads == 1, "what is no key is not looked up"
        for wave in range(3):
            tried = [f"us-{n:08x}-{'y' * 42}{wave}" for n in range(500)]
            refused = await asyncio.gather(*(refusal(gate.caller(f"Bearer {text}", HERE)) for text in tried))
            assert set(refused) == {(401, "invalid_api_key")}
        assert keys.reads <= 2 + (time.monotonic() - begin) / 0.2

    asyncio.run(scene())


def test_a_slow_database_stops_nobody_who_is_known(
    settings: Settings, keys: CountingKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_cache, "FRESH", 0.0)
    monkeypatch.setattr(api_key_cache, "SPACING", 0.0)
    secret = keys.create("app", "inference", created_by="ann").secret
    read, released, given_up = keys.active, threading.Event(), threading.Event()

    async def scene() -> None:
        gate = authenticator(settings, keys)
        await gate.caller(f"Bearer {secret}", HERE)
        monkeypatch.setattr(api_key_cache, "PATIENCE", 0.05)
        monkeypatch.setattr(keys, "active", lambda: read() if released.wait(30) else given_up.set() or {})
        ticks = 0
        asking = asyncio.create_task(gate.caller(f"Bearer {secret}", HERE))
        while not asking.done():
            await asyncio.sleep(0.005)
            ticks += 1
        assert (await asking).name == "app"
        assert not given_up.is_set(), "the database was waited for"
        assert ticks > 3, "the event loop went on meanwhile"
        released.set()

    asyncio.run(scene())


def test_without_a_database_known_keys_go_on_and_unknown_ones_wait_outside(
    settings: Settings, keys: CountingKeys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(api_key_cache, "FRESH", 0.0)
    monkeypatch.setattr(api_key_cache, "SPACING", 0.01)
    secret = keys.create("app", "inference", created_by="ann").secret

    async def scene() -> None:
        gate = authenticator(settings, keys)
        keys.broken = True
        assert await refusal(gate.caller("", HERE)) == (503, "keys_unknown")
        assert (await gate.require("admin", f"Bearer {settings.admin_secret}")).id == "env"
        keys.broken = False
        assert (await gate.caller(f"Bearer {secret}", HERE)).name == "app"
        keys.broken = True
        assert (await gate.caller(f"Bearer {secret}", HERE)).name == "app"
        assert await refusal(gate.caller(f"Bearer {WRONG}", HERE)) == (401, "invalid_api_key")

    asyncio.run(scene())
    assert "the keys cannot be read: ConnectionError" in caplog.text
    assert "password" not in caplog.text


def test_a_ticket_shows_no_secret(settings: Settings, keys: CountingKeys) -> None:
    secret = keys.create("app", "inference", created_by="ann").secret

    async def scene() -> None:
        gate = authenticator(settings, keys, api_key="very-secret")
        caller = await gate.caller(f"Bearer {secret}", HERE)
        async with gate.enter(caller) as ticket:
            assert isinstance(ticket, AdmittedRequest)
            shown = repr([ticket, vars(ticket), caller, gate, gate._keys, await gate.caller("Bearer very-secret", "")])
            assert secret[12:] not in shown
            assert "very-secret" not in shown

    asyncio.run(scene())
