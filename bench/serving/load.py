"""Load on an OpenAI endpoint: many chats at once, with the times that matter."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from understudy.bases import Base

PROMPTS = [
    f"Write about a {noun} for the weekend." for noun in ("kettle", "lamp", "bicycle", "blanket", "puzzle", "drum")
]

WORDS = (
    "we",
    "sell",
    "red",
    "blue",
    "old",
    "new",
    "lamps",
    "kettles",
    "chairs",
    "to",
    "people",
    "who",
    "like",
    "good",
    "tea",
)
"""Of prompts that only have to be long."""


@dataclass(frozen=True)
class Figures:
    """What one round of load showed; times in milliseconds."""

    tokens_per_second: float
    first_token: float
    between_tokens_p50: float
    between_tokens_p99: float
    failures: int


@dataclass
class Answer:
    """One answer as it came; times are those of `time.perf_counter`."""

    began: float
    times: list[float] = field(default_factory=list)
    """When each piece of content came; of an answer that was not streamed its end alone."""
    tokens: int = 0
    """Pieces, or what `usage` says of an answer that was not streamed."""
    ended: bool = False
    """Whether the server said that it is complete."""
    full: bool = False
    """Whether the server said that it has as many tokens as were asked for."""

    @property
    def gaps(self) -> list[float]:
        """Seconds between its pieces."""
        return [later - earlier for earlier, later in pairwise(self.times)]


class RefusedError(Exception):
    """The server answered with another status than 200."""


async def ask(
    session: aiohttp.ClientSession,
    url: str,
    model: str,
    number: int,
    *,
    tokens: int,
    stream: bool = True,
    to_the_end: bool = False,
    prompt: str = "",
    seen: Callable[[float, bytes], None] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Answer:
    """One chat of at most `tokens` tokens, or exactly so many; `seen` gets the time and line of each piece at once.

    The prompt is one of PROMPTS unless it is given.

    `more` goes into the body; what is None there is left out, for servers that refuse what they do not know.

    Raises:
        RefusedError: no answer; aiohttp.ClientError: the answer broke off.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt or PROMPTS[number % len(PROMPTS)]}],
        "max_tokens": tokens,
        "ignore_eos": not to_the_end,
        "temperature": 0.7,
        "stream": stream,
        **(more or {}),
    }
    body = {key: value for key, value in body.items() if value is not None}
    answer = Answer(time.perf_counter())
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        if response.status != 200:
            raise RefusedError(f"{response.status}: {await response.text()}")
        if not stream:
            answer.tokens = json.loads(await response.read())["usage"]["completion_tokens"]
            answer.times, answer.ended = [time.perf_counter()], True
            return answer
        async for line in response.content:
            if b'"content":"' in line:
                now = time.perf_counter()
                answer.times.append(now)
                answer.tokens += 1
                if seen is not None:
                    seen(now, line)
            answer.ended = answer.ended or b"[DONE]" in line
            answer.full = answer.full or b'"finish_reason":"length"' in line
    return answer


async def load(url: str, model: str, *, concurrency: int, requests: int, tokens: int, stream: bool = True) -> Figures:
    """Sends `requests` chats, `concurrency` at a time, each of exactly `tokens` tokens."""
    waiting = list(range(requests))
    answers: list[Answer] = []
    failures = 0

    async def worker(session: aiohttp.ClientSession) -> None:
        nonlocal failures
        while waiting:
            number = waiting.pop()
            try:
                answers.append(await ask(session, url, model, number, tokens=tokens, stream=stream))
            except (aiohttp.ClientError, RefusedError):
                failures += 1

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        started = time.perf_counter()
        await asyncio.gather(*(worker(session) for _ in range(concurrency)))
        seconds = time.perf_counter() - started
    gaps = sorted(1000 * gap for answer in answers for gap in answer.gaps) or [0.0]
    return Figures(
        tokens_per_second=sum(x.tokens for x in answers) / seconds,
        first_token=1000 * statistics.median([x.times[0] - x.began for x in answers] or [0.0]),
        between_tokens_p50=gaps[len(gaps) // 2],
        between_tokens_p99=gaps[int(len(gaps) * 0.99)],
        failures=failures,
    )


def prompts_of(base: Base, tokens: int, count: int) -> list[str]:
    """Different prompts of so many tokens each; they differ from the first word on, so that no cache knows one."""
    from tokenizers import Tokenizer

    tokenizer, found = Tokenizer.from_file(str(Path(base.location) / "tokenizer.json")), []
    for number in range(count):
        random = Random(number)
        text = " ".join([f"{number}:", *(random.choice(WORDS) for _ in range(tokens))])
        found.append(tokenizer.decode(tokenizer.encode(text).ids[:tokens]))
    return found


def strangers() -> aiohttp.ClientSession:
    """A session whose every request has a connection of its own; some servers close theirs after an answer."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))
