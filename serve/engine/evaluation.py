"""Evaluates an adapter on the running engine for an admin, while the engine serves no other request."""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any, Literal

import aiohttp
from pydantic import BaseModel, ConfigDict, Field

from serve.engine.adapter_engine import BASE_NAME
from serve.engine.vllm import Engine
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

IDLE_REQUESTS, BUSY_REQUESTS = 48, 2
"""Requests sent to the engine at once: while there is no other traffic, and while there was some lately. A step of the
engine takes longer the more answers it computes, and a request that arrives waits for the current step."""
RECENT = 30.0
"""Seconds after the last served answer in which more requests are expected."""
QUIET = 0.3
"""Seconds without traffic before it continues: requests begun in every short gap would be cancelled again."""
ABANDONED = 60.0
"""Seconds without a request, waiting ones included, after which an evaluation counts as abandoned."""


class EvaluationRequest(BaseModel):
    """Body of POST /admin/evaluation."""

    model_config = ConfigDict(extra="forbid")

    persona: str = Field(pattern=NAME)
    revision: str = Field(pattern="^[0-9a-f]{12,64}$")
    base: str = Field(max_length=200)
    """The base that it was trained on; any other base is refused."""
    base_revision: str = Field(default="", max_length=64)


class Evaluations:
    """One evaluation at a time. It belongs to one event loop."""

    def __init__(
        self,
        engine: Engine,
        session: aiohttp.ClientSession,
        registry: Registry,
        traffic: "Traffic",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._session, self._registry = engine, session, registry
        self._traffic, self._clock = traffic, clock
        self._name, self._used = "", 0.0
        self._running = self._asked = 0
        self._room = asyncio.Condition()

    async def load(self, wanted: EvaluationRequest) -> str:
        """Validates and loads a registered revision; returns its name for this evaluation.

        Raises:
            NotFoundError: there is no such revision here.
            PublishError: this engine has another base, another evaluation is running, or the adapter is not valid.
            EngineError: the engine does not load it.
        """
        base = self._engine.plan.base
        served = base_revision(base) or ""
        if wanted.base != base.name or (wanted.base_revision and wanted.base_revision != served):
            raise PublishError(f"this gateway serves {base.name}@{served or '?'}, not {wanted.base}")
        if self._name and (self._asked or self._clock() - self._used < ABANDONED):
            raise PublishError("another evaluation is running; try again when it is over")
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
        """Unloads the adapter that is evaluated; does nothing without an evaluation."""
        name, self._name = self._name, ""
        if name:
            await self._engine.unload(self._session, name)

    async def ask(self, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
        """Returns the engine's answer; starts again whenever other traffic arrives, so it may take long.

        Raises:
            NotFoundError: `body` names neither the base nor the adapter that is evaluated.
            EngineError: the engine cannot answer.
        """
        if body.get("model") not in {BASE_NAME, self._name}:
            raise NotFoundError(f"model {body.get('model')!r} is not being evaluated; load it first")
        if body.get("stream"):
            raise NotFoundError("an evaluation cannot stream")
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
        """Returns the answer, or None when other traffic arrived first and the request was cancelled."""
        asked = asyncio.ensure_future(self._engine.post(self._session, path, body))
        interrupted = asyncio.ensure_future(self._traffic.busy())
        try:
            await asyncio.wait({asked, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            return asked.result() if asked.done() else None
        finally:
            for task in (asked, interrupted):
                task.cancel()

    async def _enter(self) -> None:
        """Waits until there is no other traffic and fewer requests than the limit run."""
        while True:
            await self._traffic.quiet(QUIET)
            most = BUSY_REQUESTS if self._traffic.seconds_since < RECENT else IDLE_REQUESTS
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
    """Knows whether requests are being served. It belongs to one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._served, self._last = clock, 0, -1e9
        self._busy, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    @property
    def seconds_since(self) -> float:
        """Seconds since a request was served; 0 while one is."""
        return 0.0 if self._served else self._clock() - self._last

    def __enter__(self) -> None:
        self._served += 1
        self._busy.set()
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._served -= 1
        self._last = self._clock()
        if not self._served:
            self._busy.clear()
            self._idle.set()

    async def busy(self) -> None:
        """Returns as soon as a request is served."""
        await self._busy.wait()

    async def quiet(self, seconds: float) -> None:
        """Returns when no request has been served for so long."""
        while (left := seconds - self.seconds_since) > 0:
            await self._idle.wait()
            await asyncio.sleep(max(0.0, min(left, seconds)))
