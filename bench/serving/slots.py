"""Too few slots: six personas asked at once, on enough slots and on three, by vLLM's order and by the gateway's.

python -m bench.serving.slots [--seconds 20]

Also what a slot costs in memory.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from bench.gateway import Stage, memory, open_stage, train, vary
from bench.machine import save
from bench.serving.load import ask

PEOPLE = {"equal": (4, 4, 4, 4, 4, 4), "three are hot": (12, 12, 12, 1, 1, 1)}
"""How many ask each persona without a pause, by the name of the load."""
PERSONAS = 6
TOKENS = (16, 80)
"""Shortest and longest answer. People whose answers were all of one length would come and go together."""


def main() -> None:
    """Measures, prints two tables, writes docs/results/slots.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20, help="length of each load (20)")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        home, rows = Path(folder), []
        trained = train("email-copy", home)
        with open_stage(home) as stage:
            _publish(stage, trained)
            few = memory(stage.processes()["engine"])
            names = [f"p{n}" for n in range(PERSONAS)]
            rows += _loads(8, {"slots for all": (stage.url, names)}, seconds)
        with open_stage(home, slots=3) as stage:
            asyncio.run(_load(stage.url, names, (1,) * PERSONAS, 1))  # what is not loaded is loaded
            pinned = [f"p{n}@{stage.status()['live'][f'p{n}']}" for n in range(PERSONAS)]
            rows += _loads(3, {"vLLM alone": (stage.engine_url, pinned), "gateway": (stage.url, names)}, seconds)
        with open_stage(home, slots=64) as stage:
            many = memory(stage.processes()["engine"])
    per_slot = (many - few) / (64 - 8)
    _print(rows)
    print(f"memory of one slot at maximum rank 64 on the tiny base: {per_slot:.2f} MiB")
    cost = {"engine_mib_8_slots": few, "engine_mib_64_slots": many, "mib_per_slot": per_slot}
    print(save("slots", {"seconds": seconds, "rows": rows, "memory": cost}))


def _loads(slots: int, orders: dict[str, tuple[str, list[str]]], seconds: float) -> list[dict[str, Any]]:
    rows = []
    for load, people in PEOPLE.items():
        for order, (url, models) in orders.items():
            asyncio.run(_load(url, models, people, 3))  # warms up
            figures = asyncio.run(_load(url, models, people, seconds))
            rows.append({"load": load, "slots": slots, "order": order, **figures})
    return rows


def _publish(stage: Stage, trained: Any) -> None:
    for number in range(PERSONAS):
        name = f"p{number}"
        revision = vary(stage.registry, trained, number, name)
        stage.admin("publish", persona=name, revision=revision.id)


async def _load(url: str, models: list[str], people: tuple[int, ...], seconds: float) -> dict[str, Any]:
    """Everybody asks their persona again and again: tokens/s in all, and how long first tokens took."""
    tokens: defaultdict[str, int] = defaultdict(int)
    firsts: defaultdict[str, list[float]] = defaultdict(list)
    end = time.perf_counter() + seconds

    async def person(session: aiohttp.ClientSession, model: str, number: int) -> None:
        while time.perf_counter() < end:
            answer = await ask(session, url, model, number, tokens=random.randint(*TOKENS))
            tokens[model] += answer.tokens
            firsts[model].append(answer.times[0] - answer.began)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        everybody = [person(session, m, n) for m, count in zip(models, people, strict=True) for n in range(count)]
        await asyncio.gather(*everybody)
    waits = sorted(w for each in firsts.values() for w in each)
    return {
        "tokens_per_second": sum(tokens.values()) / seconds,
        "first_token_p50_s": statistics.median(waits),
        "first_token_p99_s": waits[int(0.99 * len(waits))],
        "worst_persona_first_token_p50_s": max(statistics.median(firsts[m]) for m in models),
        "worst_first_token_s": waits[-1],
    }


def _print(rows: list[dict[str, Any]]) -> None:
    headers = ("load", "slots", "order", "tok/s", "first token p50 s", "p99 s", "worst persona p50 s", "worst s")
    table = Table(*headers, title=f"{PERSONAS} personas asked without a pause")
    for row in rows:
        load, slots, order, *figures = row.values()
        table.add_row(load, str(slots), order, *[f"{value:.2f}" for value in figures])
    Console().print(table)


if __name__ == "__main__":
    main()
