"""Fair slots when more adapters are asked for than the engine can have in a batch.

vLLM lets requests of adapters that are in its batch overtake all others for as long as they keep coming
(vllm#16876). That is the quickest order, and it is ours, too, until an adapter has waited too long: then the one that
has had its slot longest takes no new requests, its answers in flight finish, and the slot changes hands.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

PATIENCE = 2.0
"""Seconds that an adapter waits for a slot before another one must make room for it."""


class FairScheduler:
    """Admits requests so that at most `capacity` adapters are in the engine's batch. The base needs no slot."""

    def __init__(
        self, capacity: int, *, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.capacity = capacity
        self._patience, self._clock = patience, clock
        self._running: dict[str, int] = {}
        """Requests in the engine, by adapter; whoever has had its slot longest comes first."""
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        """By adapter; whoever has waited longest comes first."""
        self._since: dict[str, float] = {}
        """When each waiting adapter began to wait."""

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return sum(len(futures) for futures in self._waiting.values())

    @contextlib.asynccontextmanager
    async def turn(self, adapter: str) -> AsyncIterator[None]:
        """Waits for a slot for `adapter`, and holds it."""
        if adapter not in self._waiting and self._ensure_persona(adapter):
            self._enter(adapter)
        else:
            await self._wait(adapter)
        try:
            yield
        finally:
            self._leave(adapter)

    def _ensure_persona(self, adapter: str) -> bool:
        """Whether its requests may go on to the engine now."""
        if adapter in self._running:
            return adapter not in self._making_room()
        return len(self._running) < self.capacity

    def _making_room(self) -> list[str]:
        """One running adapter for each that has waited too long."""
        latest = self._clock() - self._patience
        overdue = sum(since <= latest for name, since in self._since.items() if name not in self._running)
        return list(self._running)[:overdue]

    def _enter(self, adapter: str) -> None:
        self._running[adapter] = self._running.get(adapter, 0) + 1

    def _leave(self, adapter: str) -> None:
        self._running[adapter] -= 1
        if not self._running[adapter]:
            del self._running[adapter]
        self._admit()

    def _admit(self) -> None:
        """Lets in everybody who may come in, those first who have waited longest."""
        while adapter := next(filter(self._ensure_persona, self._waiting), None):
            del self._since[adapter]
            for future in self._waiting.pop(adapter):
                if not future.done():
                    self._enter(adapter)
                    future.set_result(None)

    async def _wait(self, adapter: str) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(adapter, []).append(future)
        self._since.setdefault(adapter, self._clock())
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._leave(adapter)  # it was admitted and cancelled in the same moment
            else:
                self._forget(adapter, future)
            raise

    def _forget(self, adapter: str, future: asyncio.Future[None]) -> None:
        futures = self._waiting.get(adapter, [])
        if future in futures:
            futures.remove(future)
            if not futures:
                del self._waiting[adapter], self._since[adapter]
                self._admit()
