"""A swap under load: 16 people stream from a persona while new revisions of it are published.

python -m bench.swap [--rounds 5] [--streams 16]
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from bench.load import RefusedError, ask
from bench.machine import save
from bench.stage import Stage, open_stage, train, vary
from bench.stalls import Stalls, watch_stalls
from understudy.registry import Revision

PERSONA = "email-copy"
QUIET = 10.0
"""Seconds of load before each swap, from which the usual gaps between tokens are known."""


@dataclass
class Seen:
    """What all streams saw; times are those of `time.perf_counter`."""

    gaps: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end of each pause between two pieces of a stream."""
    first: dict[str, float] = field(default_factory=dict)
    """By revision: when its first token ever came."""
    mixed: int = 0
    failures: list[str] = field(default_factory=list)
    answers: int = 0

    def between(self, begin: float, end: float) -> list[tuple[float, float]]:
        """The pauses that ended within the span."""
        return [gap for gap in self.gaps if begin < gap[1] <= end]


def main() -> None:
    """Measures, prints one table, writes docs/results/swap.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="publishes of a new revision (5)")
    parser.add_argument("--streams", type=int, default=16, help="streams at once (16)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        trained = train(PERSONA, home)
        with open_stage(home) as stage:
            revisions = [vary(stage.registry, trained, number) for number in range(arguments.rounds + 1)]
            stage.admin("publish", persona=PERSONA, revision=revisions[0].id)
            rows = asyncio.run(_measure(stage, revisions, arguments.streams))
    summary = _summary(rows)
    _print(rows, summary, arguments.streams)
    print(save("swap", {"streams": arguments.streams, "rows": rows, "median": summary}))


async def _measure(stage: Stage, revisions: list[Revision], streams: int) -> list[dict[str, Any]]:
    seen, stop, rows = Seen(), asyncio.Event(), []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        people = [asyncio.create_task(_person(session, stage.url, n, seen, stop)) for n in range(streams)]
        with watch_stalls() as stalls:
            for revision in revisions[1:]:
                rows.append(await _swap(stage, revision, seen, stalls))
        stop.set()
        await asyncio.gather(*people)
    for row in rows:
        row |= {"failed_requests": len(seen.failures), "answers_with_two_revisions": seen.mixed}
    if seen.failures:
        print(*seen.failures[:5], sep="\n")
    return rows


async def _swap(stage: Stage, revision: Revision, seen: Seen, stalls: Stalls) -> dict[str, Any]:
    """One publish, and then a rollback and back, which need no load."""
    await asyncio.sleep(QUIET)
    begin = time.perf_counter()
    done = await asyncio.to_thread(stage.admin, "publish", persona=PERSONA, revision=revision.id)
    name = revision.id[:12]
    while name not in seen.first:
        await asyncio.sleep(0.005)
    end = seen.first[name]
    usual = sorted(until - since for since, until in seen.between(begin - QUIET, begin))
    during = seen.between(begin, end)
    ours = [gap for gap in during if not stalls.within(*gap)]
    p99 = usual[int(0.99 * len(usual))]
    back = await asyncio.to_thread(stage.admin, "rollback", persona=PERSONA)
    await asyncio.to_thread(stage.admin, "rollback", persona=PERSONA, revision=revision.id)
    return {
        "publish_to_first_token_s": end - begin,
        "gateway_says_s": done["seconds"],
        "machine_stood_still_s": stalls.seconds(begin, end),
        "usual_gap_p50_ms": 1000 * usual[len(usual) // 2],
        "usual_gap_p99_ms": 1000 * p99,
        "longest_gap_ms": 1000 * _longest(during),
        "longest_gap_over_p99": _longest(during) / p99,
        "longest_gap_of_ours_over_p99": _longest(ours) / p99,
        "rollback_s": back["seconds"],
    }


def _longest(gaps: list[tuple[float, float]]) -> float:
    return max(until - since for since, until in gaps)


async def _person(session: aiohttp.ClientSession, url: str, number: int, seen: Seen, stop: asyncio.Event) -> None:
    """Answer after answer, as a person would read them."""
    while not stop.is_set():
        try:
            await _read(session, url, number, seen)
        except (aiohttp.ClientError, RefusedError) as error:
            seen.failures.append(repr(error))


async def _read(session: aiohttp.ClientSession, url: str, number: int, seen: Seen) -> None:
    last, names = 0.0, set()

    def piece(now: float, line: bytes) -> None:
        nonlocal last
        name = json.loads(line.removeprefix(b"data: "))["system_fingerprint"]
        names.add(name)
        seen.first.setdefault(name, now)
        if last:
            seen.gaps.append((last, now))
        last = now

    answer = await ask(session, url, PERSONA, number, tokens=120, to_the_end=True, seen=piece)
    seen.answers += 1
    seen.mixed += len(names) > 1
    if not answer.ended:
        seen.failures.append("a stream had no end")


def _summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {key: round(statistics.median(row[key] for row in rows), 4) for key in rows[0]}


def _print(rows: list[dict[str, Any]], summary: dict[str, float], streams: int) -> None:
    table = Table("what", "median", "worst", title=f"Publishing under {streams} streams, {len(rows)} times")
    for key, value in summary.items():
        table.add_row(key.replace("_", " "), f"{value:.3f}", f"{max(row[key] for row in rows):.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
