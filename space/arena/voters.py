"""Who votes: a browser or a login, known by a salted hash only, and how many battles each may start."""

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import gradio as gr

from space.arena.client_ip import LOOPBACK, Network, client_address
from space.arena.visitor_cookie import visitor_of

PERIOD = 60.0
"""Seconds that a limit speaks of."""
SHARED = 5
"""So many visitors at full speed may share one address: a household, a class."""
DAY = 86_400.0
"""Seconds after which an address gets another hash, so that nothing links what it did on two days."""
MOST_KNOWN = 10_000
"""Voters that are remembered for the limit; beyond it those who were seen first are forgotten."""


class Voters:
    """Turns a request into a name that leads nowhere without the salt, and counts what each one starts.

    Addresses are hashed too, are held in memory for a minute at most, and are never part of a name: they limit, and
    nothing is stored under them.
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
        self._pepper, self._peppered = secrets.token_bytes(32), clock()

    def name(self, request: gr.Request) -> str:
        """The same for one login, else for one browser, else (a program without cookies) for one tab."""
        login, browser = _login(request), visitor_of(request)
        known = f"login\0{login}" if login else f"browser\0{browser}" if browser else f"tab\0{request.session_hash}"
        return hmac.new(self._salt, known.encode(), hashlib.sha256).hexdigest()

    def start(self, request: gr.Request) -> float:
        """Seconds until that visitor may start another battle; 0 starts one.

        A new tab is the same browser; a new browser is the same address, and an address may do what `SHARED` visitors
        may. Who can be told apart by neither login nor cookie has the address's share of one visitor.
        """
        told_apart = bool(_login(request) or visitor_of(request))
        limits = {self.name(request): self._most}
        if address := client_address(request, self._trusted):
            limits[self._hashed(address)] = self._most * (SHARED if told_apart else 1)
        return self._begin(limits)

    def wait(self, voter: str) -> float:
        """As `start`, for somebody who is known by a name already."""
        return self._begin({voter: self._most})

    def _begin(self, limits: dict[str, int]) -> float:
        now = self._clock()
        queues = {key: self._recent(key, now) for key in limits}
        waits = [queue[-limits[key]] + PERIOD - now for key, queue in queues.items() if len(queue) >= limits[key]]
        if waits:
            return max(waits)
        for queue in queues.values():
            queue.append(now)
        while len(self._started) > MOST_KNOWN:
            self._started.pop(next(iter(self._started)))
        return 0.0

    def _recent(self, key: str, now: float) -> deque[float]:
        started = self._started.setdefault(key, deque())
        while started and started[0] <= now - PERIOD:
            started.popleft()
        return started

    def _hashed(self, address: str) -> str:
        """Under a key that is nowhere but in memory, and another one every day."""
        if self._clock() - self._peppered > DAY:
            self._pepper, self._peppered = secrets.token_bytes(32), self._clock()
        return "address " + hmac.new(self._pepper, address.encode(), hashlib.sha256).hexdigest()


def read_salt(path: Path) -> bytes:
    """The salt kept in that file; it is made, readable by its owner only, when there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path.read_text().strip().encode()


def can_sign_in() -> bool:
    """Whether visitors can sign in: the Space has an OAuth application, and Gradio what it needs for it."""
    from gradio import oauth

    return bool(oauth.OAUTH_CLIENT_ID) and all(find_spec(name) for name in ("authlib", "itsdangerous"))


def _login(request: gr.Request) -> str:
    """The account of somebody who signed in with Hugging Face; "" for everybody else."""
    session = getattr(request.request, "scope", {}).get("session") or {}
    user = (session.get("oauth_info") or {}).get("userinfo") or {}
    return str(user.get("sub") or "")
