"""The ways to put a new revision live, side by side: each swaps a persona to another revision and back under load."""

import asyncio
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from bench.figures import save_bars
from bench.gateway import open_stage, vary
from bench.serving.peers.llama_cpp import PeerError
from bench.serving.peers.servers import Cast
from bench.serving.peers.swaps import swap
from bench.serving.peers.ways import Gateway, InPlace, NewName, Way, llama_restart, vllm_restart
from serve.engine.vllm import Engine, plan_engine
from understudy.bases import Base
from understudy.config.settings import load_settings
from understudy.registry.registry import open_registry

OTHER_WORDS = 0.3
"""Noise that leaves the voice and changes the words: the two revisions' answers can be told apart."""


@dataclass(frozen=True)
class Turns:
    """How often each way swaps, and how many people stream meanwhile."""

    turns: int
    streams: int


def compare(home: Path, base: Base, persona: str, turns: int, streams: int) -> list[dict[str, Any]]:
    """A row for each swap by each way: ours, then those of others, one server at a time; `home` has the persona."""
    registry = open_registry(load_settings(home=home))
    old = registry.revision(persona)
    new = vary(registry, old, 0, noise=OTHER_WORDS)
    adapters = (registry.path(old), registry.path(new))
    options = Turns(turns, streams)
    with open_stage(home, base=base.name, dtype="float32") as stage:
        rows = asyncio.run(_alternate(Gateway(stage, persona, (old.id, new.id)), options))
    folder = home / "others"
    folder.mkdir()
    plan = plan_engine(load_settings(home=folder, dtype="float32"), base, 1)
    rows += asyncio.run(_by_hand(Engine(plan, folder / "engine.log"), adapters, options))
    rows += asyncio.run(_alternate(vllm_restart(plan, adapters, folder / "restart.log"), options))
    try:
        way = llama_restart(Cast(base, dict(zip(("old", "new"), adapters, strict=True)), folder))
        rows += asyncio.run(_alternate(way, options))
    except PeerError as error:
        print(f"llama.cpp restart: not run: {error}")
    return rows


async def _by_hand(engine: Engine, adapters: tuple[Path, Path], options: Turns) -> list[dict[str, Any]]:
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


async def _alternate(way: Way, options: Turns) -> list[dict[str, Any]]:
    """To the new revision, back to the old, and so on; the old one is loaded before anybody asks."""
    try:
        async with aiohttp.ClientSession() as session:
            await way.publish(session, 0)
        turns = [(number + 1) % 2 for number in range(options.turns)]
        return [{"way": way.name, **await swap(way, options.streams, revision)} for revision in turns]
    finally:
        await way.stop()


def by_way(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians by way; of what goes wrong all swaps together."""
    ways = []
    for name in dict.fromkeys(row["way"] for row in rows):
        mine = [{key: value for key, value in row.items() if key != "way"} for row in rows if row["way"] == name]
        counts = ("failed_requests", "mixed_answers", "strange_answers_else", "answers")
        sums = {key: sum(row[key] for row in mine) for key in counts}
        ways.append({"way": name, "swaps": len(mine), **medians(mine), **sums})
    return ways


def medians(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: round(statistics.median(row[key] for row in rows), 4) for key in rows[0]}


def show(ways: list[dict[str, Any]], streams: int) -> None:
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


def draw(ways: list[dict[str, Any]]) -> Path:
    panels = {"publish to first token, s": "first_token_s", "longest wait of a person, s": "longest_wait_s"}
    bars = {what: {row["way"]: row[key] for row in ways} for what, key in panels.items()}
    failed: dict[str, float | None] = {row["way"]: row["failed_requests"] / row["swaps"] for row in ways}
    return save_bars("swap", "A new revision under load", {**bars, "failed requests, each swap": failed}, digits=1)
