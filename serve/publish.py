"""Publishing: validate, load under a new name, prove that it works, flip the persona's name, drain the old one."""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict

import aiohttp
from pydantic import BaseModel, ConfigDict

from serve.engine import Engine
from serve.probe import Probe
from serve.routing import Loaded, RoutingTable
from serve.validate import validate
from understudy.adapters import short
from understudy.errors import EngineError, NotFoundError, PublishError
from understudy.registry import Registry, Revision

log = logging.getLogger("understudy.publish")


class Published(BaseModel):
    """What a publish did."""

    model_config = ConfigDict(frozen=True)

    persona: str
    revision: str
    previous: str | None
    """The revision that was live before."""
    changed: bool
    """False when this revision was live already."""
    seconds: float


class Publisher:
    """Puts revisions on stage, one at a time for each persona; requests go on all the while."""

    def __init__(
        self,
        registry: Registry,
        table: RoutingTable,
        engine: Engine,
        session: aiohttp.ClientSession,
        drain_timeout: float,
    ) -> None:
        self.registry, self.table, self.engine = registry, table, engine
        self._session = session
        self._probe = Probe(engine, session)
        self._drain_timeout = drain_timeout
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._drains: set[asyncio.Task[None]] = set()

    async def publish(self, persona: str, revision: str = "", *, actor: str, action: str = "publish") -> Published:
        """Makes a registered revision (by prefix; empty means the newest) what `persona` answers with.

        Raises:
            NotFoundError: there is no such persona or revision.
            PublishError: it was refused; the reasons are in the error and in the history, and the incumbent
                goes on answering.
        """
        candidate = await asyncio.to_thread(self.registry.revision, persona, revision)
        async with self._locks[persona]:
            started = time.monotonic()
            live = self.table.live.get(persona)
            previous = live.revision.id if live else None
            if previous == candidate.id:
                return Published(persona=persona, revision=candidate.id, previous=previous, changed=False, seconds=0)
            loaded = await self._load_proven(candidate, actor)
            seconds = round(time.monotonic() - started, 3)
            detail = {"previous": previous, "seconds": seconds}
            await asyncio.to_thread(self.registry.set_live, candidate, actor=actor, action=action, detail=detail)
            self._flip(loaded)
            log.info("%s now answers with %s (was %s)", persona, short(candidate.id), previous and short(previous))
            return Published(persona=persona, revision=candidate.id, previous=previous, changed=True, seconds=seconds)

    async def rollback(self, persona: str, revision: str = "", *, actor: str) -> Published:
        """Publishes an earlier revision again: the given one, or the one that was live before this one.

        Raises:
            NotFoundError, PublishError: as `publish`; also when there is nothing to go back to.
        """
        revision = revision or await asyncio.to_thread(self._previous, persona)
        return await self.publish(persona, revision, actor=actor, action="rollback")

    async def replay(self) -> list[str]:
        """Loads and proves every live revision in a fresh engine; returns the personas that could not be."""
        self.table.clear()
        missing = []
        for persona in self.registry.personas():
            self.table.cards[persona.name] = persona.card
            if persona.live is None:
                continue
            try:
                revision = self.registry.revision(persona.name, persona.live)
                self.table.flip(await self._load_proven(revision, "replay"))
            except (PublishError, NotFoundError) as error:
                log.error("%s is not on stage: %s", persona.name, error)
                missing.append(persona.name)
        return missing

    async def close(self) -> None:
        """Stops waiting for drains; the engine is about to end anyway."""
        for task in self._drains:
            task.cancel()
        await asyncio.gather(*self._drains, return_exceptions=True)

    def _previous(self, persona: str) -> str:
        live = self.registry.persona(persona).live
        for event in self.registry.history(persona):
            if event.action in ("publish", "rollback") and event.revision == live and event.detail.get("previous"):
                return event.detail["previous"]
        raise NotFoundError(f"{persona} has no earlier revision to go back to; see `understudy history {persona}`")

    async def _load_proven(self, revision: Revision, actor: str) -> Loaded:
        """Validates, loads and probes; on refusal nothing stays loaded and the reasons are in the history."""
        persona = await asyncio.to_thread(self.registry.persona, revision.persona)
        self.table.cards[persona.name] = persona.card
        folder = self.registry.path(revision)
        plan = self.engine.plan
        problems = await asyncio.to_thread(validate, folder, plan.base, max_rank=plan.max_rank)
        if problems:
            raise await self._refuse(revision, actor, "validation", problems)
        if revision.served_name in self.table.loaded:
            return self.table.loaded[revision.served_name]
        try:
            await self.engine.load(self._session, revision.served_name, folder)
        except EngineError as error:
            raise await self._refuse(revision, actor, "load", [str(error)]) from error
        problems = await self._probe.check(revision.served_name, persona.card.get("prompts", []))
        if problems:
            with contextlib.suppress(EngineError):  # the refusal is what counts; a dead engine is noticed elsewhere
                await self.engine.unload(self._session, revision.served_name)
            raise await self._refuse(revision, actor, "probe", problems)
        return self.table.add(revision)

    async def _refuse(self, revision: Revision, actor: str, stage: str, problems: list[str]) -> PublishError:
        detail = {"stage": stage, "reasons": problems}
        await asyncio.to_thread(self.registry.record, revision, actor=actor, action="reject", detail=detail)
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        return PublishError(f"{revision.served_name} was refused by {stage}: {'; '.join(problems[:3])}{more}", problems)

    def _flip(self, loaded: Loaded) -> None:
        before = self.table.flip(loaded)
        if before is not None:
            task = asyncio.create_task(self._drain(before))
            self._drains.add(task)
            task.add_done_callback(self._drains.discard)

    async def _drain(self, old: Loaded) -> None:
        """Unloads a revision that no name leads to any more, after its last answer."""
        if not await old.idle(self._drain_timeout):
            log.warning("%s still has %d answers in flight; unloading it anyway", old.name, old.in_flight)
        async with self._locks[old.revision.persona]:
            back_on_stage = self.table.live.get(old.revision.persona) is old
            if back_on_stage or self.table.loaded.get(old.name) is not old:
                return
            self.table.remove(old)
            await old.idle(self._drain_timeout)
            try:
                await self.engine.unload(self._session, old.name)
            except EngineError as error:
                log.warning("%s could not be unloaded: %s", old.name, error)
