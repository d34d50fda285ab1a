"""Load on an OpenAI endpoint: many chats at once, with the times that matter."""

import asyncio
import json
import statistics
import time
from dataclasses import dataclass

import aiohttp

PROMPTS = [
    f"Write about a {noun} for the weekend." for noun in ("kettle", "lamp", "bicycle", "blanket", "puzzle", "drum")
]


@dataclass(frozen=True)
class Figures:
    """What one round of load showed; times in milliseconds."""

    tokens_per_second: float
    first_token: float
    between_tokens_p50: float
    between_tokens_p99: float
    failures: int


@dataclass(frozen=True)
class Answer:
    """When each token of one answer came, in seconds since the request."""

    times: list[float]
    tokens: int


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
                answers.append(await _ask(session, url, model, PROMPTS[number % len(PROMPTS)], tokens, stream))
            except (aiohttp.ClientError, ValueError, KeyError):
                failures += 1

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        started = time.perf_counter()
        await asyncio.gather(*(worker(session) for _ in range(concurrency)))
        seconds = time.perf_counter() - started
    gaps = sorted(1000 * (b - a) for x in answers for a, b in zip(x.times, x.times[1:], strict=False)) or [0.0]
    return Figures(
        tokens_per_second=sum(x.tokens for x in answers) / seconds,
        first_token=1000 * statistics.median([x.times[0] for x in answers] or [0.0]),
        between_tokens_p50=gaps[len(gaps) // 2],
        between_tokens_p99=gaps[int(len(gaps) * 0.99)],
        failures=failures,
    )


async def _ask(session: aiohttp.ClientSession, url: str, model: str, prompt: str, tokens: int, stream: bool) -> Answer:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0.7,
        "stream": stream,
    }
    started = time.perf_counter()
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        if response.status != 200:
            raise ValueError(await response.text())
        if not stream:
            done = json.loads(await response.read())
            return Answer([time.perf_counter() - started], done["usage"]["completion_tokens"])
        times = [time.perf_counter() - started async for line in response.content if b'"content":"' in line]
    return Answer(times, tokens)
