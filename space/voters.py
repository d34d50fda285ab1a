"""Who votes: a browser tab or a login, known by a salted hash only, and how many battles each may start."""

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import gradio as gr

PERIOD = 60.0
"""Seconds that a limit speaks of."""
MOST_KNOWN = 10_000
"""Voters that are remembered for the limit; beyond it those who were seen first are forgotten."""


class Voters:
    """Turns a request into a name that leads nowhere without the salt, and counts what each one starts."""

    def __init__(self, salt: bytes = b"", *, most: int = 20, clock: Callable[[], float] = time.monotonic) -> None:
        self._salt = salt or secrets.token_bytes(32)
        self._most = most
        self._clock = clock
        self._started: dict[str, deque[float]] = {}

    def name(self, request: gr.Request) -> str:
        """The same for one login, and for one tab of whoever is not signed in; never an address."""
        login = _login(request)
        known = f"login\0{login}" if login else f"tab\0{request.session_hash or ''}"
        return hmac.new(self._salt, known.encode(), hashlib.sha256).hexdigest()

    def wait(self, voter: str) -> float:
        """Seconds until that voter may start another battle; 0 starts one."""
        now = self._clock()
        started = self._started.setdefault(voter, deque())
        while started and started[0] <= now - PERIOD:
            started.popleft()
        if len(started) >= self._most:
            return started[0] + PERIOD - now
        started.append(now)
        while len(self._started) > MOST_KNOWN:
            self._started.pop(next(iter(self._started)))
        return 0.0


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
