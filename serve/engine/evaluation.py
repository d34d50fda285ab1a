"""Lets an admin evaluate an adapter on the running engine, in the moments in which it serves nobody."""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any, Literal

import aiohttp
from pydantic import BaseModel, ConfigDict, Field

from serve.engine.vllm import BASE_NAME, Engine
from serve.rollout.validate import validate
from understudy.bases import base_revision
from understudy.config.recipe import NAME
from understudy.errors import NotFoundError, PublishError
from understudy.registry.registry import Registry

Operation = Literal["tokenize", "chat", "completions"]
PATHS: dict[Operation, str] = {
    "tokenize": "/tokenize",
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
}

ALONE, IN_COMPANY = 48, 4
"""Requests that the engine gets at once: while nobody else asks it, and while people come and go. A step of the
engine takes longer the more answers it works at, and somebody who comes waits for the step that is being made."""
COMPANY = 30.0
"""Seconds after somebody's answer in which others are expected."""
QUIET = 0.3
"""Seconds without anybody before it goes on: what is begun in every gap is broken off again."""
ABANDONED = 60.0
"""Seconds without a request, waiting ones included, after which an evaluation is taken for dead."""


class EvaluationRequest(BaseModel):
    """Body of POST /admin/evaluation."""

    model_config = ConfigDict(extra="forbid")

    persona: str = Field(pattern=NAME)
    revision: str = Field(pattern="^[0-9a-f]{12,64}$")
    base: str = Field(max_length=200)
    """The base that it was trained on, by name and revision: another one is refused."""
    base_revision: str = Field(default="", max_length=64)


class Evaluations:
    """One evaluation at a time. It belongs to one event loop."""

    def __init__(
        self,
        engine: Engine,
        session: aiohttp.ClientSession,
        registry: Registry,
        busy: "Traffic",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._session, self._registry = engine, session, registry
        self._traffic, self._clock = busy, clock
        self._name, self._used = "", 0.0
        self._running = self._asked = 0
        self._room = asyncio.Condition()

    async def load(self, wanted: EvaluationRequest) -> str:
        """Validates and loads a registered revision under a name of its own, which it returns.

        Raises:
            NotFoundError: there is no such revision here.
            PublishError: this engine has another base, another evaluation goes on, or the adapter is not valid.
            EngineError: the engine does not take it.
        """
        base = self._engine.plan.base
        mine = base_revision(base) or ""
        if wanted.base != base.name or (wanted.base_revision and wanted.base_revision != mine):
            raise PublishError(f"this gateway serves {base.name}@{mine or '?'}, not {wanted.base}")
        if self._name and (self._asked or self._clock() - self._used < ABANDONED):
            raise PublishError("another evaluation goes on; try again when it is over")
        if self._name:
            await self.unload()
        self._name, self._used = f"evaluation-{uuid.uuid4().hex[:8]}", self._clock()
        try:
            revision = await asyncio.to_thread(self._registry.revision, wanted.persona, wanted.revision)
            folder = self._registry.path(revision)
            rank = self._engine.plan.max_rank
            problems = await asyncio.to_thread(validate, folder, base, max_rank=rank)
            if problems:
                raise PublishError(f"{revision.served_name} cannot be served: {problems[0]}", problems)
            await self._engine.load(self._session, self._name, folder)
        except BaseException:
            self._name = ""
            raise
        return self._name

    async def unload(self) -> None:
        """Unloads the adapter that is evaluated. Without an evaluation it does nothing."""
        name, self._name = self._name, ""
        if name:
            await self._engine.unload(self._session, name)

    async def ask(self, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
        """What the engine answers; begun anew whenever somebody else comes, so it may take long.

        Raises:
            NotFoundError: `body` names neither the base nor the adapter that is evaluated.
            EngineError: the engine cannot answer.
        """
        if body.get("model") not in {BASE_NAME, self._name}:
            raise NotFoundError(f"model {body.get('model')!r} is not evaluated here; load it first")
        if body.get("stream"):
            raise NotFoundError("an evaluation does not stream")
        self._asked += 1
        try:
            while True:
                await self._enter()
                try:
                    answer = await self._unless_interrupted(PATHS[operation], body)
                finally:
                    await self._leave()
                if answer is not None:
                    return answer
        finally:
            self._asked, self._used = self._asked - 1, self._clock()

    async def _unless_interrupted(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None when somebody else came first, for whom the engine drops it."""
        asked = asyncio.ensure_future(self._engine.post(self._session, path, body))
        somebody = asyncio.ensure_future(self._traffic.somebody())
        try:
            await asyncio.wait({asked, somebody}, return_when=asyncio.FIRST_COMPLETED)
            return asked.result() if asked.done() else None
        finally:
            for task in (asked, somebody):
                task.cancel()

    async def _enter(self) -> None:
        """Waits until nobody else is served and there is room."""
        while True:
            await self._traffic.quiet(QUIET)
            most = IN_COMPANY if self._traffic.seconds_since < COMPANY else ALONE
            if self._running < most:
                self._running += 1
                return
            async with self._room:
                await self._room.wait()

    async def _leave(self) -> None:
        self._running -= 1
        async with self._room:
            self._room.notify_all()


class Traffic:
    """Whether anybody is being served. It belongs to one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._served, self._last = clock, 0, -1e9
        self._come, self._gone = asyncio.Event(), asyncio.Event()
        self._gone.set()

    @property
    def seconds_since(self) -> float:
        """Since somebody was served; 0 while somebody is."""
        return 0.0 if self._served else self._clock() - self._last

    def __enter__(self) -> None:
        self._served += 1
        self._come.set()
        self._gone.clear()

    def __exit__(self, *_: object) -> None:
        self._served -= 1
        self._last = self._clock()
        if not self._served:
            self._come.clear()
            self._gone.set()

    async def somebody(self) -> None:
        """Returns as soon as somebody is served."""
        await self._come.wait()

    async def quiet(self, seconds: float) -> None:
        """Returns when nobody has been served for so long."""
        while (left := seconds - self.seconds_since) > 0:
            await self._gone.wait()
            await asyncio.sleep(max(0.0, min(left, seconds)))
