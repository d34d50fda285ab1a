"""Shares the slots of the engine's batch fairly when more adapters are asked for than it has slots.

vLLM lets requests of adapters in its batch overtake all others for as long as they keep coming (vllm#16876). That
order is the fastest, and this scheduler keeps it until an adapter has waited too long. Then the adapter that has had
its slot longest gets no new requests, its answers in flight finish, and the waiting adapter takes the slot.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

PATIENCE = 2.0
"""Seconds that an adapter waits for a slot before another one must give up its own."""


class FairScheduler:
    """Admits requests so that at most `capacity` adapters are in the engine's batch. The base needs no slot."""

    def __init__(
        self, capacity: int, *, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.capacity = capacity
        self._patience, self._clock = patience, clock
        self._running: dict[str, int] = {}
        """Requests in the engine, by adapter; the adapter that has had its slot longest comes first."""
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        """By adapter; the one that has waited longest comes first."""
        self._since: dict[str, float] = {}
        """When each waiting adapter began to wait."""

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return sum(len(futures) for futures in self._waiting.values())

    @contextlib.asynccontextmanager
    async def turn(self, adapter: str) -> AsyncIterator[None]:
        """Waits for a slot for `adapter`, and holds it for the block."""
        if adapter not in self._waiting and self._may_run(adapter):
            self._enter(adapter)
        else:
            await self._wait(adapter)
        try:
            yield
        finally:
            self._leave(adapter)

    def _may_run(self, adapter: str) -> bool:
        """Whether a request of `adapter` may go to the engine now."""
        if adapter in self._running:
            return adapter not in self._making_room()
        return len(self._running) < self.capacity

    def _making_room(self) -> list[str]:
        """The running adapters that must give up their slot: one for each that has waited too long."""
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
        """Admits every waiting request that may run, the longest waiting adapter first."""
        while adapter := next(filter(self._may_run, self._waiting), None):
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
