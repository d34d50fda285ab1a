"""Identifies voters by a browser's cookie or a login, as salted hashes, and limits the battles that each one starts."""

import hashlib
import hmac
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from space.arena.client_ip import LOOPBACK, Network, client_address

PERIOD = 60.0
"""Seconds that a limit is counted over."""
SHARED = 5
"""Visitors at full speed that one address may have: a household, a class."""
DAY = 86_400.0
"""Seconds after which an address gets another hash, so that nothing links what it did on two days."""
MAX_REMEMBERED = 10_000
"""Voters that are remembered for the limit; beyond it the oldest are forgotten."""

COOKIE = "understudy_visitor"
COOKIE_AGE = 365 * 86_400
"""Seconds that a browser keeps the cookie."""
COOKIE_VALUE = re.compile(r"[0-9a-f]{32}")
PAGES = ("/", "/config")
"""The first requests of a browser, or of a client of Gradio."""


class Voters:
    """Turns a request into a name that leads nowhere without the salt, and limits how often each voter starts a battle.

    Addresses only limit: they are hashed, held in memory for a minute at most, and are never part of a name or stored.
    """

    def __init__(
        self,
        salt: bytes = b"",
        *,
        most: int = 20,
        trusted: Sequence[Network] = LOOPBACK,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._salt = salt or secrets.token_bytes(32)
        self._most = most
        self._trusted = trusted
        self._clock = clock
        self._started: dict[str, deque[float]] = {}
        self._daily_key, self._daily_key_at = secrets.token_bytes(32), clock()

    def name(self, request: gr.Request) -> str:
        """The voter's name: the same for one login, else one browser, else (a program without cookies) one tab."""
        login, browser = _login(request), visitor_of(request)
        known = f"login\0{login}" if login else f"browser\0{browser}" if browser else f"tab\0{request.session_hash}"
        return hmac.new(self._salt, known.encode(), hashlib.sha256).hexdigest()

    def start(self, request: gr.Request) -> float:
        """Returns 0 and counts a battle, or returns the seconds until that visitor may start one.

        A new tab is the same browser. A new browser has the same address, which may start as many battles as `SHARED`
        visitors; without a login or a cookie an address counts as one visitor.
        """
        identified = bool(_login(request) or visitor_of(request))
        limits = {self.name(request): self._most}
        if address := client_address(request, self._trusted):
            limits[self._hashed(address)] = self._most * (SHARED if identified else 1)
        return self._begin(limits)

    def wait(self, voter: str) -> float:
        """The same as `start` for a voter's name."""
        return self._begin({voter: self._most})

    def _begin(self, limits: dict[str, int]) -> float:
        now = self._clock()
        queues = {key: self._recent(key, now) for key in limits}
        waits = [queue[-limits[key]] + PERIOD - now for key, queue in queues.items() if len(queue) >= limits[key]]
        if waits:
            return max(waits)
        for queue in queues.values():
            queue.append(now)
        while len(self._started) > MAX_REMEMBERED:
            self._started.pop(next(iter(self._started)))
        return 0.0

    def _recent(self, key: str, now: float) -> deque[float]:
        started = self._started.setdefault(key, deque())
        while started and started[0] <= now - PERIOD:
            started.popleft()
        return started

    def _hashed(self, address: str) -> str:
        """Hashes under a key that exists only in memory and changes every day."""
        if self._clock() - self._daily_key_at > DAY:
            self._daily_key, self._daily_key_at = secrets.token_bytes(32), self._clock()
        return "address " + hmac.new(self._daily_key, address.encode(), hashlib.sha256).hexdigest()


def read_salt(path: Path) -> bytes:
    """Reads the salt from that file, which is created, readable by its owner only, if it is missing."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path.read_text().strip().encode()


def can_sign_in() -> bool:
    """Whether visitors can sign in: the Space has an OAuth application, and Gradio's requirements for it are there."""
    from gradio import oauth

    return bool(oauth.OAUTH_CLIENT_ID) and all(find_spec(name) for name in ("authlib", "itsdangerous"))


def _login(request: gr.Request) -> str:
    """The account of a visitor who signed in with Hugging Face; "" for everybody else."""
    session = getattr(request.request, "scope", {}).get("session") or {}
    user = (session.get("oauth_info") or {}).get("userinfo") or {}
    return str(user.get("sub") or "")


class VisitorCookie:
    """Middleware that gives each browser a random number, so that its tabs are one voter. No script can read it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in PAGES or _number(Headers(scope=scope).get("cookie", "")):
            await self._app(scope, receive, send)
            return
        secure = "https" in (scope["scheme"], Headers(scope=scope).get("x-forwarded-proto", ""))

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("set-cookie", _new_cookie(secure))
            await send(message)

        await self._app(scope, receive, send_with_cookie)


def visitor_of(request: gr.Request) -> str:
    """The browser's number; "" when it has none, or one that does not look like ours."""
    headers = getattr(getattr(request, "request", None), "headers", None) or {}
    return _number(str(headers.get("cookie", "")))


def _number(header: str) -> str:
    value = cookie_parser(header).get(COOKIE, "")
    return value if COOKIE_VALUE.fullmatch(value) else ""


def _new_cookie(secure: bool) -> str:
    """Over HTTPS it also works for a page in a frame, as Spaces are; each site that frames it gets its own number."""
    where = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Lax"
    return f"{COOKIE}={secrets.token_hex(16)}; Path=/; Max-Age={COOKIE_AGE}; HttpOnly; {where}"
