"""Many adapters on one base: ours against the servers that others use, same adapters, prompts and answer lengths.

python -m bench.serving.peers_serving [--rounds 3] [--seconds 1] [--tokens 32] [--only NAME ...]

All servers run and idle while one is asked; each cell (adapters by people at once) is asked of one after the other, in
the other order in the next round. Answers are greedy and all of one length, each prompt comes once. The adapters are
random, of the shape that `understudy train` gives them; everybody computes in the type that the base's configuration
says, llama.cpp in float16 and in 8 bits.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import save_bars
from bench.gateway import Stage, open_stage
from bench.goals import Goal, judge
from bench.machine import save
from bench.serving.adapters import random_adapter
from bench.serving.load import prompts_of
from bench.serving.peers.llama_cpp import PeerError
from bench.serving.peers.matrix import GRID, Load, Sample, cells, measure, ratio, summarise
from bench.serving.peers.others import DEMO, PEERS
from bench.serving.peers.servers import DIRECT, OURS, Cast, Server, of_stage
from understudy.bases import resolve_base

PROMPT = 200
"""Tokens of each prompt."""
PROMPTS = 3000
"""Different prompts: more than are ever asked."""
RANK = 8
"""Of the adapters, as `understudy train` chooses it for up to a hundred rows."""
SCALE = 0.03
"""Of their random matrices, which then change a weight by a percent or two: the base is heard, and ends its answers."""
CARD = {"title": "One of many", "prompts": ["Say hello."]}
WIDTH = 118
"""Characters in a line of the tables."""


def main() -> None:
    """Measures, prints the tables and the goals, writes docs/results/peers-serving.json and .svg."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2", help="a known base or a folder (smollm2)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each cell is asked of each server (3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="after which nobody asks anew in a cell (1)")
    parser.add_argument("--tokens", type=int, default=32, help="of each answer (32)")
    parser.add_argument("--most", type=int, default=32, help="adapters: cells with more are left out (32)")
    parser.add_argument("--people", type=int, default=16, help="at once: cells with more are left out (16)")
    parser.add_argument("--only", nargs="*", choices=PEERS, default=list(PEERS), help="these peers beside ours")
    arguments = parser.parse_args()
    grid = [cell for cell in GRID if cell[0] <= arguments.most and cell[1] <= arguments.people]
    console, began = Console(width=WIDTH), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stage, cast = _stage(Path(folder), stack, arguments.base, arguments.most)
        load = Load(prompts_of(cast.base, PROMPT, PROMPTS), arguments.tokens, arguments.seconds)
        servers, reasons = of_stage(stage), {}
        for name in arguments.only:
            try:
                servers.append(stack.enter_context(PEERS[name](cast)))
            except PeerError as error:
                reasons[name] = str(error)
                console.print(f"{name}: not run: {error}", style="dim")
        console.print(f"{len(servers)} servers after {time.monotonic() - began:.0f} s", style="dim")
        tell = lambda line: console.print(line, style="dim")  # noqa: E731
        samples = asyncio.run(measure(servers, cast.names, grid, arguments.rounds, load, tell))
        about = {server.name: _about(server, grid) for server in servers}
    rows = summarise(samples)
    _print(console, rows, about, reasons)
    told = {"base": arguments.base, "rounds": arguments.rounds, "prompt_tokens": PROMPT, "tokens": arguments.tokens}
    told |= {"minutes": round((time.monotonic() - began) / 60, 1), **judge(goals(samples))}
    print(save("peers-serving", {**told, "servers": about, "not_run": reasons, "rows": rows}))
    print(_figure(rows, about))


def goals(samples: Sequence[Sample]) -> list[Goal]:
    """What we aim at: each a median of ratios round by round."""

    def of(one: tuple[int, int], other: tuple[int, int], server: str) -> float | None:
        return ratio(samples, (one, OURS), (other, server))

    return [
        Goal("gateway of vLLM direct, base, 1 at once", of((0, 1), (0, 1), DIRECT), 0.97),
        Goal("gateway of vLLM direct, base, 16 at once", of((0, 16), (0, 16), DIRECT), 0.97),
        Goal("six mixed adapters of the base, 16 at once", of((6, 16), (0, 16), OURS), 0.85),
        Goal("one adapter of the base, 1 at once", of((1, 1), (0, 1), OURS), 0.80),
        Goal("times the usual demo, 6 adapters, 16 at once", of((6, 16), (6, 16), DEMO), 5.0),
    ]


def _stage(home: Path, stack: contextlib.ExitStack, base: str, most: int) -> tuple[Stage, Cast]:
    """Our gateway with all adapters live, and the same adapters for the others."""
    cast = Cast(resolve_base(base), {}, home / "peers")
    cast.folder.mkdir()
    stage = stack.enter_context(open_stage(home, base=base, slots=most + 2))
    for seed in range(3 * most):
        name = f"p{len(cast.adapters)}"
        folder = random_adapter(home / f"random-{seed}", seed=seed, rank=RANK, scale=SCALE, base=cast.base)
        revision = stage.registry.push(name, folder, card=CARD, actor="bench")
        try:
            stage.admin("publish", persona=name, revision=revision.id)
        except SystemExit as refused:  # a random adapter may talk without an end
            print(refused)
            continue
        cast.adapters[name] = stage.registry.path(revision)
        if len(cast.adapters) == most:
            return stage, cast
    raise SystemExit(f"of {3 * most} random adapters only {len(cast.adapters)} were taken")


def _about(server: Server, grid: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Its version, its memory after all was asked, and how many adapters it had by then."""
    return {
        "version": server.version,
        **server.memory(),
        "adapters": max((adapters for adapters, _ in cells(server, grid)), default=0),
    }


def _print(
    console: Console, rows: Sequence[dict[str, Any]], about: dict[str, dict[str, Any]], reasons: dict[str, str]
) -> None:
    headers = ("adapters", "at once", "server", "tok/s", "of ours", "first p50 ms", "p99 ms", "between p50", "failed")
    table, last = Table(*headers, title="One base, many adapters"), None
    for row in sorted(rows, key=lambda row: (row["adapters"], row["concurrency"])):
        cell = (row["adapters"], row["concurrency"])
        if last not in (None, cell):
            table.add_section()
        last = cell
        figures = [row[f"{key}_ms"] for key in ("first_token_p50", "first_token_p99", "between_tokens_p50")]
        table.add_row(
            str(row["adapters"] or "base"),
            str(row["concurrency"]),
            row["server"],
            f"{row['tokens_per_second']:,.0f}",
            "-" if row["of_ours"] is None else f"{row['of_ours']:.2f}",
            *("-" if figure is None else f"{figure:,.0f}" for figure in figures),
            str(row["failures"]),
        )
    console.print(table)
    servers = Table("server", "version", "PSS MiB", "RSS MiB", "adapters")
    for name, each in about.items():
        servers.add_row(name, *map(str, each.values()))
    for name, reason in reasons.items():
        servers.add_row(name, f"not run: {reason}")
    console.print(servers)


def _figure(rows: Sequence[dict[str, Any]], about: dict[str, dict[str, Any]]) -> Path:
    panels: dict[str, dict[str, float | None]] = {}
    for cell, what in (((0, 1), "the base, 1 at once"), ((0, 16), "the base, 16 at once"), ((6, 16), "6 adapters, 16")):
        speeds = {r["server"]: r["tokens_per_second"] for r in rows if (r["adapters"], r["concurrency"]) == cell}
        panels[f"tokens/s, {what}"] = {name: speeds.get(name) for name in about}
    panels["memory, MiB (PSS)"] = {name: each["pss_mib"] for name, each in about.items()}
    return save_bars("peers-serving", "One base, many adapters", panels)


if __name__ == "__main__":
    main()
