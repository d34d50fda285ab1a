"""Loads each model once, however many requests wait for it, and remembers why a load was refused.

The gateway's two kinds of loading use it: registered personas (`serve.rollout.lazy_load`) and adapters by their Hub id
(`serve.hub_sync.on_demand`).
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from serve.http.errors import HttpRefusalError, model_not_ready
from serve.request_metrics import Refusal

log = logging.getLogger("understudy.publish")

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds that a request waits for its model; the loading continues without it."""

RETRY_AFTER = 5.0
"""Seconds after which a client may ask again, unless something else is known."""

REMEMBERED = 1000
"""Names that a cache remembers."""


class ExpiringCache(OrderedDict[str, tuple[float, T]], Generic[T]):
    """Values by name, each with the time until which it holds; the oldest of too many is forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock

    def keep(self, name: str, value: T, seconds: float) -> None:
        """Remembers `value` for so many seconds."""
        self[name] = self._clock() + seconds, value
        self.move_to_end(name)
        while len(self) > REMEMBERED:
            self.popitem(last=False)

    def fresh(self, name: str) -> tuple[float, T] | None:
        """The seconds for which the value still holds, and the value; None if there is none that holds."""
        until, value = self.get(name, (0.0, None))
        return (until - self._clock(), value) if value is not None and until > self._clock() else None


class LoadQueue(Generic[T]):
    """One task for each name. It belongs to one event loop."""

    def __init__(self, what: str, limit: int, *, reason: Refusal, clock: Callable[[], float] = time.monotonic) -> None:
        """`what` is loaded, in the plural, at most `limit` at a time; refusals are counted under `reason`."""
        self._what, self._limit = what, limit
        self._reason: Refusal = reason
        self._tasks: dict[str, asyncio.Task[T]] = {}
        self._refused: ExpiringCache[HttpRefusalError] = ExpiringCache(clock)

    @property
    def loading(self) -> list[str]:
        """Names whose task runs."""
        return sorted(self._tasks)

    @property
    def refused(self) -> int:
        """Refusals that are remembered."""
        return len(self._refused)

    async def run(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Waits for the task of `name`, started with `work` if none runs; it continues when its callers leave.

        Raises:
            HttpRefusalError: what `refuse` still remembers, what `work` raises, or 503 when there are too many tasks
                or this one takes longer than `PATIENCE`.
        """
        if (known := self._refused.fresh(name)) is not None:
            seconds, refusal = known
            raise refusal.retried_after(seconds)
        task = self._tasks.get(name)
        if task is None:
            if len(self._tasks) >= self._limit:
                raise self.not_ready(f"too many {self._what} are being loaded; try again")
            task = self._tasks[name] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._over(name, done))
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(task)
        except TimeoutError:
            raise self.not_ready(f"{name} is being loaded; try again") from None

    def refuse(self, name: str, refusal: HttpRefusalError, seconds: float) -> HttpRefusalError:
        """Remembers a refusal for so many seconds, for later requests; returns it, to be raised by the task."""
        self._refused.keep(name, refusal, seconds)
        return refusal

    def not_ready(self, message: str, seconds: float = RETRY_AFTER, code: str = "model_not_ready") -> HttpRefusalError:
        """503: ask again after so many seconds."""
        return model_not_ready(message, seconds, reason=self._reason, code=code)

    async def close(self) -> None:
        """Cancels what is being loaded."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _over(self, name: str, task: asyncio.Task[T]) -> None:
        del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, HttpRefusalError):
            log.error("loading %s failed", name, exc_info=error)
