"""Loads a persona on its first request, when it is live in the registry but the engine does not have it.

The first request waits: the adapter is validated, loaded and probed, as at a publish. After that vLLM itself keeps the
adapters that were asked for last in memory, and reads the others from disk again.
"""

import logging
import time
from collections.abc import Awaitable, Callable

from serve.rollout.load_queue import RETRY_AFTER, LoadQueue
from serve.rollout.routing import RoutingTable
from understudy.errors import EngineError, NotFoundError, PublishError

log = logging.getLogger("understudy.publish")

REFUSED_FOR = 60.0
"""Seconds after which a persona whose adapter did not pass is tried again."""

MAX_LOADING = 64
"""Personas that wait to be loaded at a time; they are loaded one after the other."""


class LazyLoader:
    """Loads each unloaded persona once, however many requests ask for it."""

    def __init__(
        self,
        table: RoutingTable,
        load: Callable[[str], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` loads a persona; it raises PublishError, NotFoundError or EngineError."""
        self._table, self._load_persona, self._clock = table, load, clock
        self._queue: LoadQueue[None] = LoadQueue("personas", MAX_LOADING, reason="engine", clock=clock)

    async def ensure_loaded(self, model: str) -> None:
        """Returns once the adapter is loaded, or at once if nothing has to be loaded.

        Raises:
            HttpRefusalError: 503, it cannot be loaded now; the message says why.
        """
        if self._table.is_unloaded(model):
            persona = model.partition("@")[0]
            await self._queue.run(persona, lambda: self._load(persona))

    async def close(self) -> None:
        """Cancels what is being loaded."""
        await self._queue.close()

    async def _load(self, persona: str) -> None:
        began = self._clock()
        try:
            await self._load_persona(persona)
        except (PublishError, NotFoundError, EngineError) as error:
            log.error("%s could not be loaded: %s", persona, error)
            seconds = RETRY_AFTER if isinstance(error, EngineError) else REFUSED_FOR
            refusal = self._queue.not_ready(f"{persona} cannot be loaded now: {error}", seconds)
            raise self._queue.refuse(persona, refusal, seconds) from error
        if persona in self._table.unloaded:  # the engine was restarted in the meantime
            raise self._queue.not_ready(f"{persona} cannot be loaded now; try again")
        log.info("%s was loaded on its first request in %.2f s", persona, self._clock() - began)
