"""The doorkeeper: who comes in, how much, how many at once, and what that costs the database and the memory."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import settings as example_count
from hypothesis import strategies as st
from limits.storage import MemoryStorage

from serve import admission, keyring
from serve.admission import Admission, Caller, NotAdmittedError, Ticket
from serve.windows import Limits
from tests.test_windows import Clock
from understudy.keys import Key, KeyStore, open_keys
from understudy.settings import Settings, load_settings

HERE = "192.0.2.1"
WRONG = "us-12345678-" + "x" * 43


class CountingKeys(KeyStore):
    """The real store; counts how often it is read, and can be out of order."""

    reads, broken = 0, False

    def active(self) -> dict[str, Key]:
        self.reads += 1
        if self.broken:
            raise ConnectionError("postgresql://user:password@db is away")
        return super().active()


@pytest.fixture
def keys(settings: Settings) -> CountingKeys:
    return CountingKeys(open_keys(settings).engine)


def doorkeeper(settings: Settings, keys: KeyStore, *, clock: Callable[[], float] = time.monotonic, **changes: object):
    return Admission(load_settings(home=settings.home, **changes), keys, clock=clock)


def named(**limits: int) -> Caller:
    return Caller("key:ab12cd34", "app", "inference", Limits(**limits))


async def refusal(coming: Awaitable[object]) -> tuple[int, str]:
    with pytest.raises(NotAdmittedError) as refused:
        await coming
    return refused.value.status, refused.value.code


async def ask(door: Admission, caller: Caller, tokens: int = 0) -> list[tuple[str, str]]:
    """One answer, from beginning to end."""
    async with door.enter(caller) as ticket:
        ticket.charge(tokens)
        return ticket.headers()


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
        except NotAdmittedError as error:
            return error.status

    async def scene() -> None:
        door = doorkeeper(settings, keys, api_key="UNDERSTUDY_API_KEY", admin_key="UNDERSTUDY_ADMIN_KEY")
        found = [await outcome(door.caller(header, HERE))]
        found += [await outcome(door.require("metrics", header)), await outcome(door.require("admin", header))]
        assert found == [inference, metrics, admin]

    asyncio.run(scene())


@pytest.mark.parametrize("header", ["KEY", "Basic KEY", "Bearer", "BearerKEY", "Bearer KEY x", ""])
def test_a_key_is_sent_as_a_bearer_token_or_not_at_all(settings: Settings, keys: CountingKeys, header: str) -> None:
    key, secret = keys.create("app", "inference", requests_per_minute=5, created_by="ann")

    async def scene() -> None:
        door = doorkeeper(settings, keys)
        assert await refusal(door.caller(header.replace("KEY", secret), HERE)) == (401, "invalid_api_key")
        found = await door.caller(f"bearer  {secret} ", HERE)
        assert found == Caller(f"key:{key.id}", "app", "inference", Limits(requests_per_minute=5))

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
        keys.revoke(key.id, by="ann")  # once locked, the door stays so

    async def scene() -> None:
        door = doorkeeper(settings, keys, anonymous=anonymous, api_key=api_key)
        if comes_in:
            assert (await door.caller(header, HERE)).kind == "anonymous"
        else:
            assert await refusal(door.caller(header, HERE)) == (401, "invalid_api_key")

    asyncio.run(scene())


def test_addresses_are_told_apart_but_not_told(settings: Settings, keys: CountingKeys) -> None:
    async def scene() -> None:
        door, other = doorkeeper(settings, keys), doorkeeper(settings, keys)

        async def seen(address: str, at: Admission = door) -> str:
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
    monkeypatch.setattr(keyring, "FRESH", 0.3)
    monkeypatch.setattr(keyring, "SPACING", 0.1)

    async def scene() -> None:
        door = doorkeeper(settings, keys)
        assert (await door.caller("", HERE)).kind == "anonymous"
        key, secret = keys.create("app", "inference", created_by="ann")
        assert (await door.caller(f"Bearer {secret}", HERE)).name == "app"
        keys.revoke(key.id, by="ann")
        await asyncio.sleep(0.3)
        assert await refusal(door.caller(f"Bearer {secret}", HERE)) == (401, "invalid_api_key")

    asyncio.run(scene())


def test_a_flood_of_keys_known_and_wrong_reads_the_database_a_few_times(
    settings: Settings, keys: CountingKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "SPACING", 0.2)
    secret = keys.create("app", "inference", created_by="ann").secret

    async def scene() -> None:
        door, begin = doorkeeper(settings, keys), time.monotonic()
        for _ in range(1000):
            await door.caller(f"Bearer {secret}", HERE)
        assert keys.reads == 1
        for text in ("", "none", "us-", "x" * 100_000, WRONG + "x"):
            await refusal(door.caller(f"Bearer {text}", HERE))
        assert keys.reads == 1, "what is no key is not looked up"
        for wave in range(3):
            tried = [f"us-{n:08x}-{'y' * 42}{wave}" for n in range(500)]
            refused = await asyncio.gather(*(refusal(door.caller(f"Bearer {text}", HERE)) for text in tried))
            assert set(refused) == {(401, "invalid_api_key")}
        assert keys.reads <= 2 + (time.monotonic() - begin) / 0.2

    asyncio.run(scene())


def test_a_slow_database_stops_nobody_who_is_known(
    settings: Settings, keys: CountingKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "FRESH", 0.0)
    monkeypatch.setattr(keyring, "SPACING", 0.0)
    secret = keys.create("app", "inference", created_by="ann").secret
    read = keys.active

    async def scene() -> None:
        door = doorkeeper(settings, keys)
        await door.caller(f"Bearer {secret}", HERE)
        monkeypatch.setattr(keyring, "PATIENCE", 0.05)
        monkeypatch.setattr(keys, "active", lambda: time.sleep(1) or read())
        begin = time.monotonic()
        ticks = 0
        asking = asyncio.create_task(door.caller(f"Bearer {secret}", HERE))
        while not asking.done():
            await asyncio.sleep(0.005)
            ticks += 1
        assert (await asking).name == "app"
        assert time.monotonic() - begin < 0.8
        assert ticks > 3, "the event loop went on meanwhile"

    asyncio.run(scene())


def test_without_a_database_known_keys_go_on_and_unknown_ones_wait_outside(
    settings: Settings, keys: CountingKeys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keyring, "FRESH", 0.0)
    monkeypatch.setattr(keyring, "SPACING", 0.01)
    secret = keys.create("app", "inference", created_by="ann").secret

    async def scene() -> None:
        door = doorkeeper(settings, keys)
        keys.broken = True
        assert await refusal(door.caller("", HERE)) == (503, "keys_unknown")
        assert (await door.require("admin", f"Bearer {settings.admin_secret}")).id == "env"
        keys.broken = False
        assert (await door.caller(f"Bearer {secret}", HERE)).name == "app"
        keys.broken = True
        assert (await door.caller(f"Bearer {secret}", HERE)).name == "app"
        assert await refusal(door.caller(f"Bearer {WRONG}", HERE)) == (401, "invalid_api_key")

    asyncio.run(scene())
    assert "the keys cannot be read: ConnectionError" in caplog.text
    assert "password" not in caplog.text


# --- how much a minute


def test_requests_of_a_minute_are_used_up_and_come_back(settings: Settings, keys: CountingKeys) -> None:
    clock = Clock()

    async def scene() -> None:
        door, caller = doorkeeper(settings, keys, clock=clock), named(requests_per_minute=3)
        assert dict(await ask(door, caller)) == {
            "x-ratelimit-limit-requests": "3",
            "x-ratelimit-remaining-requests": "2",
            "x-ratelimit-reset-requests": "60s",
        }
        clock.now += 17.5
        await ask(door, caller)
        assert dict(await ask(door, caller))["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(NotAdmittedError, match="all 3 requests of this minute are used; try again in 43 s") as full:
            await ask(door, caller)
        error = full.value
        assert (error.status, error.code, error.retry_after) == (429, "rate_limit_exceeded", 43)
        assert error.response.headers["retry-after"] == "43"
        assert json.loads(bytes(error.response.body))["error"]["type"] == "rate_limit_error"
        clock.now += 42.4
        assert await refusal(ask(door, caller)) == (429, "rate_limit_exceeded")
        clock.now += 0.2
        assert dict(await ask(door, caller))["x-ratelimit-remaining-requests"] == "2"
        assert door.in_progress == 0

    asyncio.run(scene())


def test_tokens_are_taken_after_the_answer_even_more_than_there_were(settings: Settings, keys: CountingKeys) -> None:
    clock = Clock()

    async def scene() -> None:
        door, caller = doorkeeper(settings, keys, clock=clock), named(tokens_per_minute=100, requests_per_minute=50)
        await ask(door, caller, tokens=99)
        assert dict(await ask(door, caller, tokens=500))["x-ratelimit-remaining-tokens"] == "1"
        for _ in range(5):
            with pytest.raises(NotAdmittedError, match="all 100 tokens of this minute are used; try again in 60 s"):
                await ask(door, caller)
        clock.now += 60.1
        headers = dict(await ask(door, caller))
        assert headers["x-ratelimit-remaining-tokens"] == "100"
        assert headers["x-ratelimit-remaining-requests"] == "49"

    asyncio.run(scene())


def test_limits_of_one_are_not_those_of_another(settings: Settings, keys: CountingKeys) -> None:
    for name in ("one", "two"):
        keys.create(name, "inference", requests_per_minute=1, created_by="ann")
    free = keys.create("free", "inference", created_by="ann").secret

    async def scene() -> None:
        door = doorkeeper(settings, keys, anonymous=True, anonymous_requests_per_minute=1)
        callers = [Caller(f"key:{n}", n, "inference", Limits(1)) for n in ("one", "two")]
        callers += [await door.caller("", address) for address in (HERE, "192.0.2.2", "2001:db8::1")]
        for caller in callers:
            await ask(door, caller)
        for caller in callers:
            assert await refusal(ask(door, caller)) == (429, "rate_limit_exceeded")
        unlimited = await door.caller(f"Bearer {free}", HERE)
        assert [await ask(door, unlimited, tokens=10**9) for _ in range(20)] == [[]] * 20

    asyncio.run(scene())


# --- how many at once


def test_places_are_counted_for_each_caller_and_for_all(settings: Settings, keys: CountingKeys) -> None:
    async def scene() -> None:
        door, few = doorkeeper(settings, keys, max_concurrent=3), named(max_concurrent=2, requests_per_minute=5)
        async with door.enter(few), door.enter(few):
            assert await refusal(ask(door, few)) == (429, "rate_limit_exceeded")
            other = Caller("env", "UNDERSTUDY_API_KEY", "inference")
            async with door.enter(other):
                assert door.in_progress == 3
                with pytest.raises(NotAdmittedError) as full:
                    await ask(door, other)
                assert (full.value.status, full.value.code, full.value.retry_after) == (429, "overloaded", 1)
        assert dict(await ask(door, few))["x-ratelimit-remaining-requests"] == "2", "refusals took no request"
        assert door.in_progress == 0

    asyncio.run(scene())


ENDS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["fine", "error", "cancel"])), max_size=30)


@example_count(max_examples=60, deadline=None)
@given(ENDS, st.integers(1, 6), st.integers(1, 3), st.randoms())
def test_every_place_is_given_back_however_an_answer_ends(tmp_path_factory, ends, total, each, random) -> None:
    async def answer(door: Admission, caller: Caller, end: str, go: asyncio.Event) -> str:
        try:
            async with door.enter(caller):
                await go.wait()
                if end == "error":
                    raise OSError
        except NotAdmittedError as error:
            return error.code
        return "in"

    async def scene() -> None:
        door = Admission(load_settings(home=home, max_concurrent=total), KeyStore(None))  # pyright: ignore[reportArgumentType]
        open_now: list[tuple[str, asyncio.Task[str], asyncio.Event, str]] = []
        for name, end in ends:
            if open_now and random.random() < 0.4:
                await finish(door, open_now.pop(random.randrange(len(open_now))))
            mine = sum(n == name for n, *_ in open_now)
            expected = "overloaded" if len(open_now) >= total else "rate_limit_exceeded" if mine >= each else ""
            go = asyncio.Event()
            caller = Caller(name, name, "inference", Limits(max_concurrent=each))
            task = asyncio.create_task(answer(door, caller, end, go))
            await asyncio.sleep(0)
            if expected:
                assert await task == expected
            else:
                open_now.append((name, task, go, end))
            assert door.in_progress == len(open_now)
        for one in open_now:
            await finish(door, one)
        assert door.in_progress == 0
        assert not door._in_progress

    async def finish(door: Admission, one: tuple[str, asyncio.Task[str], asyncio.Event, str]) -> None:
        _, task, go, end = one
        task.cancel() if end == "cancel" else go.set()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await task

    home = tmp_path_factory.getbasetemp()
    asyncio.run(scene())


# --- storages


class AwayStorage(MemoryStorage):
    """A shared storage whose machine is down."""

    STORAGE_SCHEME = ["away"]

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        raise ConnectionError("redis://user:password@host")

    def get(self, key: str) -> int:
        raise ConnectionError("redis://user:password@host")


class SharedStorage(MemoryStorage):
    """Stands for a storage across the network: the library's own, which is used in a thread."""

    STORAGE_SCHEME = ["shared"]


async def all_charged(door: Admission) -> None:
    while door._charges:
        await asyncio.sleep(0.01)


def test_a_shared_storage_counts_keys_and_never_sees_addresses(settings: Settings, keys: CountingKeys) -> None:
    async def scene() -> None:
        door = doorkeeper(settings, keys, limits_storage="shared://", anonymous_requests_per_minute=5)
        caller, anonymous = named(requests_per_minute=2, tokens_per_minute=10), await door.caller("", HERE)
        assert dict(await ask(door, caller, tokens=10))["x-ratelimit-reset-requests"] in ("60s", "59s")
        await all_charged(door)
        with pytest.raises(NotAdmittedError, match="all 10 tokens") as full:
            await ask(door, caller)
        assert 55 <= (full.value.retry_after or 0) <= 60
        assert await ask(door, anonymous)
        storage = door._shared._limiter.storage
        assert isinstance(storage, SharedStorage)
        assert all("key:ab12cd34" in name for name in storage.storage)

    asyncio.run(scene())


def test_a_shared_storage_that_is_away_stops_nobody(
    settings: Settings, keys: CountingKeys, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        door = doorkeeper(settings, keys, limits_storage="away://")
        assert await ask(door, named(requests_per_minute=1, tokens_per_minute=1), tokens=5) == []
        await all_charged(door)

    caplog.set_level(logging.WARNING)
    asyncio.run(scene())
    assert "limits are not counted, their storage fails: ConnectionError" in caplog.text
    assert "tokens are not counted, the limits' storage fails: ConnectionError" in caplog.text
    assert "password" not in caplog.text


def test_a_shared_storage_that_hangs_is_not_waited_for_long(
    settings: Settings, keys: CountingKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "STORAGE_PATIENCE", 0.05)
    secret = keys.create("app", "inference", requests_per_minute=1, created_by="ann").secret

    async def scene() -> None:
        door, begin = doorkeeper(settings, keys, limits_storage="shared://"), time.monotonic()
        monkeypatch.setattr(door._shared, "take", lambda *_: time.sleep(1))
        assert await asyncio.gather(*(ask(door, named(requests_per_minute=1)) for _ in range(20))) == [[]] * 20
        assert (await door.caller(f"Bearer {secret}", HERE)).name == "app", "keys are read all the same"
        assert time.monotonic() - begin < 0.9
        assert door.in_progress == 0

    asyncio.run(scene())


def test_a_ticket_shows_no_secret(settings: Settings, keys: CountingKeys) -> None:
    secret = keys.create("app", "inference", created_by="ann").secret

    async def scene() -> None:
        door = doorkeeper(settings, keys, api_key="very-secret")
        caller = await door.caller(f"Bearer {secret}", HERE)
        async with door.enter(caller) as ticket:
            assert isinstance(ticket, Ticket)
            shown = repr([ticket, vars(ticket), caller, door, door._ring, await door.caller("Bearer very-secret", "")])
            assert secret[12:] not in shown
            assert "very-secret" not in shown

    asyncio.run(scene())
