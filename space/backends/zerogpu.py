"""The backend without a server: base and adapters are in the Space itself, and each battle is one call of the GPU.

Revisions come and go as behind a gateway, by the same code: `serve.hub_sync` follows the Hub, `serve.rollout`
validates, proves, publishes, tries, and rolls back.
"""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from arena.votes.votes import BattleVotes
from serve.hub_sync.background import run_in_background
from serve.hub_sync.follower import FollowerContext, PollResult
from serve.hub_sync.watcher import Watcher
from serve.rollout.canary import AnswerOutcome
from serve.rollout.loader import Loader, RolloutEvent
from serve.rollout.publisher import Publisher
from serve.rollout.routing import RoutingTable, Target
from space.backends.errors import ModelServerError, Readiness, gpu_trouble
from space.backends.listing import LearningPersona, Listing, contestant_of
from space.backends.protocol import AnswerChunk, GatewayEvent, Messages, Question
from space.backends.zerogpu_adapters import ModelAdapters, place
from space.backends.zerogpu_model import BASE_ROW, ON_ZEROGPU, AdapterModel, BatchSampling
from space.i18n import Notice, notice
from space.status import BASE
from understudy.bases import resolve_base
from understudy.config.settings import Settings
from understudy.errors import EngineError, NotFoundError
from understudy.registry.adapters import short
from understudy.registry.database import open_database
from understudy.registry.hub_registry import HubRegistry

log = logging.getLogger("space.zerogpu")

LOOK = 0.5
"""Seconds between two looks for changes that a page should hear of."""
LONGEST = 900.0
"""Seconds after which an answer is given up, far beyond what a call may take."""


def zerogpu_backend(settings: Settings) -> "ZeroGpuBackend":
    """Loads the base and what is followed now. Call it when the program starts, in its main thread.

    Raises:
        BaseModelError: the base cannot be loaded.
        ConfigError: the database cannot be opened, or the personas file cannot be used.
    """
    base = resolve_base(settings.base)
    adapters = ModelAdapters(AdapterModel(base), base, settings.max_lora_rank)
    registry = HubRegistry(open_database(settings.database), settings.store_dir, settings.hub_endpoint)
    place(adapters, registry, settings)
    return ZeroGpuBackend(settings, registry, adapters)


class ZeroGpuBackend:
    """Answers from the model, as the personas that are live when a question is asked.

    `lifespan` is for the page's server; the backend belongs to that server's event loop.
    """

    def __init__(self, settings: Settings, registry: HubRegistry, adapters: ModelAdapters) -> None:
        self.adapters, self._votes, self._ready, self._changes = adapters, BattleVotes(registry.engine), False, 0
        self._poll = settings.hub_poll
        self.table = RoutingTable()
        loader = Loader(registry, self.table, adapters, drain_timeout=settings.drain_timeout, emit=self._changed)
        self.publisher = Publisher(
            registry, self.table, loader, emit=self._changed, trial_answers=settings.canary_answers
        )
        context = FollowerContext(
            registry, self.publisher, lambda: self._ready, self._changed, settings.hub_endpoint, settings.hub_poll
        )
        self.watcher = Watcher(settings.personas_file, context, lambda problem: None)
        self.watcher.prepare()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Any = None) -> AsyncIterator[None]:
        """Makes live what was live before, and follows the Hub until the end."""
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self.publisher.close()

    async def _follow(self) -> None:
        with contextlib.suppress(EngineError):  # no GPU for a proof; what it did not reach is loaded below
            await self.publisher.replay()
        self._ready = True
        await asyncio.gather(self.watcher.run(), self.publisher.count_votes(self._votes), self._load_later())

    async def _load_later(self) -> None:
        """Loads what could not be loaded at the start, once the Hub or a GPU is there again."""
        while True:
            await self.publisher.load_unloaded()
            await asyncio.sleep(self._poll)

    async def readiness(self) -> Readiness:
        return Readiness(status="ready")

    async def listing(self) -> Listing:
        sampling = self.adapters.model.sampling
        found = [contestant_of({"id": BASE.name, "understudy": {**BASE.model_dump(), "sampling": sampling}})]
        for name, loaded in sorted(self.table.live.items()):
            about = self.table.about(name, loaded.revision, sampling)
            found.append(contestant_of({"id": name, "understudy": about}))
        return Listing(contestants=tuple(found), learners=tuple(self._learners()))

    def stream(
        self, contestant: str, messages: Messages, *, temperature: float, max_tokens: int, **more: Any
    ) -> AsyncGenerator[AnswerChunk]:
        """Streams one answer."""
        question = Question(contestant, messages)
        return self.battle([question], temperature=temperature, max_tokens=max_tokens, **more)[0]

    def battle(
        self,
        questions: Sequence[Question],
        *,
        temperature: float,
        max_tokens: int,
        seed: int | None = None,
        user: str = "",
    ) -> list[AsyncGenerator[AnswerChunk]]:
        """Streams the answers of one battle from one call; it begins when the first of them is read."""
        sampling = BatchSampling(temperature, max_tokens, seed)
        call = _Call(self, questions, sampling, user)
        return [call.row(number) for number in range(len(questions))]

    async def events(self, last: str = "") -> AsyncGenerator[GatewayEvent]:
        """Tells of every change; never ends by itself."""
        seen = int(last) if last.isdecimal() else self._changes
        yield GatewayEvent()
        while True:
            if seen != self._changes:
                seen = self._changes
                yield GatewayEvent(id=str(seen), kind="live")
            await asyncio.sleep(LOOK)

    def _changed(self, it: RolloutEvent | PollResult) -> None:
        """Counts what a page should hear of."""
        self._changes += not (isinstance(it, PollResult) and it.outcome == "same")

    def _learners(self) -> Iterator[LearningPersona]:
        """Personas that are not live yet, and commits that were refused."""
        for name, at in self.watcher.status()["personas"].items():
            commit = (at["wanted"] or {}).get("commit", "")
            if at["refused"] or (at["last_error"] and name not in self.table.live):
                title = f"{name}@{short(commit)}" if at["refused"] else name
                reason = at["last_error"].removeprefix(f"{title} was refused by ")
                yield LearningPersona(persona=name, title=title, state="refused", reason=reason)
            elif commit and name not in self.table.live:
                yield LearningPersona(persona=name, title=name, state="publishing")


class _Call:
    """One call of the GPU, whose rows are read by as many tasks. It ends when the last of them stops reading."""

    def __init__(
        self, backend: ZeroGpuBackend, questions: Sequence[Question], sampling: BatchSampling, user: str
    ) -> None:
        self._backend, self._questions, self._sampling, self._user = backend, questions, sampling, user
        self._queues: list[asyncio.Queue[AnswerChunk | ModelServerError | None]] = [asyncio.Queue() for _ in questions]
        self._running: asyncio.Task[None] | None = None
        self._reading = 0

    async def row(self, number: int) -> AsyncGenerator[AnswerChunk]:
        """The answer to that question."""
        if self._running is None:
            # In this event's context: ZeroGPU finds the visitor, whose quota it is, in Gradio's request.
            self._running = asyncio.create_task(self._run())
        self._reading += 1
        try:
            while (piece := await self._queues[number].get()) is not None:
                if isinstance(piece, ModelServerError):
                    raise piece
                yield piece
        finally:
            self._reading -= 1

    async def _run(self) -> None:
        """Answers as the revisions that are live now; they are kept until the end."""
        end: ModelServerError | None = None
        table, publisher = self._backend.table, self._backend.publisher
        try:
            with contextlib.ExitStack() as leases:
                targets = [leases.enter_context(table.lease(one.contestant, self._user)) for one in self._questions]
                for queue, target in zip(self._queues, targets, strict=True):
                    queue.put_nowait(_chunk("", target))
                loop = asyncio.get_running_loop()

                def tell(row: int, text: str) -> None:
                    loop.call_soon_threadsafe(self._queues[row].put_nowait, _chunk(text, targets[row]))

                run = contextvars.copy_context().run
                outcomes = await run_in_background(LONGEST, run, self._answer, targets, tell)
                for target, outcome in zip(targets, outcomes, strict=False):
                    publisher.answered(target.loaded, outcome)
        except NotFoundError:
            end = ModelServerError(notice("error_model_not_found"))
        except ModelServerError as error:
            end = error
        except Exception as error:
            end = ModelServerError(_why(error))
        for queue in self._queues:
            queue.put_nowait(end)

    def _answer(self, targets: Sequence[Target], tell: Callable[[int, str], None]) -> list[AnswerOutcome]:
        """Streams all rows to `tell`, in a thread of its own; returns how they ended, or nothing if nobody reads."""
        model, began = self._backend.adapters.model, time.monotonic()
        try:
            prompts = [model.encode(one.messages) for one in self._questions]
        except ValueError as error:
            raise ModelServerError(Notice(words=str(error))) from error
        if max(len(prompt) for prompt in prompts) >= model.context:
            raise ModelServerError(notice("error_too_long"))
        told, counts = [""] * len(prompts), [0] * len(prompts)
        names = [target.engine_name if target.loaded else BASE_ROW for target in targets]
        with contextlib.closing(self._backend.adapters.answers(prompts, names, self._sampling)) as answers:
            for answer in answers:
                counts = [len(tokens) for tokens, _ in answer]
                for row, (_, text) in enumerate(answer):
                    if len(text) > len(told[row]):
                        tell(row, text[len(told[row]) :])
                        told[row] = text
                if not self._reading:
                    return []
        took = time.monotonic() - began
        return [AnswerOutcome(failed=not t, tokens=n, seconds=took) for t, n in zip(told, counts, strict=True)]


def _chunk(text: str, target: Target) -> AnswerChunk:
    return AnswerChunk(text=text, revision=target.revision if target.loaded else "")


def _why(error: Exception) -> Notice:
    """What a visitor is told about a call that failed."""
    trouble = gpu_trouble(error, on_zerogpu=ON_ZEROGPU)
    if trouble in ("ended", "failed"):
        log.error("the model failed: %s", error, exc_info=error)
        return notice("error_engine_error")
    return notice(f"error_{trouble}")
