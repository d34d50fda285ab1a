"""A swap under load: 16 people stream from a persona while new revisions of it are published.

python -m bench.serving.swap [--rounds 3] [--streams 16] [--peer-rounds 1]

Then the other ways to do it, and ours measured like them: vLLM's own endpoint by hand, a restart of vLLM, and one of
llama.cpp.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from bench.gateway import Stage, open_stage, train, vary
from bench.goals import Goal, judge
from bench.machine import save
from bench.serving.load import RefusedError, ask
from bench.serving.stalls import Stalls, watch_stalls
from bench.serving.swap_ways import by_way, compare, draw, medians, show
from understudy.bases import resolve_base
from understudy.registry.records import Revision

PERSONA = "email-copy"
QUIET = 8.0
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
    """Measures, prints the tables and the goals, writes docs/results/swap.json and .svg."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2", help="a known base or a folder (smollm2)")
    parser.add_argument("--rounds", type=int, default=3, help="publishes of a new revision (3)")
    parser.add_argument("--streams", type=int, default=16, help="streams at once (16)")
    parser.add_argument("--peer-rounds", type=int, default=1, help="swaps by each of the other ways, 0 for none (1)")
    arguments = parser.parse_args()
    began, base = time.monotonic(), resolve_base(arguments.base)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        trained = train(PERSONA, home, base.name)
        with open_stage(home, base=base.name) as stage:
            revisions = [vary(stage.registry, trained, number) for number in range(arguments.rounds + 1)]
            stage.admin("publish", persona=PERSONA, revision=revisions[0].id)
            rows = asyncio.run(measure(stage, PERSONA, revisions[1:], arguments.streams))
        turns = arguments.peer_rounds
        compared = compare(home, base, PERSONA, turns, arguments.streams) if turns else []
    summary, ways = medians(rows), by_way(compared)
    _print(rows, summary, arguments.streams)
    told = {"base": base.name, "streams": arguments.streams, "rows": rows, "median": summary, "ways": ways}
    if ways:
        show(ways, arguments.streams)
        print(draw(ways))
    told |= {"minutes": round((time.monotonic() - began) / 60, 1), **judge(goals(rows))}
    print(save("swap", {**told, "swaps_by_way": compared}))


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """What we aim at; what goes wrong counts wherever it does."""
    median, last = medians(rows), rows[-1]
    return [
        Goal("publish to the first token of the new revision, s", median["publish_to_first_token_s"], 2.0, most=True),
        Goal("failed requests", last["failed_requests"], 0, most=True),
        Goal("answers of two revisions", last["answers_with_two_revisions"], 0, most=True),
        Goal("longest gap of the usual p99", median["longest_gap_over_p99"], 3.0, most=True),
    ]


async def measure(
    stage: Stage, persona: str, revisions: list[Revision], streams: int, voice: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Publishes the revisions of a live persona one after the other while people stream from it; `voice` goes into
    their requests."""
    seen, stop, rows = Seen(), asyncio.Event(), []
    voice = {"model": persona, **(voice or {})}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        people = [asyncio.create_task(_person(session, stage.url, n, voice, seen, stop)) for n in range(streams)]
        with watch_stalls() as stalls:
            for revision in revisions:
                rows.append(await _swap(stage, persona, revision, seen, stalls))
        stop.set()
        await asyncio.gather(*people)
    for row in rows:
        row |= {"failed_requests": len(seen.failures), "answers_with_two_revisions": seen.mixed}
    if seen.failures:
        print(*seen.failures[:5], sep="\n")
    return rows


async def _swap(stage: Stage, persona: str, revision: Revision, seen: Seen, stalls: Stalls) -> dict[str, Any]:
    """One publish, and then a rollback and back, which need no load."""
    await asyncio.sleep(QUIET)
    begin = time.perf_counter()
    done = await asyncio.to_thread(stage.admin, "publish", persona=persona, revision=revision.id)
    name = revision.id[:12]
    while name not in seen.first:
        await asyncio.sleep(0.005)
    end = seen.first[name]
    usual = sorted(until - since for since, until in seen.between(begin - QUIET, begin))
    during = seen.between(begin, end)
    ours = [gap for gap in during if not stalls.within(*gap)]
    p99 = usual[int(0.99 * len(usual))]
    back = await asyncio.to_thread(stage.admin, "rollback", persona=persona)
    await asyncio.to_thread(stage.admin, "rollback", persona=persona, revision=revision.id)
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
    """Returns the longest, in seconds; 0 where nothing was heard twice."""
    return max((until - since for since, until in gaps), default=0.0)


async def _person(
    session: aiohttp.ClientSession, url: str, number: int, voice: Mapping[str, Any], seen: Seen, stop: asyncio.Event
) -> None:
    """Answer after answer, as a person would read them."""
    while not stop.is_set():
        try:
            await _read(session, url, number, voice, seen)
        except (aiohttp.ClientError, RefusedError) as error:
            seen.failures.append(repr(error))


async def _read(session: aiohttp.ClientSession, url: str, number: int, voice: Mapping[str, Any], seen: Seen) -> None:
    last, names = 0.0, set()

    def piece(now: float, line: bytes) -> None:
        nonlocal last
        name = json.loads(line.removeprefix(b"data: "))["system_fingerprint"]
        names.add(name)
        seen.first.setdefault(name, now)
        if last:
            seen.gaps.append((last, now))
        last = now

    answer = await ask(session, url, "", number, tokens=120, to_the_end=True, seen=piece, more=voice)
    seen.answers += 1
    seen.mixed += len(names) > 1
    if not answer.ended:
        seen.failures.append("a stream had no end")


def _print(rows: list[dict[str, Any]], summary: dict[str, float], streams: int) -> None:
    table = Table("what", "median", "worst", title=f"Publishing under {streams} streams, {len(rows)} times")
    for key, value in summary.items():
        table.add_row(key.replace("_", " "), f"{value:.3f}", f"{max(row[key] for row in rows):.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
