"""A revision that the engine holds, and how many answers are in flight on it."""

import asyncio
from typing import Any

from understudy.registry.records import Revision


class Loaded:
    """A revision that the engine has in memory and that passed the probe there."""

    def __init__(self, revision: Revision, engine_generation: int, checks: dict[str, Any]) -> None:
        self.revision = revision
        self.engine_generation = engine_generation
        """The start of the engine, counted from 0, that it was loaded in."""
        self.checks = checks
        """What the probe measured."""
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def name(self) -> str:
        """Its name in the engine."""
        return self.revision.served_name

    def enter(self) -> None:
        """Counts an answer that begins."""
        self.in_flight += 1
        self._idle.clear()

    def leave(self) -> None:
        """Counts an answer that ended."""
        self.in_flight -= 1
        if self.in_flight == 0:
            self._idle.set()

    async def idle(self, timeout: float) -> bool:
        """Waits until no answer is in flight; False when `timeout` seconds were not enough."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
