"""An authenticator with keys of its own, and callers of it."""

import time
from collections.abc import Awaitable, Callable

import pytest

from serve.http.auth import Authenticator, Caller
from serve.http.errors import HttpRefusalError
from serve.http.rate_limits import RateLimits
from understudy.config.settings import Settings, load_settings
from understudy.registry.api_keys import Key, KeyStore, open_keys

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


def authenticator(
    settings: Settings, keys: KeyStore, *, clock: Callable[[], float] = time.monotonic, **changes: object
):
    return Authenticator(load_settings(home=settings.home, **changes), keys, clock=clock)


def named(**limits: int) -> Caller:
    return Caller("key:ab12cd34", "app", "inference", RateLimits(**limits))


async def refusal(coming: Awaitable[object]) -> tuple[int, str | None]:
    with pytest.raises(HttpRefusalError) as refused:
        await coming
    return refused.value.status, refused.value.code


async def ask(gate: Authenticator, caller: Caller, tokens: int = 0) -> list[tuple[str, str]]:
    """One answer, from beginning to end."""
    async with gate.enter(caller) as ticket:
        ticket.charge(tokens)
        return ticket.headers()
