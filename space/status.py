"""The gateway's status, asked once for all pages, and the banner that shows it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from space.backends.errors import ModelServerError, Readiness
from space.backends.listing import Contestant, LearningPersona
from space.backends.protocol import Backend
from space.i18n import ENGLISH, say
from space.leaderboard.win_rates import PersonaWinRate

POLL = 3.0
"""Seconds between two refreshes of a page that gets no events (`space.live_updates`)."""
FRESH = 1.5
"""Seconds for which one answer of the gateway serves every page."""
BACK_OFF = (1, 1, 2, 2, 4, 6)
"""Multiples of `FRESH` between two requests to a gateway that is away; the last one goes on."""

BASE = Contestant(name="base", kind="base", title="Base model", voice="The model that every persona shares.")
"""The only contestant until the gateway has listed others."""


@dataclass(frozen=True)
class GatewayStatus:
    """The gateway at one moment."""

    readiness: Readiness
    contestants: tuple[Contestant, ...] = (BASE,)
    away: int = 0
    """Seconds since it was last ready, or since the first request; 0 while it is ready."""
    again: int = 0
    """Seconds until a gateway that is away is asked again."""
    win_rates: tuple[PersonaWinRate, ...] = ()
    """The personas' results in the arena's votes."""
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
    """Asks the gateway at most every `fresh` seconds, however many pages are open; less often while it is away."""

    def __init__(self, gateway: Backend, *, fresh: float = FRESH, clock: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._fresh = fresh
        self._clock = clock
        self._lock = asyncio.Lock()
        self._asked_at = self._away_since = float("-inf")
        self._misses = 0
        self._expired = False
        self._last = GatewayStatus(Readiness(status="starting"))

    async def status(self, *, at_once: bool = False) -> GatewayStatus:
        """The newest status; the contestants known before stay while the gateway cannot list them.

        `at_once` skips the back-off, for a visitor who waits for an answer.
        """
        async with self._lock:
            due = self._clock() - self._asked_at >= (self._fresh if at_once else self._pause())
            if due or self._expired:
                self._expired = False  # before asking: the answer may miss an event that arrives meanwhile
                self._last = await self._ask()
                self._asked_at = self._clock()
                self._count()
            return self._timed()

    def expire(self) -> None:
        """Makes the next `status` ask the gateway."""
        self._expired = True

    def _pause(self) -> float:
        return self._fresh * BACK_OFF[min(self._misses, len(BACK_OFF) - 1)]

    def _count(self) -> None:
        if self._last.ready:
            self._misses = 0
            return
        if not self._misses:
            self._away_since = self._asked_at
        self._misses += 1

    def _timed(self) -> GatewayStatus:
        if self._last.ready:
            return self._last
        now = self._clock()
        again = max(0, round(self._asked_at + self._pause() - now))
        return replace(self._last, away=int(now - self._away_since), again=again)

    async def _ask(self) -> GatewayStatus:
        readiness = await self._gateway.readiness()
        if readiness.status in ("waking", "down"):
            return GatewayStatus(readiness, self._last.contestants)
        try:
            listing = await self._gateway.listing()
        except ModelServerError as error:
            if readiness.status == "ready":
                readiness = Readiness(status="down", detail=error.notice)
            return GatewayStatus(readiness, self._last.contestants)
        return GatewayStatus(readiness, listing.contestants or (BASE,), learners=listing.learners)


def banner(status: GatewayStatus, *, recorded: bool = False, language: str = ENGLISH) -> str:
    """HTML of the banner: why the gateway is not ready, and a line for each persona that is not live yet.

    Empty while there is nothing to show. `recorded`: the arena has recorded battles to show meanwhile.
    """
    return _outage(status, recorded, language) + _learning(status.learners, language)


def _outage(status: GatewayStatus, recorded: bool, language: str) -> str:
    if status.ready:
        return ""
    state = status.readiness.status
    clock = ""
    if status.away:
        when = "banner_clock_in" if status.again else "banner_clock_now"
        clock = say(when, language, span=_duration(status.away), again=status.again) + " "
    meanwhile = f" {say('banner_meanwhile', language)}" if recorded else ""
    return (
        f'<div class="banner {state}" role="status"><span class="dot"></span>'
        f"<div><strong>{say(f'banner_{state}', language)}</strong> {status.readiness.detail.html(language)} "
        f'<span class="clock">{clock}</span><span>{say("banner_notices", language)}{meanwhile}</span>'
        "</div></div>"
    )


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


def _learning(learners: tuple[LearningPersona, ...], language: str) -> str:
    """One line for each persona that is not live yet; empty where there is none."""
    lines = "".join(_learning_line(one, language) for one in learners)
    return f'<ul class="learning">{lines}</ul>' if lines else ""


def _learning_line(one: LearningPersona, language: str) -> str:
    text = say(f"learning_{one.state}", language, who=one.title, percent=one.percent, reason=one.reason)
    bar = f'<progress max="100" value="{one.percent}" aria-hidden="true"></progress>' if one.state == "learning" else ""
    return f'<li class="{one.state}">{bar}<span>{text}</span></li>'
