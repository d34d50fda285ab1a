"""Which name leads to which revision, and how many answers are in flight on each."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from serve.engine import BASE_NAME
from understudy.adapters import SHORT, short
from understudy.errors import NotFoundError
from understudy.registry import Revision


class Loaded:
    """A revision that the engine has in memory."""

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def name(self) -> str:
        """Its name in the engine."""
        return self.revision.served_name

    def enter(self) -> None:
        self.in_flight += 1
        self._idle.clear()

    def leave(self) -> None:
        self.in_flight -= 1
        if self.in_flight == 0:
            self._idle.set()

    async def idle(self, timeout: float) -> bool:
        """Waits until no answer is in flight; False when `timeout` seconds were not enough."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
        except TimeoutError:
            return False
        return True


class Target:
    """Where one request goes."""

    def __init__(self, engine_name: str, revision: str) -> None:
        self.engine_name = engine_name
        """Model name for the engine."""
        self.revision = revision
        """What the answer is labelled with: `base`, or 12 hex digits."""


class RoutingTable:
    """The truth of the moment, in memory: every change is one assignment, so no request sees half of it."""

    def __init__(self) -> None:
        self.loaded: dict[str, Loaded] = {}
        """By name in the engine."""
        self.live: dict[str, Loaded] = {}
        """By persona."""
        self.cards: dict[str, dict[str, Any]] = {}
        """By persona: what people are told about it."""

    def add(self, revision: Revision) -> Loaded:
        """Notes that the engine has `revision`; it can be called as `persona@revision` from now on."""
        return self.loaded.setdefault(revision.served_name, Loaded(revision))

    def flip(self, loaded: Loaded) -> Loaded | None:
        """Makes `loaded` what its persona's name means; returns what it meant before, now to be drained."""
        persona = loaded.revision.persona
        before = self.live.get(persona)
        self.live[persona] = loaded
        return before if before is not loaded else None

    def remove(self, loaded: Loaded) -> None:
        """Forgets a revision; its name is unknown from now on."""
        self.loaded.pop(loaded.name, None)

    def clear(self) -> None:
        """Forgets everything: the engine that had it is gone."""
        self.loaded, self.live = {}, {}

    @contextlib.contextmanager
    def lease(self, model: str) -> Iterator[Target]:
        """Resolves `model` (`base`, a persona, or `persona@revision`) and counts the request until it ends.

        Raises:
            NotFoundError: nothing of that name; the message lists the names there are.
        """
        if model == BASE_NAME:
            yield Target(BASE_NAME, BASE_NAME)
            return
        loaded = self._find(model)
        loaded.enter()
        try:
            yield Target(loaded.name, short(loaded.revision.id))
        finally:
            loaded.leave()

    def _find(self, model: str) -> Loaded:
        persona, at, revision = model.partition("@")
        found = self.loaded.get(f"{persona}@{revision[:SHORT]}") if at else self.live.get(persona)
        if found is None or (at and not found.revision.id.startswith(revision)):
            known = ", ".join([BASE_NAME, *sorted(self.live)])
            raise NotFoundError(f"model {model!r} does not exist; models there are: {known}")
        return found
