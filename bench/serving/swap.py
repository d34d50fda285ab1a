"""A swap under load: 16 people stream from a persona while new revisions of it are published.

python -m bench.serving.swap [--rounds 5] [--streams 16] [--peer-rounds 2]

Then the other ways to do it, and ours measured like them: vLLM's own endpoint by hand, a restart of vLLM, and one of
llama.cpp, which takes part once `python -m bench.serving.peers.llama_cpp` has built it.
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

from bench.figures import save_bars
from bench.gateway import Stage, open_stage, train, vary
from bench.machine import save
from bench.serving.load import RefusedError, ask
from bench.serving.peers.llama_cpp import PeerError
from bench.serving.peers.servers import Cast
from bench.serving.peers.swaps import Gateway, InPlace, NewName, Way, llama_restart, swap, vllm_restart
from bench.serving.stalls import Stalls, watch_stalls
from serve.engine.vllm import Engine, plan_engine
from understudy.bases import resolve_base
from understudy.config.settings import load_settings
from understudy.registry.records import Revision

PERSONA, OTHER = "email-copy", "stand-up"
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
    parser.add_argument("--peer-rounds", type=int, default=2, help="swaps by each of the other ways, 0 for none (2)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        trained = train(PERSONA, home)
        other = train(OTHER, home) if arguments.peer_rounds else trained
        with open_stage(home) as stage:
            revisions = [vary(stage.registry, trained, number) for number in range(arguments.rounds + 1)]
            stage.admin("publish", persona=PERSONA, revision=revisions[0].id)
            rows = asyncio.run(_measure(stage, revisions, arguments.streams))
            adapters = (stage.registry.path(trained), stage.registry.path(other))
            compared = _ours(stage, trained, adapters[1], arguments)
        if arguments.peer_rounds:
            compared += _others(home / "peers", adapters, arguments)
    summary = _summary(rows)
    _print(rows, summary, arguments.streams)
    ways = _by_way(compared)
    more = {"ways": ways, "swaps_by_way": compared}
    print(save("swap", {"streams": arguments.streams, "rows": rows, "median": summary, **more}))
    if ways:
        _print_ways(ways, arguments.streams)
        print(_figure(ways))


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


def _ours(stage: Stage, trained: Revision, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Our publish as the others are measured, to a voice that can be told from the first."""
    if not options.peer_rounds:
        return []
    # Another voice does not meet what is expected of the first, and would be refused, as it should.
    card = {name: value for name, value in stage.registry.persona(PERSONA).card.items() if name != "golden"}
    other = stage.registry.push(PERSONA, folder, card=card, actor="bench")
    return asyncio.run(_alternate(Gateway(stage, PERSONA, (trained.id, other.id)), options))


def _others(folder: Path, adapters: tuple[Path, Path], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The ways of others, one server at a time."""
    folder.mkdir()
    base = resolve_base("tiny")
    plan = plan_engine(load_settings(home=folder), base, 1)
    rows = asyncio.run(_by_hand(Engine(plan, folder / "engine.log"), adapters, options))
    rows += asyncio.run(_alternate(vllm_restart(plan, adapters, folder / "restart.log"), options))
    try:
        way = llama_restart(Cast(base, dict(zip(("old", "new"), adapters, strict=True)), folder))
        rows += asyncio.run(_alternate(way, options))
    except PeerError as error:
        print(f"llama.cpp restart: not run: {error}")
    return rows


async def _by_hand(engine: Engine, adapters: tuple[Path, Path], options: argparse.Namespace) -> list[dict[str, Any]]:
    engine.start()
    try:
        async with aiohttp.ClientSession() as session:
            await engine.wait_ready(session, timeout=600)
        rows = []
        for way in (NewName(engine.url, adapters), InPlace(engine.url, adapters)):
            rows += await _alternate(way, options)
        return rows
    finally:
        await engine.stop()


async def _alternate(way: Way, options: argparse.Namespace) -> list[dict[str, Any]]:
    """To the new revision, back to the old, and so on; the old one is loaded before anybody asks."""
    try:
        async with aiohttp.ClientSession() as session:
            await way.publish(session, 0)
        turns = [(number + 1) % 2 for number in range(options.peer_rounds)]
        return [{"way": way.name, **await swap(way, options.streams, revision)} for revision in turns]
    finally:
        await way.stop()


def _by_way(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians by way; of what goes wrong all swaps together."""
    ways = []
    for name in dict.fromkeys(row["way"] for row in rows):
        mine = [{key: value for key, value in row.items() if key != "way"} for row in rows if row["way"] == name]
        counts = ("failed_requests", "mixed_answers", "strange_answers_else", "answers")
        sums = {key: sum(row[key] for row in mine) for key in counts}
        ways.append({"way": name, "swaps": len(mine), **_summary(mine), **sums})
    return ways


def _summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {key: round(statistics.median(row[key] for row in rows), 4) for key in rows[0]}


def _print(rows: list[dict[str, Any]], summary: dict[str, float], streams: int) -> None:
    table = Table("what", "median", "worst", title=f"Publishing under {streams} streams, {len(rows)} times")
    for key, value in summary.items():
        table.add_row(key.replace("_", " "), f"{value:.3f}", f"{max(row[key] for row in rows):.3f}")
    Console().print(table)


def _print_ways(ways: list[dict[str, Any]], streams: int) -> None:
    headers = ("way", "swaps", "to first token s", "longest wait s", "usual p99 ms", "failed", "mixed", "other strange")
    table = Table(*headers, "answers", title=f"A new revision under {streams} streams, by each way")
    for row in ways:
        table.add_row(
            row["way"],
            str(row["swaps"]),
            f"{row['first_token_s']:.2f}",
            f"{row['longest_wait_s']:.2f}",
            f"{1000 * row['usual_wait_p99_s']:.0f}",
            *(str(row[key]) for key in ("failed_requests", "mixed_answers", "strange_answers_else", "answers")),
        )
    Console(width=118).print(table)


def _figure(ways: list[dict[str, Any]]) -> Path:
    panels = {"publish to first token, s": "first_token_s", "longest wait of a person, s": "longest_wait_s"}
    bars = {what: {row["way"]: row[key] for row in ways} for what, key in panels.items()}
    failed: dict[str, float | None] = {row["way"]: row["failed_requests"] / row["swaps"] for row in ways}
    return save_bars("swap", "A new revision under load", {**bars, "failed requests, each swap": failed}, digits=1)


if __name__ == "__main__":
    main()
