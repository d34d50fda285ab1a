"""What the gateway costs: the same load on it and straight on vLLM, in turn, on one engine.

python -m bench.serving.gateway [--rounds 5] [--tokens 32] [--base smollm2]

A round in which the machine itself stood still is measured again.
"""

import argparse
import asyncio
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.figures import save_bars
from bench.gateway import Stage, open_stage
from bench.goals import Goal, judge
from bench.machine import save
from bench.serving.load import Figures, load
from bench.serving.stalls import Stalls, watch_stalls

LOADS = [(1, True), (16, True), (64, True), (16, False)]
"""Concurrency, and whether answers are streamed."""
REQUESTS = {1: 5, 16: 32, 64: 64}
"""In each round, by concurrency."""
ATTEMPTS = 4


def main() -> None:
    """Starts a gateway of its own, measures, prints one table, writes docs/results/serve.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each load, direct and gateway in turn (5)")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of each answer (32)")
    parser.add_argument("--base", default="smollm2", help="a known base or a folder (smollm2)")
    arguments = parser.parse_args()
    with open_stage(base=arguments.base) as stage:
        rows = asyncio.run(_measure(stage, arguments.rounds, arguments.tokens))
    _print(rows)
    told = {"base": arguments.base, "rounds": arguments.rounds, "tokens": arguments.tokens, **judge(goals(rows))}
    print(save("serve", {**told, "rows": rows}))
    print(_figure(rows))


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """What the gateway may cost, streamed."""
    found = {row["concurrency"]: row for row in rows if row["stream"]}
    made = []
    for people in (1, 16):
        row = found[people]
        made.append(Goal(f"gateway of vLLM direct, tokens/s, {people} at once", row["throughput_ratio"], 0.97))
        added = row["first_token_added_ms"]
        made.append(Goal(f"ms more to the first token, {people} at once", added, 3.0, most=True))
    return made


async def _measure(stage: Stage, rounds: int, tokens: int) -> list[dict[str, Any]]:
    rows, urls = [], {"direct": stage.engine_url, "gateway": stage.url}
    (process,) = stage.processes()["gateway"]
    with watch_stalls() as stalls:
        for concurrency, stream in LOADS:
            options = {
                "concurrency": concurrency,
                "requests": REQUESTS[concurrency],
                "tokens": tokens,
                "stream": stream,
            }
            both: dict[str, list[Figures]] = {name: [] for name in urls}
            cpu: list[float] = []
            for number in track(range(-1, rounds), description=f"{concurrency} at once", transient=True):
                for name in sorted(urls, reverse=number % 2 == 0):  # who is first changes from round to round
                    figures, spent = await _undisturbed(stalls, urls[name], options, process)
                    if number >= 0:  # the first round warms up
                        both[name].append(figures)
                        cpu += [spent] if name == "gateway" else []
            answers = REQUESTS[concurrency] * (tokens if stream else 1)
            rows.append(
                {
                    "concurrency": concurrency,
                    "stream": stream,
                    **_compare(both["direct"], both["gateway"]),
                    "gateway_cpu_us_per_piece": 1e6 * statistics.median(cpu) / answers,
                }
            )
    return rows


async def _undisturbed(
    stalls: Stalls, url: str, options: dict[str, Any], process: psutil.Process
) -> tuple[Figures, float]:
    """A round of load, the machine running all the while (after some attempts whatever came), and CPU seconds."""
    for attempt in range(1, ATTEMPTS + 1):
        begin, before = time.perf_counter(), process.cpu_times()
        figures = await load(url, "base", **options)
        after = process.cpu_times()
        if attempt == ATTEMPTS or not stalls.within(begin, time.perf_counter()):
            return figures, after.user + after.system - before.user - before.system
    raise AssertionError("at least one attempt is made")


def _compare(direct: list[Figures], gateway: list[Figures]) -> dict[str, Any]:
    """Medians of each, and the median of the ratios round by round."""
    pairs = list(zip(direct, gateway, strict=True))
    return {
        "throughput_ratio": statistics.median(g.tokens_per_second / d.tokens_per_second for d, g in pairs),
        "first_token_added_ms": statistics.median(g.first_token - d.first_token for d, g in pairs),
        "direct": _medians(direct),
        "gateway": _medians(gateway),
    }


def _medians(figures: list[Figures]) -> dict[str, float]:
    return {key: round(statistics.median(asdict(f)[key] for f in figures), 2) for key in asdict(figures[0])}


def _figure(rows: list[dict[str, Any]]) -> Path:
    """First tokens and speed, direct and through the gateway, where answers are streamed."""
    panels: dict[str, dict[str, float | None]] = {}
    for row in (row for row in rows if row["stream"]):
        where = f"{row['concurrency']} at once"
        for what, key in (("first token, ms", "first_token"), ("tokens/s", "tokens_per_second")):
            panels[f"{what}, {where}"] = {name: row[name][key] for name in ("direct", "gateway")}
    return save_bars("serve", "The gateway beside vLLM asked straight", panels)


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(
        "at once",
        "streamed",
        "direct tok/s",
        "gateway tok/s",
        "ratio",
        "first token +ms",
        "gateway CPU µs/piece",
        title="Gateway against direct vLLM",
    )
    for row in rows:
        direct, gateway = row["direct"]["tokens_per_second"], row["gateway"]["tokens_per_second"]
        added = f"{row['first_token_added_ms']:.1f}" if row["stream"] else "-"
        streamed = "yes" if row["stream"] else "no"
        table.add_row(
            str(row["concurrency"]),
            streamed,
            f"{direct:.0f}",
            f"{gateway:.0f}",
            f"{row['throughput_ratio']:.3f}",
            added,
            f"{row['gateway_cpu_us_per_piece']:.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
