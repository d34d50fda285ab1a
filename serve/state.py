"""Assembles the gateway's parts, and turns what happens in them into models, metrics and events."""

import asyncio
import logging
from typing import Any

import aiohttp
from sqlalchemy.exc import SQLAlchemyError

from serve.engine.adapter_engine import BASE_NAME
from serve.engine.evaluation import Evaluations, Traffic
from serve.engine.fair_scheduler import FairScheduler
from serve.engine.remote import RemoteEngine, plan_remote
from serve.engine.supervisor import Status, Supervisor
from serve.engine.vllm import Engine, plan_engine, slots_for
from serve.events import EventStream
from serve.http.auth import Authenticator
from serve.hub_sync.adapter_cache import AdapterCache, cache_folder
from serve.hub_sync.follower import FollowerContext, PollResult
from serve.hub_sync.on_demand import OnDemandAdapters
from serve.hub_sync.watcher import Watcher
from serve.learning import LearningRegistry
from serve.metrics import Metrics
from serve.openai_api.chat_template import ChatTemplate, chat_template
from serve.rollout.lazy_load import LazyLoader
from serve.rollout.loader import Loader, RolloutEvent
from serve.rollout.publisher import Publisher
from serve.rollout.routing import RoutingTable
from serve.rollout.vllm_adapters import VllmAdapters
from understudy.bases import resolve_base
from understudy.bases.sampling import base_sampling
from understudy.config.settings import Settings
from understudy.errors import NotFoundError
from understudy.registry.adapters import short
from understudy.registry.api_keys import KeyStore
from understudy.registry.records import Revision
from understudy.registry.registry import open_registry
from understudy.statistics.sequential import VoteSource

log = logging.getLogger("understudy.gateway")

NOTE_USE = 60.0
"""Seconds between two writes of when each persona was last asked."""


class Gateway:
    """Everything that the routes need; created when the application starts."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, votes: VoteSource | None) -> None:
        self.settings, self.session, self.votes = settings, session, votes
        self.table, self.metrics = RoutingTable(), Metrics()
        self.events, self.learning = EventStream(), LearningRegistry()
        self.registry = open_registry(settings)
        self.authenticator = Authenticator(settings, KeyStore(self.registry.engine))
        self.engine = self._make_engine()
        plan = self.engine.plan
        self._sampling = base_sampling(plan.base)
        self._template: tuple[ChatTemplate | None] | None = None
        self.scheduler = FairScheduler(max(1, plan.slots - 1))  # one is kept for the candidate being probed
        loader = Loader(
            self.registry,
            self.table,
            VllmAdapters(self.engine, session),
            drain_timeout=settings.drain_timeout,
            emit=self._emit,
        )
        self.publisher = Publisher(
            self.registry, self.table, loader, emit=self._emit, trial_answers=settings.canary_answers
        )
        self.lazy_loader = LazyLoader(self.table, self.publisher.load_live)
        self.supervisor = Supervisor(
            self.engine,
            self.publisher,
            session,
            settings.start_timeout,
            size=self._size,
            on_change=self._engine_changed,
        )
        self.traffic = Traffic()
        self.evaluations = Evaluations(self.engine, session, self.registry, self.traffic)
        self.metrics.watch_adapters(lambda: len(self.table.loaded), plan.slots)
        self.on_demand = self._make_on_demand(loader)
        self.watcher = self._make_watcher()
        self.watcher.prepare()

    def chat_template(self) -> ChatTemplate | None:
        """The base's, read once the engine is ready: a base of the Hub is in the cache then."""
        if self._template is None and self.supervisor.status.answers:
            self._template = (chat_template(self.engine.plan.base),)
        return self._template[0] if self._template else None

    def _make_engine(self) -> Engine:
        """Our own engine, or the one at UNDERSTUDY_ENGINE_URL."""
        settings, personas = self.settings, self.registry.count()
        if settings.engine_url:
            return RemoteEngine(plan_remote(settings, resolve_base(settings.base), personas), settings.engine_url)
        plan = plan_engine(settings, resolve_base(settings.base), personas)
        return Engine(plan, settings.logs_dir / "engine.log")

    def _make_watcher(self) -> Watcher:
        settings = self.settings
        context = FollowerContext(
            registry=self.registry,
            publisher=self.publisher,
            ready=lambda: self.supervisor.status.status == "ready",
            engine_healthy=self._engine_healthy,
            emit=self._polled,
            endpoint=settings.hub_endpoint,
            poll=settings.hub_poll,
        )
        return Watcher(settings.personas_file, context, lambda problem: self.metrics.follow_file(bool(problem)))

    def _make_on_demand(self, loader: Loader) -> OnDemandAdapters | None:
        """None when no organisation's adapters may be asked for by their Hub id."""
        settings, endpoint = self.settings, self.settings.hub_endpoint
        if not settings.hub_orgs.strip(" ,"):
            return None
        cache = AdapterCache(cache_folder(settings), settings.hub_store_bytes, endpoint)
        return OnDemandAdapters(
            settings.hub_orgs,
            self.table,
            loader,
            self.engine,
            cache,
            engine_healthy=self._engine_healthy,
            emit=self.metrics.on_demand,
            endpoint=endpoint,
        )

    async def _engine_healthy(self) -> bool:
        return await self.engine.healthy(self.session)

    async def ensure_loaded(self, model: str) -> str:
        """Loads `model` if it is a Hub id or an unloaded persona; returns the name under which the table knows it.

        Raises:
            HttpRefusalError: as `OnDemandAdapters.ensure_loaded` and `LazyLoader.ensure_loaded`.
        """
        if "/" not in model:  # as in every persona's name
            await self.lazy_loader.ensure_loaded(model)
        elif self.on_demand is not None:
            return await self.on_demand.ensure_loaded(model)
        return model

    async def note_use(self) -> None:
        """Stores when personas were last asked, again and again until cancelled."""
        while True:
            await asyncio.sleep(NOTE_USE)
            await asyncio.to_thread(self.write_use)

    def write_use(self) -> None:
        """Stores which personas were asked since the last write; blocks on the database."""
        used, self.table.used = self.table.used, {}
        try:
            self.registry.used({name: at for name, at in used.items() if "/" not in name})
        except SQLAlchemyError as error:
            log.warning("the use of personas could not be stored: %s", type(error).__name__)

    def models(self) -> list[dict[str, Any]]:
        """What /v1/models lists: the base and every live persona, each with its card."""
        return [self._base(), *(self._persona(name, revision) for name, revision in self.table.shown().items())]

    def model(self, name: str) -> dict[str, Any]:
        """One entry of `models`. Raises NotFoundError."""
        if name == BASE_NAME:
            return self._base()
        live = self.table.live.get(name)
        revision = live.revision if live else self.table.unloaded.get(name)
        if revision is None:
            raise NotFoundError(f"model {name!r} does not exist")
        return self._persona(name, revision)

    def _base(self) -> dict[str, Any]:
        base = {
            "kind": "base",
            "title": "Base",
            "voice": "The base model, without any adapter.",
            "revision": "",
        }
        return _model(
            BASE_NAME, 0, base | {"base": self.engine.plan.base.name, "prompts": [], "sampling": self._sampling}
        )

    def _persona(self, name: str, revision: Revision) -> dict[str, Any]:
        about = self.table.about(name, revision, self._sampling)
        if name in self.table.unloaded:
            about["unloaded"] = about["resting"] = True  # the latter is the older name
        return _model(name, int(revision.created_at.timestamp()), about)

    def _size(self) -> int:
        """Counts the slots for the engine's next start from the registry; blocks on the database."""
        slots = slots_for(self.settings, self.registry.count())
        self.scheduler.capacity = max(1, slots - 1)
        self.metrics.watch_adapters(lambda: len(self.table.loaded), slots)
        return slots

    def _engine_changed(self, before: Status, status: Status, seconds: float) -> None:
        """Passes a change of the engine to metrics and events; `seconds` since its start."""
        if status.status == "ready":
            self.metrics.engine_ready(seconds)
            kept = {(x.revision.persona, short(x.revision.id)) for x in self.table.loaded.values()}
            self.metrics.forget_others(kept)
        elif status.status == "loading":
            self.events.announce("engine_ready", "", "", "The engine is ready.")
        elif status.status == "starting" and before.status != "starting":
            self.metrics.engine_starting()
        elif status.status == "down":
            self.metrics.engine_down()
            self.events.announce("engine_down", "", "", status.detail)

    def _polled(self, it: PollResult) -> None:
        """Passes the result of polling a persona's repository to metrics and events."""
        self.metrics.polled(it.persona, it.outcome, it.failing)
        if it.announce:
            title = self.table.cards.get(it.persona, {}).get("title", it.persona)
            text = f"{title}: its repository cannot be used now ({it.outcome}); the live revision stays."
            self.events.announce("hub_trouble", it.persona, "", text, title=title)

    def _emit(self, it: RolloutEvent) -> None:
        """Passes what happened to a persona to metrics and events."""
        revision, persona, metrics = short(it.revision), it.persona, self.metrics
        title = self.table.cards.get(persona, {}).get("title", persona)
        facts = {"previous": short(it.previous or ""), "title": title}
        if it.kind == "ordered":
            metrics.prepare(persona, revision)
        elif it.kind == "unloaded":
            metrics.forget(persona, revision)
        elif it.kind == "rejected":
            metrics.rejected(persona, it.stage)
            text = f"{title}: a new revision was refused ({it.stage}); the live revision stays."
            self.events.announce("refused", persona, revision, text, **facts)
        elif it.kind == "canary":
            metrics.canary(persona, it.share)
            share = f"{100 * it.share:g}%"
            self.events.announce(
                "canary", persona, revision, f"{title}: a new revision is on trial ({share}).", **facts
            )
        elif it.kind == "withdrawn":
            metrics.canary(persona, 0)
            metrics.canary_decided(persona, "rolled_back")
            metrics.rolled_back(persona, "canary" if it.reason == "canary" else "manual")
            text = f"{title}: the revision on trial was withdrawn."
            self.events.announce("rolled_back", persona, revision, text, **facts)
        else:
            self._emit_live(it, revision, title, facts)

    def _emit_live(self, it: RolloutEvent, revision: str, title: str, facts: dict[str, str]) -> None:
        persona, metrics = it.persona, self.metrics
        metrics.canary(persona, 0)
        if it.kind == "rolled_back":
            metrics.swapped(persona, "rollback", it.seconds)
            metrics.rolled_back(persona, "manual")
            self.events.announce("rolled_back", persona, revision, f"{title} went back to {revision}.", **facts)
        elif it.kind == "promoted":
            metrics.swapped(persona, "promote", it.seconds)
            metrics.canary_decided(persona, "promoted")
            text = f"{title}: the revision on trial passed and is live now."
            self.events.announce("promoted", persona, revision, text, **facts)
        else:
            metrics.swapped(persona, "publish", it.seconds)
            self.events.announce("live", persona, revision, f"A new revision of {title} just went live.", **facts)


def _model(name: str, created: int, about: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "understudy", "understudy": about}
