"""Personas that rest, live in the registry but not in the engine, come on stage when somebody asks for them.

The first request waits for it: its adapter is validated, loaded and proved to work, as at a publish. After that vLLM
itself keeps the adapters that were asked for last in memory, and reads the others from disk again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from serve.http.request import HttpRefusalError
from serve.rollout.routing import RoutingTable
from understudy.errors import EngineError, NotFoundError, PublishError

log = logging.getLogger("understudy.publish")

PATIENCE = 60.0
"""Seconds that a request waits for its persona; the loading goes on without it."""

FORGIVEN = 60.0
"""Seconds after which a persona that could not come is tried again."""

COMING = 64
"""Personas on their way at a time; they come one after the other."""

SOON = 5


class LazyLoader:
    """Brings each persona once, however many ask for it and however many of them go away."""

    def __init__(
        self,
        table: RoutingTable,
        enter: Callable[[str], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`enter` puts a persona on stage; it raises PublishError, NotFoundError or EngineError."""
        self._table, self._enter, self._clock = table, enter, clock
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        """When to try again, and what was wrong."""

    async def ensure_loaded(self, model: str) -> None:
        """Returns when `model` is on stage, or is none that rests.

        Raises:
            RefusedError: 503, it cannot come now; the message says why.
        """
        if not self._table.is_unloaded(model):
            return
        persona = model.partition("@")[0]
        until, problem = self._failed.get(persona, (0.0, ""))
        if until > self._clock():
            raise _not_now(problem, until - self._clock())
        task = self._coming.get(persona)
        if task is None:
            if len(self._coming) >= COMING:
                raise _not_now("too many personas are on their way to the stage; try again")
            task = self._coming[persona] = asyncio.create_task(self._bring(persona))
            task.add_done_callback(lambda _: self._coming.pop(persona, None))
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.shield(task)
        except TimeoutError:
            raise _not_now(f"{persona} is on its way to the stage; try again") from None
        if self._table.is_unloaded(model):
            raise _not_now(self._failed.get(persona, (0.0, f"{persona} cannot come on stage now"))[1])

    async def close(self) -> None:
        """Stops whoever is on the way."""
        tasks = list(self._coming.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _bring(self, persona: str) -> None:
        """Whatever goes wrong is kept for those who wait."""
        began = self._clock()
        try:
            await self._enter(persona)
            self._failed.pop(persona, None)
            log.info("%s rested and came on stage in %.2f s", persona, self._clock() - began)
        except (PublishError, NotFoundError, EngineError) as error:
            log.error("%s is not on stage: %s", persona, error)
            wait = SOON if isinstance(error, EngineError) else FORGIVEN
            self._failed[persona] = self._clock() + wait, f"{persona} cannot come on stage now: {error}"


def _not_now(message: str, seconds: float = SOON) -> HttpRefusalError:
    wait = max(1, int(seconds))
    return HttpRefusalError(503, message, reason="engine", param="model", code="model_not_ready", retry_after=wait)
