"""What grows with what: personas 1 to 1,000, publishes 100 to 100,000, votes 1,000 to 1,000,000; SQLite and PostgreSQL.

python -m bench.arena.scale [--votes 1000000] [--publishes 100000] [--personas 1000] [--no-stage] [--no-postgres]

Each line of the table is something that somebody waits for; its exponent is the growth over the last factor of ten: 0
does not grow, 1 grows as the rows do. `stage` starts the real gateway with its engine for one persona and for many.
"""

import argparse
import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from bench.arena.postgres import NoPostgresError, postgres
from bench.arena.scale_gateway import stage_costs
from bench.arena.scale_parts import Costs, history_costs, persona_costs
from bench.arena.scale_votes import vote_costs
from bench.figures import save_lines
from bench.machine import save
from understudy.registry.database import open_database

FIRST = {"personas": 1, "publishes": 100, "votes": 1_000}
"""Smallest number of each."""

PARTS = {"personas": persona_costs, "publishes": history_costs, "votes": vote_costs}

Rows = dict[str, dict[str, list[tuple[int, float]]]]
"""Part -> what -> (size, seconds or MiB)."""


def main() -> None:
    """Measures, prints a table for each database, writes docs/results/scale.json and a figure for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for part, most in (("personas", 1_000), ("publishes", 100_000), ("votes", 1_000_000)):
        parser.add_argument(f"--{part}", type=int, default=most, help=f"most {part} ({most:,})")
    parser.add_argument("--no-stage", action="store_true", help="start no engine")
    parser.add_argument("--no-postgres", action="store_true", help="SQLite alone")
    chosen = parser.parse_args()
    most = {part: getattr(chosen, part) for part in PARTS}
    found: dict[str, Any] = {}
    with databases(with_postgres=not chosen.no_postgres) as (engines, skipped):
        for name, engine in engines.items():
            found[name] = {
                part: _collected(measure(engine, sizes(part, most[part]))) for part, measure in PARTS.items()
            }
            _print(f"Cost by size, {name}", found[name])
    if skipped:
        print(f"PostgreSQL: {skipped}")
    stage = None if chosen.no_stage else _collected(stage_costs([1, most["personas"]]))
    if stage:
        _print("A real gateway and its engine", {"personas": stage})
    for part in PARTS:
        _draw(part, found)
    print(save("scale", {"databases": found, "stage": stage, "postgres_skipped": skipped or None}))


def sizes(part: str, most: int) -> list[int]:
    """Powers of ten from the smallest to `most`."""
    first = FIRST[part]
    return [first * 10**n for n in range(1 + max(0, round(math.log10(most / first))))]


@contextlib.contextmanager
def databases(*, with_postgres: bool) -> Iterator[tuple[dict[str, Engine], str]]:
    """Empty ones by name, and why PostgreSQL is not among them."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        engines, skipped = {"SQLite": open_database(f"sqlite:///{Path(folder) / 'scale.db'}")}, "not asked for"
        if with_postgres:
            try:
                engines["PostgreSQL"], skipped = open_database(stack.enter_context(postgres())), ""
            except NoPostgresError as error:
                skipped = str(error)
        yield engines, skipped
        for engine in engines.values():
            engine.dispose()


def exponent(points: list[tuple[int, float]]) -> float | None:
    """Growth over the last step: 1 when twice the rows cost twice as much."""
    if len(points) < 2 or min(points[-2][1], points[-1][1]) <= 0:
        return None
    (before, less), (size, more) = points[-2:]
    return math.log(more / less) / math.log(size / before)


def _collected(costs: Iterator[Costs]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for cost in costs:
        for what, value in cost.values.items():
            found.setdefault(what, []).append((cost.size, value))
    return found


def _print(title: str, rows: Rows) -> None:
    for part, lines in rows.items():
        measured = sorted({size for points in lines.values() for size, _ in points})
        table = Table(part, *(f"{size:,}" for size in measured), "exponent", title=title, title_justify="left")
        for what, points in lines.items():
            slope, known = exponent(points), dict(points)
            cells = [shown(known[size], what) if size in known else "" for size in measured]
            table.add_row(what, *cells, "" if slope is None else f"{slope:.2f}")
        Console(soft_wrap=True).print(table)


def shown(value: float, what: str) -> str:
    """A figure with its unit, which is in the name of what was measured; seconds unless that says otherwise."""
    if what.endswith(("MiB", "number")):
        return f"{value:,.1f}" if what.endswith("MiB") else f"{value:,.0f}"
    return f"{value:.2f} s" if value >= 1 else f"{1e3 * value:.2f} ms" if value >= 1e-3 else f"{1e6 * value:.0f} µs"


def _draw(part: str, found: dict[str, Rows]) -> None:
    lines = {
        f"{what}{' (PostgreSQL)' if name != 'SQLite' else ''}": [(float(size), 1e3 * value) for size, value in points]
        for name, rows in found.items()
        for what, points in rows[part].items()
        if not what.endswith(("MiB", "number"))
    }
    few = dict(sorted(lines.items(), key=lambda line: -line[1][-1][1])[:6])
    save_lines(f"scale-{part}", f"What grows with {part}", few, across=part, up="ms", logarithmic="xy")


if __name__ == "__main__":
    main()
