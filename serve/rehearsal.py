"""Before anything is trained: does a real engine see the prompts that training sees, and take the planned adapter?
After that: what does the real adapter say through it?"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
from anyio import CancelScope

from serve.engine import BASE_NAME, Engine, EnginePlan, plan_engine
from serve.validate import validate
from understudy.bases import Base
from understudy.errors import EngineError, PromptsDifferError
from understudy.proof import Said
from understudy.settings import Settings

Prompt = tuple[list[dict[str, str]], list[int]]
"""A chat, and the tokens that training puts before its answer."""

PLANNED = "planned"


class Rehearsal:
    """A private engine that is asked; `async with Rehearsal(...)`."""

    def __init__(self, settings: Settings, base: Base) -> None:
        """Plans it. Raises EngineError: vLLM is not installed, or cannot serve that."""
        self._plan: EnginePlan = plan_engine(settings, base, personas=0)
        self._engine = Engine(self._plan, settings.logs_dir / "rehearsal.log")
        self._timeout = settings.start_timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Rehearsal":
        self._session = aiohttp.ClientSession()
        try:
            self._engine.start()
            await self._engine.wait_ready(self._session, self._timeout)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        with CancelScope(shield=True):  # anyio cancels again at every await; this end is waited for
            await self._engine.stop()
            if self._session is not None:
                await self._session.close()

    async def same_prompts(self, prompts: Sequence[Prompt], decode: Callable[[list[int]], str]) -> str:
        """Compares what the engine makes of each chat with what training makes of it, token by token.

        Raises:
            PromptsDifferError: showing where the first one differs.
            EngineError: the engine does not answer.
        """
        for number, (chat, trained) in enumerate(prompts, 1):
            served = await self._tokens(chat)
            if served != trained:
                place = next((n for n, (a, b) in enumerate(zip(served, trained, strict=False)) if a != b), None)
                place = min(len(served), len(trained)) if place is None else place
                raise PromptsDifferError(
                    f"prompt {number} differs at token {place}: training has "
                    f"{decode(trained[place : place + 8])!r}, the engine {decode(served[place : place + 8])!r}; "
                    "the base's chat template must write both alike"
                )
        return f"{len(prompts)} prompts, {sum(len(tokens) for _, tokens in prompts):,} tokens"

    async def takes(self, adapter: Path) -> str:
        """Validates and loads an adapter, and gets a token out of it.

        Raises:
            EngineError: with every reason why not.
        """
        await self.load(adapter)
        await self._engine.complete(self._running, _question([{"role": "user", "content": "Hello."}], PLANNED))
        await self._engine.unload(self._running, PLANNED)
        return f"maximum rank {self._plan.max_rank}"

    async def load(self, adapter: Path) -> None:
        """Validates and loads an adapter as the model `PLANNED`. Raises EngineError with every reason why not."""
        problems = validate(adapter, self._plan.base, max_rank=self._plan.max_rank)
        if problems:
            raise EngineError("; ".join(problems))
        await self._engine.load(self._running, PLANNED, adapter)

    async def answers(self, chats: Sequence[list[dict[str, str]]], *, model: str, max_tokens: int) -> list[Said]:
        """Greedy answers of `model` (BASE_NAME or PLANNED), in the order of `chats`. Raises EngineError."""
        return list(await asyncio.gather(*(self._answer(chat, model, max_tokens) for chat in chats)))

    async def _answer(self, chat: list[dict[str, str]], model: str, max_tokens: int) -> Said:
        body = {**_question(chat, model), "max_tokens": max_tokens}
        choice = (await self._engine.complete(self._running, body))["choices"][0]
        stopped = choice["finish_reason"] == "stop"
        ids = choice["token_ids"]
        return Said(
            text=choice["message"]["content"] or "",
            stopped=stopped,
            tokens=len(ids),
            ids=ids[:-1] if stopped else ids,
        )

    async def _tokens(self, chat: list[dict[str, str]]) -> list[int]:
        answer = await self._engine.complete(self._running, _question(chat, BASE_NAME))
        tokens = answer.get("prompt_token_ids")
        if not isinstance(tokens, list):
            raise EngineError("the engine does not tell the tokens of its prompts")
        return tokens

    @property
    def _running(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use `async with`"
        return self._session


def _question(chat: list[dict[str, str]], model: str) -> dict[str, object]:
    return {"model": model, "messages": chat, "max_tokens": 1, "temperature": 0, "return_token_ids": True}
