"""Any adapter by its Hub id: `org/name` or `org/name@revision` as the model of a request, for organisations on a list.

Such an adapter gets a slot that nothing else needs; a persona is never unloaded for it. It is validated and probed like
any other, pinned to the commit, and unloaded when another one needs its slot.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

from serve.engine.vllm import Engine
from serve.http.errors import HttpRefusalError
from serve.hub_sync.adapter_cache import AdapterCache
from serve.hub_sync.background import run_in_background
from serve.hub_sync.commit_lookup import FRESH, PAUSE, CommitLookup
from serve.rollout.load_queue import LoadQueue
from serve.rollout.loaded import Loaded
from serve.rollout.loader import AdapterRefusedError, Loader
from serve.rollout.routing import RoutingTable
from understudy.errors import AdapterError, EngineError, HubError
from understudy.registry.adapters import short
from understudy.registry.hub import REPO

log = logging.getLogger("understudy.on_demand")

MODEL = re.compile(rf"({REPO.pattern})(?:@([A-Za-z0-9][\w.-]{{0,99}}))?", re.ASCII)
"""A model of a request that is a Hub id. Nothing that fits is a path."""

LONGEST = 300
"""Characters of the longest Hub id; a longer model name is unknown, and is not remembered either."""

REFUSED_FOR = 600.0
"""Seconds after which an adapter that the probe refused is tried again: on a busy machine it may have been slow."""

DOWNLOAD_SECONDS = 1800.0

MIN_STAY = 2.0
"""Seconds that an adapter keeps its slot after its last request began, even if another one needs it."""

DOWNLOADS = 2
"""Downloads at a time."""

MAX_LOADING = 8
"""Adapters being fetched or loaded at a time; further requests are refused with 503."""

UNREADABLE = "adapter_config.json, or another of its files, cannot be read"
"""Sent instead of errors that name our folders."""

OnDemandOutcome: TypeAlias = Literal["loaded", "refused", "missing", "full", "hub"]


class OnDemandAdapters:
    """Adapters that are loaded because a request named their Hub id."""

    def __init__(
        self,
        allowed: str,
        table: RoutingTable,
        loader: Loader,
        engine: Engine,
        cache: AdapterCache,
        *,
        engine_healthy: Callable[[], Awaitable[bool]],
        emit: Callable[[OnDemandOutcome], None],
        endpoint: str,
    ) -> None:
        """`allowed` lists organisations and repositories with commas between them; empty allows nobody."""
        self._allowed = {name.strip() for name in allowed.split(",") if name.strip()}
        self._table, self._loader, self._engine, self._cache = table, loader, engine, cache
        self._engine_healthy, self._emit = engine_healthy, emit
        self._lookup = CommitLookup(endpoint)
        self._queue: LoadQueue[Loaded] = LoadQueue("adapters", MAX_LOADING, reason="hub")
        self._used: dict[str, float] = {}
        """When each adapter was last asked for, by its name in the engine."""
        self._loading: set[str] = set()
        """Commits that are being fetched or loaded; their folders stay."""
        self._downloads = asyncio.Semaphore(DOWNLOADS)
        self._slots = asyncio.Lock()

    async def ensure_loaded(self, model: str) -> str:
        """Loads the adapter if `model` is an allowed Hub id; returns the name under which the table knows it.

        Any other model is returned as it is, and so is a repository that is not there: both are unknown models.

        Raises:
            HttpRefusalError: 422 when the adapter does not pass, 503 when there is no slot, no time or no Hub.
        """
        match = MODEL.fullmatch(model) if len(model) <= LONGEST else None
        if match is None or not self._is_allowed(match[1]):
            return model
        repo = match[1]
        try:
            found = await self._lookup.commit(model, repo, match[2] or "")
            if found is None:
                self._emit("missing")
                return model
            name = f"{repo}@{short(found.commit)}"
            if name not in self._table.loaded:
                await self._queue.run(name, lambda: self._load(repo, found.commit, name))
            self._used[name] = time.monotonic()
        except HttpRefusalError as error:
            outcomes: dict[str | None, OnDemandOutcome] = {"model_refused": "refused", "no_slot": "full"}
            self._emit(outcomes.get(error.code, "hub"))
            raise
        return f"{repo}@{found.commit}"

    def status(self) -> dict[str, Any]:
        """For /admin/status."""
        return {
            "allowed": sorted(self._allowed),
            "free_slots": self._free_slots(),
            "loaded": {adapter.name: {"in_flight": adapter.in_flight} for adapter in self._loaded()},
            "coming": self._queue.loading,
            "refused": self._queue.refused,
        }

    async def close(self) -> None:
        """Cancels what is being looked up or loaded."""
        await self._lookup.close()
        await self._queue.close()

    def _is_allowed(self, repo: str) -> bool:
        return repo in self._allowed or repo.partition("/")[0] in self._allowed

    async def _load(self, repo: str, commit: str, name: str) -> Loaded:
        """Fetches the adapter, frees a slot and loads. Raises HttpRefusalError as `ensure_loaded`."""
        self._loading.add(commit)
        try:
            self._require_slot()
            async with self._downloads:
                revision, folder = await run_in_background(DOWNLOAD_SECONDS, self._cache.fetch, repo, commit)
            async with self._slots:
                await self._free_slot()
                loaded = await self._loader.load_on_demand(revision, folder)
            self._used[name] = time.monotonic()
            self._emit("loaded")
            kept = {adapter.revision.id for adapter in self._loaded()} | self._loading
            await asyncio.to_thread(self._cache.prune, kept)
            return loaded
        except AdapterRefusedError as error:
            raise await self._did_not_pass(name, error) from error
        except AdapterError as error:
            raise self._not_fetched(name, error) from error
        except (EngineError, OSError) as error:
            log.warning("%s could not be loaded: %s", name, error or type(error).__name__)
            raise self._queue.not_ready(f"{name} could not be loaded now; try again") from error
        finally:
            self._loading.discard(commit)

    async def _did_not_pass(self, name: str, error: AdapterRefusedError) -> HttpRefusalError:
        if error.stage != "validation" and not await self._engine_healthy():
            return self._queue.not_ready(f"the engine failed while it loaded {name}; try again")
        seconds = float("inf") if error.stage == "validation" else REFUSED_FOR
        if error.stage == "load":  # the engine's message may name our folders
            log.warning("%s was refused by %s", name, error)
            error = AdapterRefusedError("load", ["the engine does not accept it"])
        return self._queue.refuse(name, _refused(f"{name} was refused by {error}", error.problems), seconds)

    def _not_fetched(self, name: str, error: AdapterError) -> HttpRefusalError:
        if isinstance(error, HubError) and error.passing:
            log.warning("%s", error)
            seconds = max(PAUSE, error.retry_after)
            refusal = self._queue.not_ready("the Hub cannot be asked now; try again", seconds)
            return self._queue.refuse(name, refusal, seconds)
        access = isinstance(error, HubError) and error.code not in ("no_adapter", "too_large")
        reason = str(error) if isinstance(error, HubError) else UNREADABLE
        refusal = _refused(f"{name} was refused: {reason}", [reason])
        return self._queue.refuse(name, refusal, FRESH if access else float("inf"))

    def _loaded(self) -> list[Loaded]:
        """Adapters that were loaded by their Hub id: names of personas have no slash."""
        return [loaded for loaded in self._table.loaded.values() if "/" in loaded.revision.persona]

    def _free_slots(self) -> int:
        """Slots that nothing needs: one is kept for the candidate being probed; idle previous revisions need none."""
        idle = sum(one.in_flight == 0 and self._is_only_previous(one) for one in self._table.previous.values())
        return self._engine.plan.slots - 1 - (len(self._table.loaded) - idle)

    def _is_only_previous(self, previous: Loaded) -> bool:
        """Whether it is loaded for a rollback and for nothing else."""
        persona = previous.revision.persona
        trial = self._table.trials.get(persona)
        answers = previous is self._table.live.get(persona) or (trial is not None and previous is trial.loaded)
        return not answers and self._table.loaded.get(previous.name) is previous

    def _unloadable(self) -> list[Loaded]:
        """Adapters that may be unloaded for another one, the longest unused first."""
        latest = time.monotonic() - MIN_STAY
        idle = [one for one in self._loaded() if not one.in_flight and self._used.get(one.name, 0.0) <= latest]
        return sorted(idle, key=lambda one: self._used.get(one.name, 0.0))

    def _require_slot(self) -> None:
        if self._free_slots() < 1 and not self._unloadable():
            raise self._queue.not_ready("all slots are in use; try again", code="no_slot")

    async def _free_slot(self) -> None:
        """Unloads adapters until there is a slot. Raises HttpRefusalError as `_require_slot`."""
        self._require_slot()
        while self._free_slots() < 1:
            self._require_slot()
            adapter = self._unloadable()[0]
            log.info("%s is unloaded for another adapter", adapter.name)
            self._used.pop(adapter.name, None)
            await self._loader.unload_on_demand(adapter)
        kept = self._table.loaded.keys() | set(self._queue.loading)
        self._used = {name: at for name, at in self._used.items() if name in kept}


def _refused(message: str, reasons: list[str]) -> HttpRefusalError:
    """422: the adapter does not pass, and these are the reasons."""
    return HttpRefusalError(422, message, reason="hub", param="model", code="model_refused", reasons=reasons)
