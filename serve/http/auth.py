"""Authenticates callers and enforces their limits: keys, the anonymous tier, rates per minute, answers at once."""

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from serve.http.api_key_cache import ApiKeyCache, KeysUnknownError
from serve.http.errors import HttpRefusalError
from serve.http.rate_limits import RateLimiter, RateLimits, RateLimitState, WindowState, memory_windows, open_windows
from understudy.config.settings import Settings
from understudy.registry.api_keys import PREFIX, Key, KeyStore

log = logging.getLogger("understudy.gateway")

PLACEHOLDER = "none"
"""Sent by clients that must send a key and have none."""

ACCEPTED = {"inference": ("inference",), "metrics": ("metrics", "admin"), "admin": ("admin",)}
"""Kinds of key that each kind of route accepts."""

NO_LIMITS = RateLimits()

STORAGE_PATIENCE = 1.0
"""Seconds that a request waits for a shared storage of limits before it is admitted uncounted."""

SOON = 1
"""Seconds after which a client may ask again when too many answers are in progress."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. Safe to log: it holds neither a secret nor an address."""

    id: str
    """`key:<id>`, `env`, or `anonymous:<hash of the address>`."""
    name: str
    kind: Literal["inference", "metrics", "admin", "anonymous"]
    limits: RateLimits = NO_LIMITS


class AdmittedRequest:
    """One admitted request and what its caller has left."""

    def __init__(self, caller: Caller, state: RateLimitState, charge: Callable[[Caller, int], None]) -> None:
        self.caller, self._state, self._charge = caller, state, charge

    def charge(self, tokens: int) -> None:
        """Charges the tokens of prompt and answer to the caller's minute. Never waits or fails."""
        self._charge(self.caller, tokens)

    def headers(self) -> list[tuple[str, str]]:
        """OpenAI's rate-limit headers, as of the request's arrival; empty without limits."""
        return [*_headers("requests", self._state.requests), *_headers("tokens", self._state.tokens)]


class Authenticator:
    """Authenticates and admits callers. It belongs to one event loop.

    Raises:
        ConfigError: the storage for the limits cannot be used.
    """

    def __init__(self, settings: Settings, keystore: KeyStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._keys = settings, ApiKeyCache(keystore, clock)
        self._api_key = settings.api_key.get_secret_value() if settings.api_key else ""
        self._shared = open_windows(settings.limits_storage, clock)
        self._private = self._shared if not self._shared.blocks else memory_windows(clock)
        self._salt = secrets.token_bytes(16)
        self._anonymous = RateLimits(
            settings.anonymous_requests_per_minute,
            settings.anonymous_tokens_per_minute,
            settings.anonymous_max_concurrent,
        )
        self._in_progress: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(8, "limits") if self._shared.blocks else None
        """Separate threads: a storage that hangs must not block the reading of keys."""
        self._charges: set[asyncio.Future[None]] = set()
        self.in_progress = 0
        """Answers in progress in the whole gateway."""

    async def caller(self, authorization: str, address: str) -> Caller:
        """Authenticates an inference request by its Authorization header and address.

        Raises:
            HttpRefusalError: 401 for no key or a wrong one, 403 for one of another kind, 503 if keys cannot be read.
        """
        secret = _bearer(authorization)
        if _same(secret, self._api_key):
            return Caller("env", "UNDERSTUDY_API_KEY", "inference")
        if _same(secret, self._settings.admin_secret):
            raise _wrong_kind("admin", "inference")
        key = await self._known(secret)
        if key:
            return _checked(key, "inference")
        if self._means_a_key(secret) or not self._is_open():
            raise _no_key("API")
        return Caller(f"anonymous:{self._hidden(address)}", "anonymous", "anonymous", self._anonymous)

    async def require(self, kind: Literal["admin", "metrics"], authorization: str) -> Caller:
        """Authenticates an admin request, or one for metrics. Raises HttpRefusalError as `caller`."""
        secret = _bearer(authorization)
        if _same(secret, self._settings.admin_secret):
            return Caller("env", "UNDERSTUDY_ADMIN_KEY", "admin")
        if _same(secret, self._api_key):
            raise _wrong_kind("inference", kind)
        key = await self._known(secret)
        if key is None:
            raise _no_key(kind)
        return _checked(key, kind)

    @contextlib.asynccontextmanager
    async def enter(self, caller: Caller) -> AsyncIterator[AdmittedRequest]:
        """Admits one request for the block: takes a place and one request of the minute, and gives the place back.

        Raises:
            HttpRefusalError: 429, `overloaded` when the gateway is full, `rate_limit_exceeded` when the caller is.
        """
        self._check_places(caller)
        self.in_progress += 1
        self._in_progress[caller.id] += 1
        try:
            state = await self._take(caller)
            if state.refused:
                raise _used_up(state)
            yield AdmittedRequest(caller, state, self._charge)
        finally:
            self.in_progress -= 1
            self._in_progress[caller.id] -= 1
            if not self._in_progress[caller.id]:
                del self._in_progress[caller.id]

    def _check_places(self, caller: Caller) -> None:
        if self.in_progress >= self._settings.max_concurrent:
            message = "too many answers are in progress here; try again"
            raise HttpRefusalError(429, message, reason="overloaded", code="overloaded", retry_after=SOON)
        most = caller.limits.max_concurrent
        if most and self._in_progress[caller.id] >= most:
            message = f"{most} of your answers are in progress, and no more are allowed at once"
            raise _rate_limited(message, SOON)

    async def _take(self, caller: Caller) -> RateLimitState:
        if not (caller.limits.requests_per_minute or caller.limits.tokens_per_minute):
            return RateLimitState()
        windows = self._windows(caller)
        if not windows.blocks:
            return windows.take(caller.id, caller.limits)
        try:
            loop = asyncio.get_running_loop()
            taking = loop.run_in_executor(self._threads, windows.take, caller.id, caller.limits)
            async with asyncio.timeout(STORAGE_PATIENCE):
                return await taking
        except Exception as error:  # each storage has errors of its own
            # The number of answers at once still bounds the load, so the counters' outage is not the gateway's.
            log.warning("limits are not counted, their storage fails: %s", type(error).__name__)
            return RateLimitState()

    def _charge(self, caller: Caller, tokens: int) -> None:
        if not caller.limits.tokens_per_minute:
            return
        windows = self._windows(caller)
        if windows.blocks:
            loop = asyncio.get_running_loop()
            charge = loop.run_in_executor(self._threads, windows.charge, caller.id, caller.limits, tokens)
            self._charges.add(charge)
            charge.add_done_callback(self._charged)
        else:
            windows.charge(caller.id, caller.limits, tokens)

    def _charged(self, charge: asyncio.Future[None]) -> None:
        self._charges.discard(charge)
        if not charge.cancelled() and (error := charge.exception()):
            log.warning("tokens are not counted, the limits' storage fails: %s", type(error).__name__)

    def _windows(self, caller: Caller) -> RateLimiter:
        """Anonymous callers are counted in this process: their addresses must not leave it."""
        return self._private if caller.kind == "anonymous" else self._shared

    async def _known(self, secret: str) -> Key | None:
        try:
            return await self._keys.find(secret)
        except KeysUnknownError as error:
            raise HttpRefusalError(503, str(error), reason="key", code="keys_unknown", retry_after=SOON) from None

    def _is_open(self) -> bool:
        if self._settings.anonymous is not None:
            return self._settings.anonymous
        return not self._api_key and not self._keys.locked

    def _means_a_key(self, secret: str) -> bool:
        """Whether the secret is meant as a key: a wrong or revoked one is refused rather than taken as anonymous.
        Clients that must send something and have no key send anything."""
        return secret.startswith(PREFIX) or bool(self._api_key and secret not in ("", PLACEHOLDER))

    def _hidden(self, address: str) -> str:
        """The address as a keyed hash, which is of no use outside this process."""
        return hashlib.blake2b(_network(address).encode(), digest_size=8, key=self._salt).hexdigest()


def _network(address: str) -> str:
    """The unit an address is counted by: a customer has 2^64 IPv6 addresses, so the first 64 bits."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or int(parsed) >> 64)


def _bearer(authorization: str) -> str:
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _same(secret: str, known: str) -> bool:
    """Compares in constant time; an empty `known` matches nothing."""
    return bool(known) and hmac.compare_digest(secret.encode("utf-8", "replace"), known.encode())


def _checked(key: Key, wanted: str) -> Caller:
    if key.kind not in ACCEPTED[wanted]:
        raise _wrong_kind(key.kind, wanted)
    limits = RateLimits(key.requests_per_minute, key.tokens_per_minute, key.max_concurrent)
    return Caller(f"key:{key.id}", key.name, key.kind, limits)


def _no_key(kind: str) -> HttpRefusalError:
    message = f"missing or wrong {kind} key; send it as 'Authorization: Bearer KEY'"
    return HttpRefusalError(401, message, reason="key", code="invalid_api_key")


def _wrong_kind(kind: str, wanted: str) -> HttpRefusalError:
    message = f"this key is for {kind}; this route needs one for {wanted}"
    return HttpRefusalError(403, message, reason="key", code="wrong_kind_of_key")


def _used_up(state: RateLimitState) -> HttpRefusalError:
    left = state.tokens if state.refused == "tokens" else state.requests
    assert left
    message = f"all {left.limit:,} {state.refused} of this minute are used; try again in {left.reset} s"
    return _rate_limited(message, max(SOON, left.reset))


def _rate_limited(message: str, seconds: int) -> HttpRefusalError:
    return HttpRefusalError(429, message, reason="rate_limit", code="rate_limit_exceeded", retry_after=seconds)


def _headers(what: str, left: WindowState | None) -> list[tuple[str, str]]:
    if left is None:
        return []
    return [
        (f"x-ratelimit-limit-{what}", str(left.limit)),
        (f"x-ratelimit-remaining-{what}", str(left.remaining)),
        (f"x-ratelimit-reset-{what}", f"{left.reset}s"),
    ]
