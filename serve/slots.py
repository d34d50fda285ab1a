"""Fair turns when more adapters are asked for than the engine has slots.

vLLM lets requests of adapters that are in its batch overtake all others for as long as they keep coming
(vllm#16876). Here an adapter that others wait for stops taking new requests after its turn, its answers in flight
finish, and the adapter that has waited longest takes the slot.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable

TURN = 0.5
"""Seconds for which an adapter takes new requests while others wait for a slot."""


class Slots:
    """Admits requests so that at most `capacity` adapters are in the engine's batch. The base needs no slot."""

    def __init__(self, capacity: int, *, turn: float = TURN, clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity = capacity
        self._turn, self._clock = turn, clock
        self._running: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._waiting: OrderedDict[str, list[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Requests that wait for their adapter's turn."""
        return sum(len(futures) for futures in self._waiting.values())

    @contextlib.asynccontextmanager
    async def turn(self, adapter: str) -> AsyncIterator[None]:
        """Waits for a slot for `adapter`, and holds it."""
        if not self._may_enter(adapter):
            await self._wait(adapter)
        else:
            self._enter(adapter)
        try:
            yield
        finally:
            self._leave(adapter)

    def _may_enter(self, adapter: str) -> bool:
        if adapter in self._waiting:
            return False
        if adapter not in self._running:
            return len(self._running) < self.capacity
        return not self._waiting or self._clock() - self._since[adapter] < self._turn

    def _enter(self, adapter: str) -> None:
        self._since.setdefault(adapter, self._clock())
        self._running[adapter] = self._running.get(adapter, 0) + 1

    def _leave(self, adapter: str) -> None:
        self._running[adapter] -= 1
        if not self._running[adapter]:
            del self._running[adapter], self._since[adapter]
        self._admit()

    def _admit(self) -> None:
        """Gives free slots to the adapters that have waited longest, with all their requests."""
        while self._waiting:
            others = [name for name in self._waiting if name not in self._running]
            if not others:  # nobody else waits: who has a slot may go on
                for name in list(self._waiting):
                    self._since.pop(name, None)
                    self._admit_all(name)
                return
            if len(self._running) >= self.capacity:
                return
            self._admit_all(others[0])

    def _admit_all(self, adapter: str) -> None:
        for future in self._waiting.pop(adapter):
            if not future.done():
                self._enter(adapter)
                future.set_result(None)

    async def _wait(self, adapter: str) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(adapter, []).append(future)
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
                del self._waiting[adapter]
                self._admit()
