"""Keeps the engine running: starts it, loads the personas, and restarts it when it dies."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Literal

import aiohttp
from pydantic import BaseModel, ConfigDict

from serve.engine.vllm import Engine
from serve.rollout.publisher import Publisher
from understudy.errors import EngineError

log = logging.getLogger("understudy.engine")

BACK_OFF = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the first, second, … restart in a row."""

WATCH = 1.0
"""Seconds between two health checks."""


class Status(BaseModel):
    """What /ready answers."""

    model_config = ConfigDict(frozen=True)

    status: Literal["starting", "loading", "ready", "down"]
    """loading: the base answers, and the personas are being loaded."""
    detail: str

    @property
    def answers(self) -> bool:
        """Whether requests are let in; one for a persona that is not loaded yet waits for it."""
        return self.status in ("loading", "ready")


OnChange = Callable[[Status, Status, float], None]


class Supervisor:
    """Runs one engine for as long as the gateway lives."""

    def __init__(
        self,
        engine: Engine,
        publisher: Publisher,
        session: aiohttp.ClientSession,
        timeout: float,
        *,
        size: Callable[[], int],
        on_change: OnChange = lambda before, status, seconds: None,
    ) -> None:
        """`size` returns how many slots the next start needs; it is called in a thread."""
        self._engine, self._publisher, self._session, self._timeout = engine, publisher, session, timeout
        self._size, self._on_change = size, on_change
        self._started = time.monotonic()
        self._status = Status(status="down", detail="The engine is not started yet.")
        self._failures = 0
        self.restarts = 0

    @property
    def status(self) -> Status:
        """The engine's status. Every change calls `on_change` with the old one, the new one, and the seconds since the
        start."""
        return self._status

    @status.setter
    def status(self, status: Status) -> None:
        before, self._status = self._status, status
        self._on_change(before, status, time.monotonic() - self._started)

    async def run(self) -> None:
        """Starts, watches and restarts the engine until cancelled; then ends it."""
        try:
            while True:
                await self._run_once()
                wait = BACK_OFF[min(self._failures, len(BACK_OFF) - 1)]
                self._failures += 1
                self.restarts += 1
                log.warning("the engine is down; starting it again in %.0f s", wait)
                await asyncio.sleep(wait)
        finally:
            await self._engine.stop()

    async def _run_once(self) -> None:
        self._started = time.monotonic()
        self.status = Status(status="starting", detail="The engine is loading the base.")
        try:
            self._engine.resize(await asyncio.to_thread(self._size))
            self._engine.start()
            await self._engine.wait_ready(self._session, self._timeout)
        except EngineError as error:
            log.error("%s", error)
            self.status = Status(status="down", detail="The engine did not start; it is being started again.")
            await self._engine.stop()
            return
        loading = asyncio.create_task(self._load_personas())
        try:
            await self._until_dead(loading)
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        self.status = Status(status="down", detail="The engine stopped; it is being started again.")
        await self._engine.stop()

    async def _load_personas(self) -> None:
        """Lets requests in once all personas are known, then loads them."""

        def listed(count: int) -> None:
            self.status = Status(status="loading", detail=f"The base answers; {count} personas are being loaded.")

        try:
            missing = await self._publisher.replay(engine_died=self.restarts > 0, on_listed=listed)
        except EngineError as error:  # the engine has died
            log.error("%s", error)
            return
        gone = f" Not loaded: {', '.join(missing)}." if missing else ""
        self.status = Status(status="ready", detail=f"Ready.{gone}")
        self._failures = 0

    async def _until_dead(self, loading: asyncio.Task[None]) -> None:
        """Returns when the engine no longer answers. Raises what `loading` raises."""
        missed = 0
        while self._engine.alive and missed < self._engine.misses:
            if loading.done():
                loading.result()
            await asyncio.sleep(WATCH)
            missed = 0 if await self._engine.healthy(self._session) else missed + 1
