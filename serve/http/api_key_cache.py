"""Caches the active API keys, and reads them often enough that a revoked key ends and a new one works."""

import asyncio
import logging
import math
from collections.abc import Callable

from understudy.registry.api_keys import SECRET, Key, KeyStore, hash_of

log = logging.getLogger("understudy.gateway")

FRESH = 2.0
"""Seconds for which the keys are used without a new read: how long a revoked key may still work."""

SPACING = 0.5
"""Least seconds between two reads, however many wrong keys are tried."""

PATIENCE = 2.0
"""Seconds that a request waits for the database before the keys that were read last are used."""


class KeysUnknownError(Exception):
    """The keys could not be read, not even once."""


class ApiKeyCache:
    """Finds active keys by their secret. It belongs to one event loop; the database is read in a thread."""

    def __init__(self, store: KeyStore, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._keys: dict[str, Key] | None = None
        self.locked = False
        """Whether an inference key was ever created, as of the last read."""
        self._read_at = -math.inf
        """When the last read began, whether or not it succeeded."""
        self._reading: asyncio.Task[None] | None = None

    async def find(self, secret: str) -> Key | None:
        """Returns the active key with that secret, or None.

        A key that is not cached is looked up in a read that begins after this call, so that a new key works at once;
        such calls share a read, at most one every SPACING seconds.

        Raises:
            KeysUnknownError: the database has never answered.
        """
        arrived = self._clock()
        await self._read_since(arrived - FRESH if self._keys is not None else arrived)
        if self._keys is None:
            # Anonymous callers are refused, too: if there are keys, the gateway is closed to them.
            raise KeysUnknownError("the keys cannot be read at the moment; try again")
        if not SECRET.fullmatch(secret):
            return None
        digest = hash_of(secret)
        if digest not in self._keys:
            await self._read_since(arrived)
        return self._keys.get(digest)

    async def _read_since(self, moment: float) -> None:
        """Returns when a read that began at `moment` or later has ended, or after PATIENCE."""
        while self._read_at < moment:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read())
            done, _ = await asyncio.wait({self._reading}, timeout=PATIENCE)
            if not done:
                return

    async def _read(self) -> None:
        try:
            await asyncio.sleep(max(0.0, self._read_at + SPACING - self._clock()))
            began = self._clock()
            try:
                self._keys, self.locked = await asyncio.to_thread(self._read_store)
            except Exception as error:
                # Any failure of any database: the cached keys stay in use, and the next request tries again.
                log.warning("the keys cannot be read: %s", type(error).__name__)
            self._read_at = began
        finally:
            self._reading = None

    def _read_store(self) -> tuple[dict[str, Key], bool]:
        keys = self._store.active()
        return keys, self.locked or self._store.has_ever_locked()
