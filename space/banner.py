"""The state of the model server, asked once for everyone who looks, and the banner that shows it."""

import asyncio
import html
import time
from dataclasses import dataclass

from space.gateway_client import Contestant, GatewayClient, Readiness
from understudy.errors import GatewayError

POLL = 3.0
"""Seconds between two looks of one page."""
FRESH = 1.5
"""Seconds for which one answer of the gateway serves every page."""

BASE = Contestant(name="base", kind="base", title="Base model", voice="The model that every persona shares.")
"""Who there is while the gateway has told us nothing."""

HEADLINES = {
    "starting": "The model is starting.",
    "down": "The model is not available right now.",
}


@dataclass(frozen=True)
class Snapshot:
    """The model server at one moment."""

    readiness: Readiness
    contestants: tuple[Contestant, ...] = (BASE,)

    @property
    def personas(self) -> tuple[Contestant, ...]:
        return tuple(one for one in self.contestants if one.kind == "persona")

    def find(self, name: str | None) -> Contestant:
        """The contestant of that name, else the base."""
        named = {one.name: one for one in self.contestants}
        return named.get(name or "") or named.get(BASE.name) or BASE


class Backend:
    """Looks at the gateway at most every `fresh` seconds, however many pages are open."""

    def __init__(self, gateway: GatewayClient, *, fresh: float = FRESH) -> None:
        self._gateway = gateway
        self._fresh = fresh
        self._lock = asyncio.Lock()
        self._looked = float("-inf")
        self._last = Snapshot(Readiness(status="starting"))

    async def look(self) -> Snapshot:
        """The newest snapshot; the contestants known before stay while the gateway cannot list them."""
        async with self._lock:
            if time.monotonic() - self._looked >= self._fresh:
                self._last = await self._ask()
                self._looked = time.monotonic()
            return self._last

    async def _ask(self) -> Snapshot:
        readiness = await self._gateway.readiness()
        try:
            contestants = await self._gateway.contestants()
        except GatewayError as error:
            if readiness.status == "ready":
                readiness = Readiness(status="down", detail=str(error))
            return Snapshot(readiness, self._last.contestants)
        return Snapshot(readiness, contestants or (BASE,))


def banner(readiness: Readiness) -> str:
    """HTML of the banner; empty while all is well."""
    if readiness.status == "ready":
        return ""
    headline = HEADLINES[readiness.status]
    detail = html.escape(readiness.detail.strip())
    return (
        f'<div class="banner {readiness.status}" role="status"><span class="dot"></span>'
        f"<div><strong>{headline}</strong> {detail} "
        "<span>This page notices by itself when it is back.</span></div></div>"
    )
