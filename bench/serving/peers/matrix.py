"""The cells of the matrix, adapters by people at once: who is asked in which, how, and what it adds up to."""

import asyncio
import contextlib
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.serving.load import Answer, RefusedError, ask, strangers
from bench.serving.peers.llama_cpp import PeerError
from bench.serving.peers.servers import OURS, Cell, Server

GRID: tuple[Cell, ...] = tuple(itertools.product((0, 1, 3, 6, 32), (1, 4, 16)))
WARM = 24
"""Tokens of the first answer of each adapter."""
LONG = 10.0
"""Seconds of a cell that is asked of that server in the first round only."""


@dataclass(frozen=True)
class Load:
    """What is asked in each cell."""

    prompts: list[str]
    tokens: int
    """Of each answer."""
    seconds: float
    """After which nobody asks anew; everybody asks once."""
    temperature: float = 0.0


@dataclass(frozen=True)
class Sample:
    """One cell of one round of one server; times in milliseconds."""

    server: str
    cell: Cell
    round: int
    tokens_per_second: float
    firsts: list[float] = field(default_factory=list)
    """From each request to its first token."""
    gaps: list[float] = field(default_factory=list)
    """Between two pieces of an answer."""
    failures: int = 0


def cells(server: Server, grid: Sequence[Cell]) -> list[Cell]:
    """Those of the grid in which a server takes part."""
    return [cell for cell in grid if cell[0] <= server.most and (server.asked is None or cell in server.asked)]


async def measure(
    servers: Sequence[Server],
    names: Sequence[str],
    grid: Sequence[Cell],
    rounds: int,
    load: Load,
    tell: Callable[[str], None],
) -> list[Sample]:
    """Each cell is asked of one server after the other, in the other order in the next round; one that took a server
    longer than `LONG` is asked of it once."""
    samples, numbers = [], itertools.count()
    long: set[tuple[str, Cell]] = set()
    async with strangers() as session:
        for server in servers:
            await _warm(session, server, [None, *names[: server.most]])
        for number in range(rounds):
            for cell in grid:
                began = time.perf_counter()
                for server in servers if number % 2 == 0 else reversed(servers):
                    if cell not in cells(server, grid) or (server.name, cell) in long:
                        continue
                    called, asked = list(names[: cell[0]]) or [None], time.perf_counter()
                    samples.append(await _cell(session, server, called, cell, number, load, numbers))
                    if time.perf_counter() - asked > LONG:
                        long.add((server.name, cell))
                tell(f"round {number + 1}, adapters {cell[0]}, {cell[1]} at once: {time.perf_counter() - began:.0f} s")
    return samples


async def _warm(session: aiohttp.ClientSession, server: Server, names: Sequence[str | None]) -> None:
    """A short answer from each, so that what is loaded at first use is loaded; adapters must not answer as the base.

    Raises:
        PeerError: a server that takes adapters and does not use them.
    """
    texts = []
    for name in names:
        pieces: list[str] = []
        voice = {"temperature": 0.0, **server.voice(name, WARM)}
        with contextlib.suppress(aiohttp.ClientError, RefusedError):
            await ask(
                session, server.url, "", 0, tokens=WARM, more=voice, seen=lambda _, x, to=pieces: to.append(content(x))
            )
        texts.append("".join(pieces))
    if len(texts) > 1 and all(text == texts[0] for text in texts):
        raise PeerError(f"{server.name}: every adapter answers as the base does")


def content(line: bytes) -> str:
    """The text of a piece of a stream."""
    return json.loads(line.removeprefix(b"data: "))["choices"][0]["delta"]["content"]


async def _cell(
    session: aiohttp.ClientSession,
    server: Server,
    names: Sequence[str | None],
    cell: Cell,
    number: int,
    load: Load,
    numbers: Iterator[int],
) -> Sample:
    """The people of a cell ask again and again, the adapters in turn, each prompt once."""
    answers: list[Answer] = []
    failures, started = 0, time.perf_counter()

    async def person() -> None:
        nonlocal failures
        once = False
        while not once or time.perf_counter() - started < load.seconds:
            once, mine = True, next(numbers)
            voice = {"temperature": load.temperature, **server.voice(names[mine % len(names)], load.tokens)}
            prompt: str = load.prompts[mine % len(load.prompts)]
            try:
                answer = await ask(session, server.url, "", 0, tokens=load.tokens, prompt=prompt, more=voice)
            except (aiohttp.ClientError, RefusedError):
                failures += 1
                return
            if answer.full:
                answers.append(answer)
            failures += not answer.full

    await asyncio.gather(*(person() for _ in range(cell[1])))
    seconds = time.perf_counter() - started
    return sample_of(server.name, cell, number, answers, seconds, load.tokens, failures)


def sample_of(
    server: str, cell: Cell, number: int, answers: Sequence[Answer], seconds: float, tokens: int, failures: int = 0
) -> Sample:
    """What answers of `tokens` tokens each amount to: a piece may hold several tokens, so pieces are not counted."""
    return Sample(
        server,
        cell,
        number,
        len(answers) * tokens / seconds,
        [1000 * (answer.times[0] - answer.began) for answer in answers if answer.times],
        [1000 * gap for answer in answers for gap in answer.gaps],
        failures,
    )


def summarise(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """A row for each cell and server: speed as the median over the rounds, times over all requests of all rounds."""
    rows = []
    for cell, server in dict.fromkeys((sample.cell, sample.server) for sample in samples):
        found = [sample for sample in samples if (sample.cell, sample.server) == (cell, server)]
        firsts = sorted(first for sample in found for first in sample.firsts)
        gaps = sorted(gap for sample in found for gap in sample.gaps)
        of_ours = ratio(samples, (cell, server), (cell, OURS))
        rows.append(
            {
                "adapters": cell[0],
                "concurrency": cell[1],
                "server": server,
                "tokens_per_second": round(statistics.median(sample.tokens_per_second for sample in found), 2),
                "of_ours": None if of_ours is None else round(of_ours, 3),
                "first_token_p50_ms": quantile(firsts, 0.5),
                "first_token_p99_ms": quantile(firsts, 0.99),
                "between_tokens_p50_ms": quantile(gaps, 0.5),
                "requests": len(firsts),
                "failures": sum(sample.failures for sample in found),
            }
        )
    return rows


def ratio(samples: Sequence[Sample], one: tuple[Cell, str], other: tuple[Cell, str]) -> float | None:
    """The speed of a server in a cell over another's: the median of the ratios round by round."""
    speeds = {(s.cell, s.server, s.round): s.tokens_per_second for s in samples}
    rounds = {s.round for s in samples if (*one, s.round) in speeds and speeds.get((*other, s.round))}
    return statistics.median(speeds[*one, n] / speeds[*other, n] for n in rounds) if rounds else None


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which that share of sorted values lies; None of none."""
    return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2) if ordered else None
