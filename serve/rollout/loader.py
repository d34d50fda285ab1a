"""Validates, loads and probes registered revisions, and unloads them after their last answer."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from serve.engine.adapter_engine import AdapterEngine, CheckStage
from serve.rollout.loaded import Loaded
from serve.rollout.routing import RoutingTable
from serve.rollout.validate import validate
from understudy.errors import AdapterError, EngineError, PublishError
from understudy.registry.persona_card import read_card
from understudy.registry.records import Revision
from understudy.registry.registry import Registry

log = logging.getLogger("understudy.publish")


class AdapterRefusedError(Exception):
    """An adapter did not pass; the message names the stage and the first reasons."""

    def __init__(self, stage: CheckStage, problems: list[str], figures: dict[str, Any] | None = None) -> None:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        super().__init__(f"{stage}: {'; '.join(problems[:3])}{more}")
        self.stage: CheckStage = stage
        self.problems, self.figures = problems, figures or {}


class RolloutEvent(BaseModel):
    """A change of a persona, for metrics and events."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["ordered", "live", "canary", "promoted", "withdrawn", "rolled_back", "rejected", "unloaded"]
    persona: str
    revision: str
    previous: str | None = None
    seconds: float = 0.0
    share: float = 1.0
    stage: CheckStage = "validation"
    """Of a rejection."""
    reason: str = ""


EventSink = Callable[[RolloutEvent], None]


class Loader:
    """Loads and unloads one revision at a time, so that one spare slot is enough for all candidates."""

    def __init__(
        self,
        registry: Registry,
        table: RoutingTable,
        engine: AdapterEngine,
        *,
        drain_timeout: float,
        emit: EventSink,
    ) -> None:
        self._registry, self._table, self._engine = registry, table, engine
        self._drain_timeout, self._emit = drain_timeout, emit
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By persona: held while its live revision changes or one of its revisions is unloaded."""
        self._engine_lock = asyncio.Lock()
        self._drains: set[asyncio.Task[None]] = set()

    @property
    def capacity(self) -> int:
        """Adapters that fit into the engine with one to spare for a candidate."""
        return self._engine.capacity

    async def load_and_probe(self, revision: Revision, actor: str) -> Loaded:
        """Validates, loads and probes a revision, unless this engine process has it. Hold the persona's lock.

        Raises:
            PublishError: refused; nothing stays loaded, and the reasons are in the history.
        """
        if (loaded := self._table.loaded.get(revision.served_name)) is not None:
            return loaded
        async with self._engine_lock:
            return await self._load_persona(revision, actor)

    async def load_on_demand(self, revision: Revision, folder: Path) -> Loaded:
        """Validates, loads and probes an adapter by its Hub id, which only its own name leads to.

        Raises:
            AdapterRefusedError: refused; nothing stays loaded.
            EngineError: the engine was restarted meanwhile.
        """
        async with self._engine_lock:
            return await self._try(revision, folder, {}, None)

    async def unload_on_demand(self, adapter: Loaded) -> None:
        """Unloads such an adapter, which must have no answer in flight; its name is unknown at once."""
        self._table.remove(adapter)
        async with self._engine_lock:
            await self._unload(adapter)

    async def _load_persona(self, revision: Revision, actor: str) -> Loaded:
        self._emit(RolloutEvent(kind="ordered", persona=revision.persona, revision=revision.id))
        persona = await asyncio.to_thread(self._registry.persona, revision.persona)
        card = self._table.cards[persona.name] = persona.card
        live = self._table.live.get(persona.name)
        try:
            folder = await asyncio.to_thread(self._registry.path, revision)
            return await self._try(revision, folder, card, live.name if live else None)
        except AdapterRefusedError as error:
            raise await self._refuse(revision, actor, error) from error

    async def _try(self, revision: Revision, folder: Path, card: dict[str, Any], live: str | None) -> Loaded:
        """Validates, loads and probes. Raises as `load_on_demand`."""
        engine, engine_generation, name = self._engine, self._table.engine_generation, revision.served_name
        problems = await asyncio.to_thread(validate, folder, engine.base, max_rank=engine.max_rank)
        if problems:
            raise AdapterRefusedError("validation", problems)
        try:
            card = await asyncio.to_thread(read_card, folder) | card
        except AdapterError as error:
            raise AdapterRefusedError("validation", [str(error)]) from error
        try:
            await engine.load(name, folder)
        except EngineError as error:
            raise AdapterRefusedError("load", [str(error)]) from error
        report = await engine.probe(name, card, live)
        if report.problems:
            with contextlib.suppress(EngineError):  # the refusal matters; the supervisor notices a dead engine
                await engine.unload(name, folder)
            raise AdapterRefusedError("probe", report.problems, report.figures)
        if engine_generation != self._table.engine_generation:
            raise EngineError("the engine was restarted in the meantime; try again")
        return self._table.add(revision, engine_generation, report.figures)

    def retire(self, loaded: Loaded) -> None:
        """Starts to unload a revision that is no longer needed, after its last answer; returns at once."""
        task = asyncio.create_task(self._drain(loaded))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    async def close(self) -> None:
        """Cancels the drains; the engine is about to end anyway."""
        for task in self._drains:
            task.cancel()
        await asyncio.gather(*self._drains, return_exceptions=True)

    async def _drain(self, old: Loaded) -> None:
        if not await old.idle(self._drain_timeout):
            log.warning("%s still has %d answers in flight; unloading it anyway", old.name, old.in_flight)
        async with self.locks[old.revision.persona], self._engine_lock:
            if self._table.needed(old) or self._table.loaded.get(old.name) is not old:
                return  # it is needed again, or the engine that had it is gone
            self._table.remove(old)
            await old.idle(self._drain_timeout)  # a request may have named the revision a moment ago
            await self._unload(old)

    async def _unload(self, old: Loaded) -> None:
        try:
            await self._engine.unload(old.name, self._registry.folder(old.revision))
        except EngineError as error:
            log.warning("%s could not be unloaded: %s", old.name, error)
        self._emit(RolloutEvent(kind="unloaded", persona=old.revision.persona, revision=old.revision.id))

    async def _refuse(self, revision: Revision, actor: str, error: AdapterRefusedError) -> PublishError:
        problems, stage = error.problems, error.stage
        detail = {"stage": stage, "reasons": problems} | ({"checks": error.figures} if error.figures else {})
        await asyncio.to_thread(self._registry.record, revision, actor=actor, action="reject", detail=detail)
        message = f"{revision.served_name} was refused by {error}"
        log.warning("%s", message)
        self._emit(
            RolloutEvent(
                kind="rejected", persona=revision.persona, revision=revision.id, stage=stage, reason=problems[0]
            )
        )
        return PublishError(message, problems)
