"""The state of the model server, asked once for everyone who looks, and the banner that shows it."""

import asyncio
import html
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from space.backends.gateway import GatewayClient, Readiness
from space.backends.listing import Contestant
from space.i18n import ENGLISH, reword, say
from space.leaderboard.win_rates import PersonaWinRate
from space.learning import LearningPersona
from understudy.errors import GatewayError

POLL = 3.0
"""Seconds between two looks of a page that is not told of news (`space.live_updates`)."""
FRESH = 1.5
"""Seconds for which one answer of the gateway serves every page."""
BACK_OFF = (1, 1, 2, 2, 4, 6)
"""Times that many seconds pass between two looks at a gateway that is away; the last one goes on."""

BASE = Contestant(name="base", kind="base", title="Base model", voice="The model that every persona shares.")
"""Who there is while the gateway has told us nothing."""


@dataclass(frozen=True)
class GatewayStatus:
    """The model server at one moment."""

    readiness: Readiness
    contestants: tuple[Contestant, ...] = (BASE,)
    away: int = 0
    """Seconds since it was last seen ready, or since we first looked; 0 while it is ready."""
    again: int = 0
    """Seconds until the next look at a server that is away."""
    standings: tuple[PersonaWinRate, ...] = ()
    """What the arena's votes say of the personas."""
    learners: tuple[LearningPersona, ...] = ()
    """Personas that are not live yet."""

    @property
    def ready(self) -> bool:
        return self.readiness.status == "ready"

    @property
    def personas(self) -> tuple[Contestant, ...]:
        return tuple(one for one in self.contestants if one.kind == "persona")

    def find(self, name: str | None) -> Contestant:
        """The contestant of that name, else the base."""
        named = {one.name: one for one in self.contestants}
        return named.get(name or "") or named.get(BASE.name) or BASE


class GatewayMonitor:
    """Looks at the gateway at most every `fresh` seconds, however many pages are open; more rarely while it is away."""

    def __init__(
        self, gateway: GatewayClient, *, fresh: float = FRESH, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gateway = gateway
        self._fresh = fresh
        self._clock = clock
        self._lock = asyncio.Lock()
        self._looked = self._left = float("-inf")
        self._misses = 0
        self._expired = False
        self._last = GatewayStatus(Readiness(status="starting"))

    async def look(self, *, at_once: bool = False) -> GatewayStatus:
        """The newest snapshot; the contestants known before stay while the gateway cannot list them.

        `at_once` asks without the back-off: somebody wants something now.
        """
        async with self._lock:
            due = self._clock() - self._looked >= (self._fresh if at_once else self._pause())
            if due or self._expired:
                self._expired = False  # before asking: news that come meanwhile are not in the answer
                self._last = await self._ask()
                self._looked = self._clock()
                self._count()
            return self._clocked()

    def expire(self) -> None:
        """What was seen last is old news: the next look asks the gateway."""
        self._expired = True

    def _pause(self) -> float:
        return self._fresh * BACK_OFF[min(self._misses, len(BACK_OFF) - 1)]

    def _count(self) -> None:
        if self._last.ready:
            self._misses = 0
            return
        if not self._misses:
            self._left = self._looked
        self._misses += 1

    def _clocked(self) -> GatewayStatus:
        if self._last.ready:
            return self._last
        now = self._clock()
        again = max(0, round(self._looked + self._pause() - now))
        return replace(self._last, away=int(now - self._left), again=again)

    async def _ask(self) -> GatewayStatus:
        readiness = await self._gateway.readiness()
        if readiness.status in ("waking", "down"):
            return GatewayStatus(readiness, self._last.contestants)
        try:
            listing = await self._gateway.listing()
        except GatewayError as error:
            if readiness.status == "ready":
                readiness = Readiness(status="down", detail=str(error))
            return GatewayStatus(readiness, self._last.contestants)
        return GatewayStatus(readiness, listing.contestants or (BASE,), learners=listing.learners)


def banner(
    readiness: Readiness, *, away: int = 0, again: int = 0, recorded: bool = False, language: str = ENGLISH
) -> str:
    """HTML of the banner; empty while all is well. `away` and `again` as in `GatewayStatus`.

    `recorded`: the arena has battles to show meanwhile.
    """
    if readiness.status == "ready":
        return ""
    headline = say(f"banner_{readiness.status}", language)
    detail = html.escape(reword(readiness.detail.strip(), language))
    clock = ""
    if away:
        when = "banner_clock_in" if again else "banner_clock_now"
        clock = say(when, language, span=_span(away), again=again) + " "
    meanwhile = f" {say('banner_meanwhile', language)}" if recorded else ""
    return (
        f'<div class="banner {readiness.status}" role="status"><span class="dot"></span>'
        f"<div><strong>{headline}</strong> {detail} "
        f'<span class="clock">{clock}</span><span>{say("banner_notices", language)}{meanwhile}</span>'
        "</div></div>"
    )


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
