"""Counting by the minute: right, bounded in memory, and honest about storages that cannot be used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.http.rate_limits import OneMinute, RateLimiter, RateLimits, open_windows
from tests.support.clock import Clock
from understudy.errors import ConfigError


def test_many_more_addresses_than_windows_leave_a_bounded_number() -> None:
    clock = Clock()
    storage = OneMinute(clock, most=1000)
    windows, limits = RateLimiter(storage, clock), RateLimits(requests_per_minute=10, tokens_per_minute=10)
    assert windows.take("first", limits).requests
    for n in range(20_000):
        windows.take(str(n), limits)
        windows.charge(str(n), limits, 3)
        assert len(storage) <= 1000
    left = windows.take("19999", limits)
    assert left.requests
    assert left.tokens
    assert (left.requests.remaining, left.tokens.remaining) == (8, 7), "the newest are remembered"
    clock.now += 61
    for n in range(1000):
        windows.take(f"later {n}", limits)
    assert len(storage) == 1000, "those that ended made room for as many"


def test_windows_that_ended_are_forgotten_little_by_little() -> None:
    clock = Clock()
    storage = OneMinute(clock)
    for n in range(1000):
        storage.incr(str(n), 60)
    clock.now += 61
    assert storage.get("5") == 0
    assert storage.incr("5", 60) == 1, "an ended window begins anew"
    for n in range(999):
        storage.incr(f"new {n}", 60)
    assert len(storage) == 1000
    assert storage.get("5") == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5), st.floats(0, 40)), max_size=60))
def test_counters_agree_with_a_plain_account(steps: list[tuple[int, int, float]]) -> None:
    clock, account = Clock(), {}
    storage = OneMinute(clock)
    for key, amount, pause in steps:
        clock.now += pause
        count, end = account.get(key, (0, 0.0))
        account[key] = (count + amount, end) if end > clock.now else (amount, clock.now + 60)
        assert storage.incr(str(key), 60, amount) == account[key][0]
        assert storage.get_expiry(str(key)) == account[key][1]
        assert all(storage.get(str(k)) == (c if e > clock.now else 0) for k, (c, e) in account.items())


@pytest.mark.parametrize(
    "address", ["nonsense", "nowhere://user:password@host:1", "async+memory://", "redis://:password@h"]
)
def test_a_storage_that_cannot_be_used_is_named_without_its_password(address: str) -> None:
    with pytest.raises(ConfigError, match="UNDERSTUDY_LIMITS_STORAGE") as refused:
        open_windows(address)
    assert "password" not in str(refused.value)
