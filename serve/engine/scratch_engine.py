"""Runs a temporary vLLM: to check a training run before it starts, and to evaluate an adapter after it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from anyio import CancelScope

from serve.engine.adapter_engine import BASE_NAME
from serve.engine.vllm import Engine, EnginePlan, cores, engine_session, plan_engine
from serve.rollout.validate import validate
from understudy.bases import Base
from understudy.config.settings import Settings
from understudy.errors import BaseModelError, EngineError

Prompt = tuple[list[dict[str, str]], list[int]]
"""A chat, and the tokens that training puts before its answer."""

CANDIDATE = "candidate"
"""The name of the adapter that is loaded."""


class ScratchEngine:
    """A private engine; `async with ScratchEngine(...)` starts it, and ends it with all that it started."""

    def __init__(self, settings: Settings, base: Base, *, log: str = "scratch-engine.log") -> None:
        """Plans the engine. Raises EngineError: vLLM is not installed, or cannot serve the base."""
        # It serves no other requests, so all cores compute.
        self._plan: EnginePlan = plan_engine(settings, base, personas=0).model_copy(update={"threads": cores()})
        self._engine = Engine(self._plan, settings.logs_dir / log)
        self._timeout = settings.start_timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "ScratchEngine":
        self._session = engine_session(patient=True)
        try:
            self._engine.start()
            await self._engine.wait_ready(self._session, self._timeout)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        with CancelScope(shield=True):  # anyio cancels again at every await; the stop must finish
            await self._engine.stop()
            if self._session is not None:
                await self._session.close()

    async def same_prompts(self, prompts: Sequence[Prompt], decode: Callable[[list[int]], str]) -> str:
        """Compares the engine's tokens of each chat with training's.

        Raises:
            BaseModelError: showing where the first one differs.
            EngineError: the engine does not answer.
        """
        for number, (chat, trained) in enumerate(prompts, 1):
            served = await self._tokens(chat)
            if served != trained:
                place = next((n for n, (a, b) in enumerate(zip(served, trained, strict=False)) if a != b), None)
                place = min(len(served), len(trained)) if place is None else place
                raise BaseModelError(
                    f"prompt {number} differs at token {place}: training has "
                    f"{decode(trained[place : place + 8])!r}, the engine {decode(served[place : place + 8])!r}; "
                    "the base's chat template must give both the same tokens"
                )
        return f"{len(prompts)} prompts, {sum(len(tokens) for _, tokens in prompts):,} tokens"

    async def takes(self, adapter: Path) -> str:
        """Validates and loads an adapter, and generates one token with it.

        Raises:
            EngineError: with every reason why not.
        """
        await self.load(adapter)
        await self._engine.complete(self._running, _question([{"role": "user", "content": "Hello."}], CANDIDATE))
        await self._engine.unload(self._running, CANDIDATE)
        return f"maximum rank {self._plan.max_rank}"

    async def load(self, adapter: Path, name: str = CANDIDATE) -> None:
        """Validates and loads an adapter under a name. Raises EngineError with every reason why not."""
        problems = validate(adapter, self._plan.base, max_rank=self._plan.max_rank)
        if problems:
            raise EngineError("; ".join(problems))
        await self._engine.load(self._running, name, adapter)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Posts `body` to vLLM's API; returns its answer. Raises EngineError."""
        return await self._engine.post(self._running, path, body)

    async def _tokens(self, chat: list[dict[str, str]]) -> list[int]:
        answer = await self._engine.complete(self._running, _question(chat, BASE_NAME))
        tokens = answer.get("prompt_token_ids")
        if not isinstance(tokens, list):
            raise EngineError("the engine does not return the tokens of its prompts")
        return tokens

    @property
    def _running(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use `async with`"
        return self._session


def _question(chat: list[dict[str, str]], model: str) -> dict[str, object]:
    return {"model": model, "messages": chat, "max_tokens": 1, "temperature": 0, "return_token_ids": True}
