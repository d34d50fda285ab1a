"""Many adapters on one base: ours against the servers that others use, same adapters, prompts and answer lengths.

python -m bench.serving.peers_serving [--rounds 2] [--seconds 1] [--tokens 32] [--full]

All servers run and idle while one is asked (what they burn meanwhile is in the table); each cell of the grid is
asked of one after the other, in the other order in the next round. Answers are greedy and all of one length.
llama.cpp takes part once `python -m bench.serving.peers.llama_cpp` has built it.
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.figures import save_bars
from bench.gateway import Stage, open_stage, train, vary
from bench.machine import save
from bench.serving.load import Answer, RefusedError, ask, strangers
from bench.serving.peers.llama_cpp import PeerError
from bench.serving.peers.servers import PEERS, Cast, Server, of_stage
from understudy.bases import resolve_base

Grid = Sequence[tuple[int, int]]
"""Adapters (0: the base alone) and how many ask at once."""

GRID: Grid = ((0, 1), (0, 16), (1, 16), (3, 16), (6, 1), (6, 16), (6, 64), (32, 16))
FULL: Grid = tuple(product((0, 1, 3, 6, 32), (1, 16, 64)))
MOST = 32
SLOTS = MOST + 2
OURS = "understudy"
WIDTH = 118
"""Characters in a line of the tables."""
IDLE = 3.0
"""Seconds for which everybody is left alone, to see what idling costs."""


@dataclass(frozen=True)
class Sample:
    """One cell of one round of one server; times in milliseconds."""

    server: str
    adapters: int
    concurrency: int
    round: int
    tokens_per_second: float
    first_token: float
    between_p50: float
    between_p99: float
    cpu_ms_per_token: float
    failures: int


def main() -> None:
    """Measures, prints the tables, writes docs/results/peers-serving.json and .svg."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="times that each cell is asked of each server (2)")
    parser.add_argument("--seconds", type=float, default=1.0, help="after which nobody asks anew in a cell (1)")
    parser.add_argument("--tokens", type=int, default=32, help="of each answer (32)")
    parser.add_argument("--full", action="store_true", help="every number of adapters with every concurrency")
    parser.add_argument("--only", nargs="*", choices=PEERS, default=list(PEERS), help="these peers beside ours")
    arguments = parser.parse_args()
    grid = FULL if arguments.full else GRID
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stage, cast = _stage(Path(folder), stack)
        servers, reasons = of_stage(stage), {}
        for name in arguments.only:
            try:
                servers.append(stack.enter_context(PEERS[name](cast)))
            except PeerError as error:
                reasons[name] = str(error)
        same = asyncio.run(_same_answers(servers, cast))
        samples = asyncio.run(_measure(servers, cast, grid, arguments))
        about = {server.name: _about(server, same) for server in servers}
    rows = summarise(samples)
    _print(rows, about, reasons)
    chosen = {"rounds": arguments.rounds, "seconds": arguments.seconds, "tokens": arguments.tokens}
    print(save("peers-serving", {**chosen, "servers": about, "not_run": reasons, "rows": rows}))
    print(_figure(rows, about))


def summarise(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Medians over the rounds, and the median of the ratios to ours round by round; in the order of the samples."""
    cells: dict[tuple[int, int, str], list[Sample]] = {}
    for sample in samples:
        cells.setdefault((sample.adapters, sample.concurrency, sample.server), []).append(sample)
    rows = []
    for (adapters, concurrency, server), found in cells.items():
        ours = {sample.round: sample for sample in cells.get((adapters, concurrency, OURS), [])}
        ratios = [s.tokens_per_second / ours[s.round].tokens_per_second for s in found if s.round in ours]
        figures = [name for name in asdict(found[0]) if name not in ("server", "adapters", "concurrency", "round")]
        medians = {name: round(statistics.median(getattr(s, name) for s in found), 3) for name in figures}
        medians["failures"] = sum(sample.failures for sample in found)
        of_ours = round(statistics.median(ratios), 3) if ratios else None
        rows.append({"adapters": adapters, "concurrency": concurrency, "server": server, "of_ours": of_ours, **medians})
    return rows


def sample_of(answers: Sequence[Answer], seconds: float, tokens: int) -> dict[str, float]:
    """Speed and times of answers of `tokens` tokens each, in milliseconds; zeros where there are none."""
    gaps = sorted(1000 * gap for answer in answers for gap in answer.gaps) or [0.0]
    firsts = [1000 * (answer.times[0] - answer.began) for answer in answers if answer.times]
    return {
        "tokens_per_second": len(answers) * tokens / seconds,
        "first_token": statistics.median(firsts or [0.0]),
        "between_p50": gaps[len(gaps) // 2],
        "between_p99": gaps[int(len(gaps) * 0.99)],
    }


def _stage(home: Path, stack: contextlib.ExitStack) -> tuple[Stage, Cast]:
    """Our gateway with all adapters live, and the same adapters for the others."""
    trained = train("email-copy", home)
    stage = stack.enter_context(open_stage(home, slots=SLOTS))
    adapters = {}
    for number in range(MOST):
        revision = vary(stage.registry, trained, number, f"p{number}")
        stage.admin("publish", persona=revision.persona, revision=revision.id)
        adapters[revision.persona] = stage.registry.path(revision)
    (home / "peers").mkdir()
    return stage, Cast(resolve_base("tiny"), adapters, home / "peers")


async def _measure(servers: list[Server], cast: Cast, grid: Grid, options: argparse.Namespace) -> list[Sample]:
    samples = []
    turns = [(number, cell) for number in range(options.rounds) for cell in grid]
    async with strangers() as session:
        for number, (adapters, concurrency) in track(turns, description="asking", transient=True):
            names: list[str | None] = [None] if adapters == 0 else list(cast.names[:adapters])
            for server in servers if number % 2 == 0 else reversed(servers):
                if adapters <= server.most:
                    if number == 0:
                        await _warm(session, server, names)
                    figures = await _cell(session, server, names, concurrency, options)
                    samples.append(Sample(server.name, adapters, concurrency, number, **figures))
    return sorted(samples, key=lambda s: (s.round, s.adapters, s.concurrency))


async def _warm(session: aiohttp.ClientSession, server: Server, names: Sequence[str | None]) -> None:
    """A short answer from each, so that what is loaded at first use is loaded."""
    for name in names:
        with contextlib.suppress(aiohttp.ClientError, RefusedError):
            await ask(session, server.url, "", 0, tokens=4, more={"temperature": 0.0, **server.voice(name, 4)})


async def _cell(
    session: aiohttp.ClientSession,
    server: Server,
    names: Sequence[str | None],
    concurrency: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """`concurrency` people ask again and again, the adapters in turn, each at least once."""
    answers: list[Answer] = []
    failures = number = 0
    tokens = options.tokens
    before, started = server.cpu_seconds(), time.perf_counter()

    async def person() -> None:
        nonlocal number, failures
        once = False
        while not once or time.perf_counter() - started < options.seconds:
            once, mine = True, number
            number += 1
            voice = {"temperature": 0.0, **server.voice(names[mine % len(names)], tokens)}
            try:
                answer = await ask(session, server.url, "", mine // len(names), tokens=tokens, more=voice)
            except (aiohttp.ClientError, RefusedError):
                failures += 1
                return
            if answer.full:
                answers.append(answer)
            failures += not answer.full

    await asyncio.gather(*(person() for _ in range(concurrency)))
    seconds = time.perf_counter() - started
    spent = 1000 * (server.cpu_seconds() - before) / max(1, len(answers) * tokens)
    return {**sample_of(answers, seconds, tokens), "cpu_ms_per_token": spent, "failures": failures}


async def _same_answers(servers: list[Server], cast: Cast) -> dict[str, str]:
    """How many greedy answers, of the base and of six adapters, are word for word ours."""
    found: dict[str, list[str]] = {}
    async with strangers() as session:
        for server in servers:
            names = [None, *cast.names[: min(6, server.most)]]
            found[server.name] = [await _text(session, server, name, n) for name in names for n in range(2)]
    return {
        name: f"{sum(a == b for a, b in zip(texts, found[OURS], strict=False))} of {len(texts)}"
        for name, texts in found.items()
    }


async def _text(session: aiohttp.ClientSession, server: Server, name: str | None, number: int) -> str:
    import json

    pieces: list[str] = []

    def piece(_: float, line: bytes) -> None:
        pieces.append(json.loads(line.removeprefix(b"data: "))["choices"][0]["delta"]["content"])

    voice = {"temperature": 0.0, **server.voice(name, 0)}
    try:
        await ask(session, server.url, "", number, tokens=64, to_the_end=True, seen=piece, more=voice)
    except (aiohttp.ClientError, RefusedError) as error:
        return f"{server.name}: {error}"
    return "".join(pieces)


def _about(server: Server, same: dict[str, str]) -> dict[str, Any]:
    """Its version, its memory after all was asked, and how busy it is when nobody asks."""
    before = server.cpu_seconds()
    time.sleep(IDLE)
    idle = 100 * (server.cpu_seconds() - before) / IDLE
    return {
        "version": server.version,
        "memory_mib": round(server.memory()),
        "idle_cpu_percent": round(idle, 1),
        "answers_as_ours": same[server.name],
    }


def _print(rows: list[dict[str, Any]], about: dict[str, dict[str, Any]], reasons: dict[str, str]) -> None:
    headers = ("adapters", "at once", "server", "tok/s", "of ours", "first ms", "between p50", "p99", "CPU ms/token")
    table = Table(*headers, "failed", title="One base, many adapters")
    last = None
    for row in sorted(rows, key=lambda row: (row["adapters"], row["concurrency"])):
        cell = (row["adapters"], row["concurrency"])
        if last not in (None, cell):
            table.add_section()
        last = cell
        table.add_row(
            str(row["adapters"] or "base"),
            str(row["concurrency"]),
            row["server"],
            f"{row['tokens_per_second']:,.0f}",
            "-" if row["of_ours"] is None else f"{row['of_ours']:.2f}",
            f"{row['first_token']:,.0f}",
            f"{row['between_p50']:.1f}",
            f"{row['between_p99']:.1f}",
            f"{row['cpu_ms_per_token']:.2f}",
            str(row["failures"]),
        )
    Console(width=WIDTH).print(table)
    servers = Table("server", "version", "MiB with 32 adapters", "CPU % idle", "greedy answers as ours")
    for name, each in about.items():
        servers.add_row(name, *map(str, each.values()))
    for name, reason in reasons.items():
        servers.add_row(name, f"not run: {reason}")
    Console(width=WIDTH).print(servers)


def _figure(rows: list[dict[str, Any]], about: dict[str, dict[str, Any]]) -> Path:
    panels: dict[str, dict[str, float | None]] = {}
    for adapters, what in ((0, "the base alone"), (6, "6 adapters"), (MOST, f"{MOST} adapters")):
        speeds = {
            r["server"]: r["tokens_per_second"] for r in rows if (r["adapters"], r["concurrency"]) == (adapters, 16)
        }
        panels[f"tokens/s, {what}, 16 at once"] = {name: speeds.get(name) for name in about}
    panels["memory, MiB"] = {name: each["memory_mib"] for name, each in about.items()}
    return save_bars("peers-serving", "One base, many adapters", panels)


if __name__ == "__main__":
    main()
