"""Any adapter by its Hub id: `org/name` or `org/name@revision` as the model of a request, for organisations on a list.

A guest gets a slot that nobody else needs; a persona is never sent away for it. It is validated and probed like any
other, pinned to the commit, and unloaded when another guest needs its slot.
"""

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

from serve.engine.vllm import Engine
from serve.http.request import HttpRefusalError
from serve.hub_sync.adapter_cache import AdapterCache
from serve.hub_sync.background import run_in_background
from serve.hub_sync.on_demand_errors import CachedLookup, LookupCache, later, refused
from serve.rollout.loader import AdapterRefusedError, Loader
from serve.rollout.routing import Loaded, RoutingTable
from understudy.errors import AdapterError, EngineError, HubError
from understudy.registry.adapters import short
from understudy.registry.hub import REPO, ResolvedRevision, published_commit

log = logging.getLogger("understudy.guests")

MODEL = re.compile(rf"({REPO.pattern})(?:@([A-Za-z0-9][\w.-]{{0,99}}))?", re.ASCII)
"""A model of a request that is a Hub id. Nothing that fits is a path."""

LONGEST = 300
"""Characters of a Hub id; what is longer is none, and is not remembered either."""

FRESH = 60.0
"""Seconds for which what a name means is not asked of the Hub again."""

REST = 5.0
"""Seconds before the Hub or the engine is asked again after it failed."""

FORGIVEN = 600.0
"""Seconds after which an adapter that the probe refused is tried again: on a busy machine it may have been slow."""

LOOK_SECONDS = 30.0
DOWNLOAD_SECONDS = 1800.0
PATIENCE = 60.0
"""Seconds that a request waits for its adapter; the loading goes on without it."""

STAY = 2.0
"""Seconds that a guest keeps its slot after its last request began, whoever else comes."""

DOWNLOADS = 2
"""Downloads at a time."""

LOOKS_A_MINUTE = 120
"""Times that the Hub is asked what a name means; whoever guesses names must not use up what the Hub allows us."""

COMING = 8
"""Guests on their way at a time; more are told to come again."""

UNREADABLE = "adapter_config.json, or another of its files, cannot be read"
"""Told instead of errors that name our folders."""

OnDemandOutcome: TypeAlias = Literal["loaded", "refused", "missing", "full", "hub"]


class OnDemandAdapters:
    """Adapters that are there because somebody asked for them by their Hub id."""

    def __init__(
        self,
        allowed: str,
        table: RoutingTable,
        loader: Loader,
        engine: Engine,
        store: AdapterCache,
        *,
        well: Callable[[], Awaitable[bool]],
        emit: Callable[[OnDemandOutcome], None],
        endpoint: str,
    ) -> None:
        """`allowed` lists organisations and repositories with commas between them; empty allows nobody."""
        self._allowed = {name.strip() for name in allowed.split(",") if name.strip()}
        self._table, self._loader, self._engine, self._store = table, loader, engine, store
        self._well, self._emit, self._endpoint = well, emit, endpoint
        self._known, self._refused = LookupCache(), LookupCache()
        self._used: dict[str, float] = {}
        """When each guest was last asked for, by its name in the engine."""
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        """What is being found out or brought, by name; whoever asks for the same waits for the same."""
        self._coming: set[str] = set()
        """Commits that are on their way; their folders stay."""
        self._looks: deque[float] = deque(maxlen=LOOKS_A_MINUTE)
        self._downloads = asyncio.Semaphore(DOWNLOADS)
        self._room = asyncio.Lock()

    async def ensure_loaded(self, model: str) -> str:
        """Makes sure that the engine has `model` if it is a Hub id that is allowed; the name that leads to it.

        Any other model is returned as it is, and so is a repository that is not there: both are unknown models.

        Raises:
            RefusedError: 422 when the adapter does not pass, 503 when there is no slot, no time or no Hub.
        """
        match = MODEL.fullmatch(model) if len(model) <= LONGEST else None
        if match is None or not self._may(match[1]):
            return model
        repo, revision = match[1], match[2] or ""
        try:
            wanted = await self._wait(f"look {model}", lambda: self._resolve(repo, revision, model))
            if wanted is None:
                self._emit("missing")
                return model
            name = f"{repo}@{short(wanted.commit)}"
            if name not in self._table.loaded:
                await self._wait(name, lambda: self._bring(repo, wanted.commit, name))
            self._used[name] = time.monotonic()
        except HttpRefusalError as error:
            outcomes: dict[str | None, OnDemandOutcome] = {"model_refused": "refused", "no_slot": "full"}
            self._emit(outcomes.get(error.code, "hub"))
            raise
        return f"{repo}@{wanted.commit}"

    def status(self) -> dict[str, Any]:
        """For /admin/status."""
        return {
            "allowed": sorted(self._allowed),
            "free_slots": self._free(),
            "loaded": {guest.name: {"in_flight": guest.in_flight} for guest in self._guests()},
            "coming": sorted(name for name in self._tasks if not name.startswith("look ")),
            "refused": len(self._refused),
        }

    async def close(self) -> None:
        """Stops whatever is on its way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _may(self, repo: str) -> bool:
        return repo in self._allowed or repo.partition("/")[0] in self._allowed

    async def _wait(self, key: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """The result of the one task for `key`, which goes on when the caller goes away."""
        task = self._tasks.get(key)
        if task is None:
            if len(self._tasks) >= COMING * 4:
                raise later("too many adapters are asked for at once; try again")
            task = self._tasks[key] = asyncio.ensure_future(work())
            task.add_done_callback(lambda done: self._over(key, done))
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(task)
        except TimeoutError:
            raise later("the adapter is on its way; try again") from None

    def _over(self, key: str, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, HttpRefusalError):
            log.error("%s failed", key, exc_info=error)

    async def _resolve(self, repo: str, revision: str, model: str) -> ResolvedRevision | None:
        """Which commit is meant; None when there is none that we may see."""
        if (known := self._known.fresh(model)) is not None:
            if known.refusal is not None:
                raise known.refusal.with_traceback(None)
            return known.wanted
        before = self._known.get(model)
        answer = await self._ask(repo, revision)
        if answer.refusal is not None and before is not None and before.wanted is not None:
            answer = CachedLookup(answer.until, before.wanted)  # the Hub is down: what it said last still holds
        self._known.keep(model, answer)
        if answer.refusal is not None:
            raise answer.refusal.with_traceback(None)
        return answer.wanted

    async def _ask(self, repo: str, revision: str) -> CachedLookup:
        now = time.monotonic()
        if len(self._looks) == LOOKS_A_MINUTE and now - self._looks[0] < 60:
            return CachedLookup(now + 1, refusal=later("too many repositories are asked for; try again", 10))
        self._looks.append(now)
        try:
            wanted = await run_in_background(LOOK_SECONDS, published_commit, repo, revision, endpoint=self._endpoint)
            return CachedLookup(now + FRESH, wanted)
        except HubError as error:
            if not error.passing and error.kind != "offline":
                return CachedLookup(now + FRESH)
            log.warning("%s", error)
            pause = max(REST, error.retry_after)
            return CachedLookup(now + pause, refusal=later("the Hub cannot be asked now; try again", pause))
        except TimeoutError:
            return CachedLookup(now + REST, refusal=later("the Hub does not answer; try again"))

    async def _bring(self, repo: str, commit: str, name: str) -> Loaded:
        """Fetches, makes room and loads. Raises RefusedError as `ensure_loaded`."""
        if (known := self._refused.fresh(name)) is not None and known.refusal is not None:
            raise known.refusal.with_traceback(None)
        if sum(not key.startswith("look ") for key in self._tasks) > COMING:
            raise later("too many adapters are on their way; try again")
        self._coming.add(commit)
        try:
            self._require_room()
            async with self._downloads:
                revision, folder = await run_in_background(DOWNLOAD_SECONDS, self._store.bring, repo, commit)
            async with self._room:
                await self._make_room()
                loaded = await self._loader.load_on_demand(revision, folder)
            self._used[name] = time.monotonic()
            self._emit("loaded")
            kept = {guest.revision.id for guest in self._guests()} | self._coming
            await asyncio.to_thread(self._store.prune, kept)
            return loaded
        except AdapterRefusedError as error:
            raise await self._not_fit(name, error) from error
        except AdapterError as error:
            raise self._not_had(name, error) from error
        except (EngineError, OSError) as error:
            log.warning("%s could not be loaded: %s", name, error or type(error).__name__)
            raise later(f"{name} could not be loaded now; try again") from error
        finally:
            self._coming.discard(commit)

    async def _not_fit(self, name: str, error: AdapterRefusedError) -> HttpRefusalError:
        if error.stage != "validation" and not await self._well():
            return later("the engine failed while it was loaded; try again")
        lasts = float("inf") if error.stage == "validation" else FORGIVEN
        if error.stage == "load":  # what the engine says about it may name our folders
            log.warning("%s was refused by %s", name, error)
            error = AdapterRefusedError("load", ["the engine does not take it"])
        return self._remember(name, lasts, refused(f"{name} was refused by {error}", error.problems))

    def _not_had(self, name: str, error: AdapterError) -> HttpRefusalError:
        if isinstance(error, HubError) and error.passing:
            log.warning("%s", error)
            pause = max(REST, error.retry_after)
            return self._remember(name, pause, later("the Hub cannot be asked now; try again", pause))
        access = isinstance(error, HubError) and error.kind not in ("no_adapter", "too_large")
        reason = str(error) if isinstance(error, HubError) else UNREADABLE
        refusal = refused(f"{name} was refused: {reason}", [reason])
        return self._remember(name, FRESH if access else float("inf"), refusal)

    def _remember(self, name: str, seconds: float, refusal: HttpRefusalError) -> HttpRefusalError:
        self._refused.keep(name, CachedLookup(time.monotonic() + seconds, refusal=refusal))
        return refusal

    # Slots

    def _guests(self) -> list[Loaded]:
        """Persona names have no slash."""
        return [loaded for loaded in self._table.loaded.values() if "/" in loaded.revision.persona]

    def _free(self) -> int:
        """Slots that nobody needs: one is for whoever is being probed, and what waits in the wings needs none."""
        unloaded = sum(wing.in_flight == 0 and self._only_waits(wing) for wing in self._table.previous.values())
        return self._engine.plan.slots - 1 - (len(self._table.loaded) - unloaded)

    def _only_waits(self, wing: Loaded) -> bool:
        trial = self._table.trials.get(wing.revision.persona)
        on_stage = wing is self._table.live.get(wing.revision.persona) or (trial is not None and wing is trial.loaded)
        return not on_stage and self._table.loaded.get(wing.name) is wing

    def _leaving(self) -> list[Loaded]:
        """Guests that may be sent away, the longest unused first."""
        latest = time.monotonic() - STAY
        idle = [g for g in self._guests() if not g.in_flight and self._used.get(g.name, 0.0) <= latest]
        return sorted(idle, key=lambda guest: self._used.get(guest.name, 0.0))

    def _require_room(self) -> None:
        if self._free() < 1 and not self._leaving():
            raise later("all slots are in use; try again", code="no_slot")

    async def _make_room(self) -> None:
        self._require_room()
        while self._free() < 1:
            self._require_room()
            guest = self._leaving()[0]
            log.info("%s makes room for another guest", guest.name)
            self._used.pop(guest.name, None)
            await self._loader.unload_on_demand(guest)
        loaded = self._table.loaded
        coming = set(self._tasks)
        self._used = {name: at for name, at in self._used.items() if name in loaded or name in coming}
