"""Too few slots: six personas asked at once, on enough slots and on three, by vLLM's order and by the gateway's turns.

python -m bench.slots [--seconds 20]

Also what a slot costs in memory.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from bench.load import ask
from bench.machine import save
from bench.stage import Stage, memory, open_stage, train, vary

PERSONAS = 6
PEOPLE = 4
"""Who ask each persona without a pause."""
TOKENS = 32


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
            rows.append({"slots": 8, "order": "no queue", **asyncio.run(_load(stage.url, _names(), seconds))})
            few = memory(stage.processes()["engine"])
        with open_stage(home, slots=3) as stage:
            pinned = [f"p{n}@{stage.status()['live'][f'p{n}']}" for n in range(PERSONAS)]
            direct = asyncio.run(_load(stage.engine_url, pinned, seconds))
            rows.append({"slots": 3, "order": "vLLM alone", **direct})
            turns = asyncio.run(_load(stage.url, _names(), seconds))
            rows.append({"slots": 3, "order": "gateway's turns", **turns})
        with open_stage(home, slots=64) as stage:
            many = memory(stage.processes()["engine"])
    per_slot = (many - few) / (64 - 8)
    _print(rows)
    print(f"memory of one slot at maximum rank 64 on the embedded base: {per_slot:.2f} MiB")
    cost = {"engine_mib_8_slots": few, "engine_mib_64_slots": many, "mib_per_slot": per_slot}
    print(save("slots", {"seconds": seconds, "rows": rows, "memory": cost}))


def _names() -> list[str]:
    return [f"p{n}" for n in range(PERSONAS)]


def _publish(stage: Stage, trained: Any) -> None:
    for number, name in enumerate(_names()):
        revision = vary(stage.registry, trained, number, name)
        stage.admin("publish", persona=name, revision=revision.id)


async def _load(url: str, models: list[str], seconds: float) -> dict[str, Any]:
    """Everybody asks their persona again and again: tokens/s in all, first tokens, and the share of the slowest."""
    tokens: defaultdict[str, int] = defaultdict(int)
    firsts: defaultdict[str, list[float]] = defaultdict(list)
    end = time.perf_counter() + seconds

    async def person(session: aiohttp.ClientSession, model: str, number: int) -> None:
        while time.perf_counter() < end:
            answer = await ask(session, url, model, number, tokens=TOKENS)
            tokens[model] += answer.tokens
            firsts[model].append(answer.times[0] - answer.began)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        everybody = [person(session, model, n) for model in models for n in range(PEOPLE)]
        await asyncio.gather(*everybody)
    waits = sorted(w for each in firsts.values() for w in each)
    return {
        "tokens_per_second": sum(tokens.values()) / seconds,
        "first_token_p50_s": statistics.median(waits),
        "first_token_p99_s": waits[int(0.99 * len(waits))],
        "slowest_to_fastest_persona": min(tokens[m] for m in models) / max(tokens.values()),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    headers = ("slots", "order", "tok/s", "first token p50 s", "p99 s", "slowest / fastest persona")
    table = Table(*headers, title=f"{PERSONAS} personas, {PEOPLE} people each")
    for row in rows:
        figures = [f"{value:.2f}" for key, value in row.items() if key not in ("slots", "order")]
        table.add_row(str(row["slots"]), row["order"], *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
