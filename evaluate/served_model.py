"""A model behind vLLM's HTTP API: its answers, its tokens, and its loss on given answers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from evaluate.records import Generation

Chat = Sequence[dict[str, str]]
Post = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Sends a body to a path of vLLM's API and returns the answer; raises EngineError."""
Answered = tuple[list[int], list[int]]
"""Tokens of a prompt, and of what follows it."""

AT_ONCE = 48
"""Concurrent requests to the engine; more than it batches would only wait."""


class ServedModel:
    """One model of an engine, by name. Every method raises EngineError if the engine cannot answer."""

    def __init__(self, name: str, post: Post, *, limit: asyncio.Semaphore | None = None) -> None:
        """Makes a client; `limit` may be shared by the models of one engine."""
        self.name, self._post = name, post
        self._limit = limit or asyncio.Semaphore(AT_ONCE)

    async def answers(
        self, chats: Sequence[Chat], *, max_tokens: int, seed: int = 0, temperature: float | None = None
    ) -> list[Generation]:
        """Returns one answer per chat, sampled as the base's generation_config.json says; `temperature` 0 is greedy."""
        drawn: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
        # Each chat has its own seed: with one for all, answers to different prompts would share their noise.
        each = ({} if temperature == 0 else {"seed": seed + place} for place in range(len(chats)))
        asked = zip(chats, each, strict=True)
        return await together(self._answer(chat, max_tokens, drawn | own) for chat, own in asked)

    async def tokens(self, chat: Chat, *, answered: bool = False) -> list[int]:
        """Tokenizes a chat as the model gets it: ready for an answer or, if `answered`, with the answer in it."""
        body = {"messages": list(chat), "add_generation_prompt": not answered}
        return (await self._send("/tokenize", body))["tokens"]

    async def text_tokens(self, text: str) -> list[int]:
        """Tokenizes a plain text."""
        return (await self._send("/tokenize", {"prompt": text}))["tokens"]

    async def context(self) -> int:
        """Returns how many tokens prompt and answer may have together."""
        return (await self._send("/tokenize", {"prompt": "."}))["max_model_len"]

    async def losses(self, rows: Sequence[Answered]) -> list[float]:
        """Returns the mean negative log-likelihood of what follows each prompt, in nats per token."""
        return await together(self._loss(prompt, answer) for prompt, answer in rows)

    async def _answer(self, chat: Chat, max_tokens: int, drawn: dict[str, Any]) -> Generation:
        body = {"messages": list(chat), "max_tokens": max_tokens, "return_token_ids": True, **drawn}
        choice = (await self._send("/v1/chat/completions", body))["choices"][0]
        stopped, ids = choice["finish_reason"] == "stop", choice["token_ids"]
        return Generation(
            text=choice["message"]["content"] or "",
            stopped=stopped,
            tokens=len(ids),
            ids=ids[:-1] if stopped else ids,
        )

    async def _loss(self, prompt: list[int], answer: list[int]) -> float:
        body = {"prompt": [*prompt, *answer], "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        found = (await self._send("/v1/completions", body))["choices"][0]["prompt_logprobs"]
        tokens = zip(answer, found[len(prompt) :], strict=True)
        return -sum(one[str(token)]["logprob"] for token, one in tokens) / len(answer)

    async def _send(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self._limit:
            return await self._post(path, {"model": self.name, **body})


async def together(work: Iterable[Awaitable[Any]]) -> list[Any]:
    """Awaits everything and returns the results in order; the first failure cancels the rest and is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
