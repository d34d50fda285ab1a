"""How much a caller may have: requests and tokens a minute, answers at once, and storages that go away."""

import asyncio
import contextlib
import json
import logging
from threading import Event

import pytest
from hypothesis import given
from hypothesis import settings as example_count
from hypothesis import strategies as st
from limits.storage import MemoryStorage

from serve.http import auth
from serve.http.auth import Authenticator, Caller
from serve.http.errors import HttpRefusalError
from serve.http.rate_limits import RateLimits
from tests.support.api_callers import HERE, CountingKeys, ask, authenticator, keys, named, refusal
from tests.support.clock import Clock
from understudy.config.settings import Settings, load_settings
from understudy.registry.api_keys import KeyStore

__all__ = ["keys"]


# --- how much a minute


def test_requests_of_a_minute_are_used_up_and_come_back(settings: Settings, keys: CountingKeys) -> None:
    clock = Clock()

    async def scene() -> None:
        gate, caller = authenticator(settings, keys, clock=clock), named(requests_per_minute=3)
        assert dict(await ask(gate, caller)) == {
            "x-ratelimit-limit-requests": "3",
            "x-ratelimit-remaining-requests": "2",
            "x-ratelimit-reset-requests": "60s",
        }
        clock.now += 17.5
        await ask(gate, caller)
        assert dict(await ask(gate, caller))["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(HttpRefusalError, match="all 3 requests of this minute are used; try again in 43 s") as full:
            await ask(gate, caller)
        error = full.value
        assert (error.status, error.code, error.retry_after) == (429, "rate_limit_exceeded", 43)
        assert error.response.headers["retry-after"] == "43"
        assert json.loads(bytes(error.response.body))["error"]["type"] == "rate_limit_error"
        clock.now += 42.4
        assert await refusal(ask(gate, caller)) == (429, "rate_limit_exceeded")
        clock.now += 0.2
        assert dict(await ask(gate, caller))["x-ratelimit-remaining-requests"] == "2"
        assert gate.in_progress == 0

    asyncio.run(scene())


def test_tokens_are_taken_after_the_answer_even_more_than_there_were(settings: Settings, keys: CountingKeys) -> None:
    clock = Clock()

    async def scene() -> None:
        gate, caller = authenticator(settings, keys, clock=clock), named(tokens_per_minute=100, requests_per_minute=50)
        await ask(gate, caller, tokens=99)
        assert dict(await ask(gate, caller, tokens=500))["x-ratelimit-remaining-tokens"] == "1"
        for _ in range(5):
            with pytest.raises(HttpRefusalError, match="all 100 tokens of this minute are used; try again in 60 s"):
                await ask(gate, caller)
        clock.now += 60.1
        headers = dict(await ask(gate, caller))
        assert headers["x-ratelimit-remaining-tokens"] == "100"
        assert headers["x-ratelimit-remaining-requests"] == "49"

    asyncio.run(scene())


def test_limits_of_one_are_not_those_of_another(settings: Settings, keys: CountingKeys) -> None:
    for name in ("one", "two"):
        keys.create(name, "inference", requests_per_minute=1, created_by="ann")
    free = keys.create("free", "inference", created_by="ann").secret

    async def scene() -> None:
        gate = authenticator(settings, keys, anonymous=True, anonymous_requests_per_minute=1)
        callers = [Caller(f"key:{n}", n, "inference", RateLimits(1)) for n in ("one", "two")]
        callers += [await gate.caller("", address) for address in (HERE, "192.0.2.2", "2001:db8::1")]
        for caller in callers:
            await ask(gate, caller)
        for caller in callers:
            assert await refusal(ask(gate, caller)) == (429, "rate_limit_exceeded")
        unlimited = await gate.caller(f"Bearer {free}", HERE)
        assert [await ask(gate, unlimited, tokens=10**9) for _ in range(20)] == [[]] * 20

    asyncio.run(scene())


# --- how many at once


def test_places_are_counted_for_each_caller_and_for_all(settings: Settings, keys: CountingKeys) -> None:
    async def scene() -> None:
        gate, few = authenticator(settings, keys, max_concurrent=3), named(max_concurrent=2, requests_per_minute=5)
        async with gate.enter(few), gate.enter(few):
            assert await refusal(ask(gate, few)) == (429, "rate_limit_exceeded")
            other = Caller("env", "UNDERSTUDY_API_KEY", "inference")
            async with gate.enter(other):
                assert gate.in_progress == 3
                with pytest.raises(HttpRefusalError) as full:
                    await ask(gate, other)
                assert (full.value.status, full.value.code, full.value.retry_after) == (429, "overloaded", 1)
        assert dict(await ask(gate, few))["x-ratelimit-remaining-requests"] == "2", "refusals took no request"
        assert gate.in_progress == 0

    asyncio.run(scene())


ENDS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["fine", "error", "cancel"])), max_size=30)


@example_count(max_examples=60, deadline=None)
@given(ENDS, st.integers(1, 6), st.integers(1, 3), st.randoms())
def test_every_place_is_given_back_however_an_answer_ends(tmp_path_factory, ends, total, each, random) -> None:
    async def answer(gate: Authenticator, caller: Caller, end: str, go: asyncio.Event) -> str:
        try:
            async with gate.enter(caller):
                await go.wait()
                if end == "error":
                    raise OSError
        except HttpRefusalError as error:
            return error.code or ""
        return "in"

    async def scene() -> None:
        gate = Authenticator(load_settings(home=home, max_concurrent=total), KeyStore(None))  # pyright: ignore[reportArgumentType]
        open_now: list[tuple[str, asyncio.Task[str], asyncio.Event, str]] = []
        for name, end in ends:
            if open_now and random.random() < 0.4:
                await finish(gate, open_now.pop(random.randrange(len(open_now))))
            mine = sum(n == name for n, *_ in open_now)
            expected = "overloaded" if len(open_now) >= total else "rate_limit_exceeded" if mine >= each else ""
            go = asyncio.Event()
            caller = Caller(name, name, "inference", RateLimits(max_concurrent=each))
            task = asyncio.create_task(answer(gate, caller, end, go))
            await asyncio.sleep(0)
            if expected:
                assert await task == expected
            else:
                open_now.append((name, task, go, end))
            assert gate.in_progress == len(open_now)
        for one in open_now:
            await finish(gate, one)
        assert gate.in_progress == 0
        assert not gate._in_progress

    async def finish(gate: Authenticator, one: tuple[str, asyncio.Task[str], asyncio.Event, str]) -> None:
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


async def all_charged(gate: Authenticator) -> None:
    while gate._charges:
        await asyncio.sleep(0.01)


def test_a_shared_storage_counts_keys_and_never_sees_addresses(settings: Settings, keys: CountingKeys) -> None:
    async def scene() -> None:
        gate = authenticator(settings, keys, limits_storage="shared://", anonymous_requests_per_minute=5)
        caller, anonymous = named(requests_per_minute=2, tokens_per_minute=10), await gate.caller("", HERE)
        assert dict(await ask(gate, caller, tokens=10))["x-ratelimit-reset-requests"] in ("60s", "59s")
        await all_charged(gate)
        with pytest.raises(HttpRefusalError, match="all 10 tokens") as full:
            await ask(gate, caller)
        assert 55 <= (full.value.retry_after or 0) <= 60
        assert await ask(gate, anonymous)
        storage = gate._shared._limiter.storage
        assert isinstance(storage, SharedStorage)
        assert all("key:ab12cd34" in name for name in storage.storage)

    asyncio.run(scene())


def test_a_shared_storage_that_is_away_stops_nobody(
    settings: Settings, keys: CountingKeys, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        gate = authenticator(settings, keys, limits_storage="away://")
        assert await ask(gate, named(requests_per_minute=1, tokens_per_minute=1), tokens=5) == []
        await all_charged(gate)

    caplog.set_level(logging.WARNING)
    asyncio.run(scene())
    assert "limits are not counted, their storage fails: ConnectionError" in caplog.text
    assert "tokens are not counted, the limits' storage fails: ConnectionError" in caplog.text
    assert "password" not in caplog.text


def test_a_shared_storage_that_hangs_is_not_waited_for_long(
    settings: Settings, keys: CountingKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "STORAGE_PATIENCE", 0.05)
    secret = keys.create("app", "inference", requests_per_minute=1, created_by="ann").secret

    async def scene() -> None:
        gate, released, given_up = authenticator(settings, keys, limits_storage="shared://"), Event(), Event()
        monkeypatch.setattr(gate._shared, "take", lambda *_: released.wait(30) or given_up.set())
        assert await asyncio.gather(*(ask(gate, named(requests_per_minute=1)) for _ in range(20))) == [[]] * 20
        assert (await gate.caller(f"Bearer {secret}", HERE)).name == "app", "keys are read all the same"
        assert not given_up.is_set(), "the storage was waited for"
        assert gate.in_progress == 0
        released.set()

    asyncio.run(scene())
