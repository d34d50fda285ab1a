"""Limits requests and tokens per minute with the library `limits`, in this process or in a shared store."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlparse

from limits import RateLimitItemPerMinute
from limits.errors import ConfigurationError
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from understudy.errors import ConfigError

IN_MEMORY = "memory://"
MOST_WINDOWS = 100_000
"""Windows kept in memory, about 50 MB. One more evicts the oldest, which ends first."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What a caller may use; 0 means no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    max_concurrent: int = 0


@dataclass(frozen=True, slots=True)
class WindowState:
    """The state of one window."""

    limit: int
    remaining: int
    reset: int
    """Whole seconds until the next window."""


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """What a caller has left in this minute; None where there is no limit."""

    requests: WindowState | None = None
    tokens: WindowState | None = None
    refused: str = ""
    """`requests` or `tokens` when that is used up and the request is refused."""


class OneMinute(Storage):
    """Counters in memory for windows of equal length, so that the oldest window is the first to end.

    The library's own memory storage is unbounded, and a request starts a thread that walks over every counter: with
    100,000 of them that takes most of a core, and one request in a hundred waits 3 ms. Its moving window never
    forgets an address. Only the event loop's thread may use this class.
    """

    STORAGE_SCHEME = None  # it cannot be named by an address

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST_WINDOWS) -> None:
        super().__init__()
        self._clock, self._most = clock, most
        self._windows: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Count and end of each window, in the order in which they end."""

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        if not (count := self.get(key)):
            self._windows.pop(key, None)
            self._make_room()
        end = self._windows[key][1] if count else self._clock() + expiry
        self._windows[key] = (count + amount, end)
        return count + amount

    def get(self, key: str) -> int:
        count, end = self._windows.get(key, (0, 0.0))
        return count if end > self._clock() else 0

    def get_expiry(self, key: str) -> float:
        return max(self._clock(), self._windows.get(key, (0, 0.0))[1])

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        count = len(self._windows)
        self._windows.clear()
        return count

    def clear(self, key: str) -> None:
        self._windows.pop(key, None)

    def _make_room(self) -> None:
        """Evicts up to two of the oldest for each new one, so that no request has to evict many."""
        for _ in range(2):
            if not self._windows:
                return
            key, window = self._windows.popitem(last=False)
            if window[1] > self._clock() and len(self._windows) < self._most - 1:
                self._windows[key] = window
                self._windows.move_to_end(key, last=False)
                return


class RateLimiter:
    """Counts requests and tokens of callers in fixed windows of a minute.

    A window begins with the caller's first request. An answer's tokens are only known when it is over, and of the
    library's strategies only fixed windows count what exceeds the limit; the others refuse to count it, so that one
    token left would buy a whole answer, again and again. They are also the cheapest, work on every storage, and know
    the exact second of Retry-After. Their cost: around the end of a window, two minutes' worth can arrive at once.
    """

    def __init__(self, storage: Storage, clock: Callable[[], float]) -> None:
        self._limiter, self._clock = FixedWindowRateLimiter(storage), clock
        self.blocks = not isinstance(storage, OneMinute)
        """Whether a call may wait for the network and so must not run on the event loop's thread."""

    def take(self, caller: str, limits: RateLimits) -> RateLimitState:
        """Counts one request, unless requests or tokens are used up."""
        tokens = self._left("tokens", caller, limits.tokens_per_minute)
        if tokens and not tokens.remaining:
            return RateLimitState(self._left("requests", caller, limits.requests_per_minute), tokens, "tokens")
        taken = True
        if limits.requests_per_minute:
            taken = self._limiter.hit(RateLimitItemPerMinute(limits.requests_per_minute), "requests", caller)
        requests = self._left("requests", caller, limits.requests_per_minute)
        return RateLimitState(requests, tokens, "" if taken else "requests")

    def charge(self, caller: str, limits: RateLimits, tokens: int) -> None:
        """Counts the tokens of an answer, even if they exceed what is left."""
        if limits.tokens_per_minute and tokens > 0:
            self._limiter.hit(RateLimitItemPerMinute(limits.tokens_per_minute), "tokens", caller, cost=tokens)

    def _left(self, what: str, caller: str, limit: int) -> WindowState | None:
        if not limit:
            return None
        stats = self._limiter.get_window_stats(RateLimitItemPerMinute(limit), what, caller)
        return WindowState(limit, stats.remaining, max(0, math.ceil(stats.reset_time - self._clock())))


def memory_windows(clock: Callable[[], float] = time.monotonic) -> RateLimiter:
    """Windows that end with this process."""
    return RateLimiter(OneMinute(clock), clock)


def open_windows(address: str, clock: Callable[[], float] = time.monotonic) -> RateLimiter:
    """Windows in the storage at `address`. Raises ConfigError when it cannot be used."""
    if address == IN_MEMORY:
        return memory_windows(clock)
    scheme = urlparse(address).scheme
    try:
        storage = storage_from_string(address)
    except (ConfigurationError, ValueError, ImportError) as error:
        # The address may hold a password, and the library's message the address.
        raise ConfigError(
            f"UNDERSTUDY_LIMITS_STORAGE: {scheme!r} cannot be used here ({type(error).__name__}); use {IN_MEMORY}, "
            "or an address that the library limits knows, and install the client that it needs"
        ) from None
    if not isinstance(storage, Storage):
        raise ConfigError(f"UNDERSTUDY_LIMITS_STORAGE: use {scheme.removeprefix('async+')}:// instead of {scheme}://")
    return RateLimiter(storage, time.time)
