"""What people who stream from an adapter see of a swap to a new revision, all ways to do it measured alike.

A person asks again and again, tries again a tenth of a second after a failure, and waits: for the next piece of an
answer, or for the first piece of the next one. Whether an answer is of one revision is told by its text, so servers
compute in float32, where an answer does not depend on what else is in the batch.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp

from bench.serving.load import PROMPTS, RefusedError, ask, strangers
from bench.serving.peers.matrix import content
from bench.serving.peers.ways import Way

QUIET = 4.0
"""Seconds of load before a swap."""
AFTER = 2.0
"""Seconds of load after the first token of the new revision."""
RETRY = 0.1
TOKENS = 96


@dataclass(frozen=True)
class Given:
    """One answer that came to its end; times are those of `time.perf_counter`."""

    prompt: int
    text: str
    began: float
    ended: float


@dataclass
class Watch:
    """What all people of one swap saw."""

    waits: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end of each wait for a piece."""
    answers: list[Given] = field(default_factory=list)
    failures: int = 0
    first: float = 0.0
    """When the first piece of an answer that was asked of the new revision came."""
    last_error: str = ""


def figures_of(watch: Watch, begin: float, known: tuple[list[str], list[str]]) -> dict[str, float]:
    """What a swap that began at `begin` cost; `known` are the answers to each prompt, old and new.

    An answer counts as mixed when it ran across the swap and is neither the old nor the new one.
    """
    before = sorted(end - since for since, end in watch.waits if end <= begin)
    during = [end - since for since, end in watch.waits if end > begin and since <= watch.first]
    strange = [a for a in watch.answers if a.text not in (known[0][a.prompt], known[1][a.prompt])]
    mixed = [a for a in strange if a.ended > begin and a.began < watch.first]
    return {
        "first_token_s": watch.first - begin,
        "failed_requests": watch.failures,
        "longest_wait_s": max(during, default=0.0),
        "usual_wait_p99_s": before[int(0.99 * len(before))] if before else 0.0,
        "mixed_answers": len(mixed),
        "strange_answers_else": len(strange) - len(mixed),
        "answers": len(watch.answers),
    }


async def swap(way: Way, streams: int, revision: int) -> dict[str, float]:
    """Loads, swaps from the other revision to `revision` and says what people saw; `way` serves the other one."""
    watch, stop = Watch(), asyncio.Event()
    async with strangers() as session:
        old = await _texts(session, way)
        async with _people(session, way, watch, streams, stop, revision):
            await asyncio.sleep(QUIET)
            begin = time.perf_counter()
            await way.publish(session, revision)
            while not watch.first:
                await asyncio.sleep(0.005)
            await asyncio.sleep(AFTER)
        new = await _texts(session, way)
    return figures_of(watch, begin, (old, new))


async def _texts(session: aiohttp.ClientSession, way: Way) -> list[str]:
    """The whole greedy answers to all prompts, asked together."""

    async def text(prompt: int) -> str:
        pieces: list[str] = []
        await _ask(session, way, prompt, lambda _, line: pieces.append(content(line)))
        return "".join(pieces)

    return list(await asyncio.gather(*(text(prompt) for prompt in range(len(PROMPTS)))))


@contextlib.asynccontextmanager
async def _people(
    session: aiohttp.ClientSession, way: Way, watch: Watch, streams: int, stop: asyncio.Event, revision: int
) -> AsyncIterator[None]:
    people = [asyncio.create_task(_person(session, way, watch, n, stop, revision)) for n in range(streams)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*people)


async def _person(
    session: aiohttp.ClientSession, way: Way, watch: Watch, number: int, stop: asyncio.Event, revision: int
) -> None:
    last = time.perf_counter()
    while not stop.is_set():
        prompt, began, pieces, meant = number % len(PROMPTS), time.perf_counter(), [], way.revision
        number += 1

        def piece(now: float, line: bytes, pieces: list[str] = pieces, meant: int = meant) -> None:
            nonlocal last
            watch.waits.append((last, now))
            last = now
            if meant == revision and not watch.first:
                watch.first = now
            pieces.append(content(line))

        try:
            ended = await _ask(session, way, prompt, piece)
        except (aiohttp.ClientError, RefusedError, ConnectionError, TimeoutError) as error:
            watch.last_error, ended = repr(error), False
        if ended:
            watch.answers.append(Given(prompt, "".join(pieces), began, time.perf_counter()))
        else:
            watch.failures += 1
            await asyncio.sleep(RETRY)


async def _ask(session: aiohttp.ClientSession, way: Way, prompt: int, seen: Callable[[float, bytes], None]) -> bool:
    voice = {"temperature": 0.0, **way.voice()}
    answer = await ask(session, way.url, "", prompt, tokens=TOKENS, to_the_end=True, seen=seen, more=voice)
    return answer.ended
