"""What the bench of trainers shows: its table, its goals and its picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import save_bars
from bench.goals import Goal
from bench.training.trainers.ways import OURS, TUNED

Row = dict[str, Any]
EQUAL = 0.02
"""Nats by which held-out losses of the same settings may differ: packing and kernels round differently."""


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Never slower than TRL tuned by hand, in no round, and as good."""
    found = {(row["case"], row["way"]): row for row in rows if "reason" not in row}
    made = []
    for case in dict.fromkeys(row["case"] for row in rows):
        ours, tuned = found.get((case, OURS)), found.get((case, TUNED))
        least = ours["of_tuned_least"] if ours and tuned else None
        made.append(Goal(f"{case}: of tuned TRL, its worst round", least, 1.0))
        above = ours["heldout_loss"] - tuned["heldout_loss"] if ours and tuned else None
        made.append(Goal(f"{case}: held-out loss above tuned TRL's", above, EQUAL, most=True))
        later = ours["to_adapter_s"] / tuned["to_adapter_s"] if ours and tuned else None
        made.append(Goal(f"{case}: command to adapter, of tuned TRL's", later, 1.0, most=True))
    return made


def show(console: Console, rows: Sequence[Row]) -> None:
    """Prints a line for each case and trainer."""
    table = Table(title="Training")
    names = ("", "trainer", "rounds", "tokens/s", "of tuned", "peak MiB", "first step s", "adapter s", "held-out", "?")
    for name in names:
        table.add_column(name, justify="left" if name in ("", "trainer", "?") else "right")
    for row in rows:
        if "reason" in row:
            table.add_row(row["case"], row["way"], *("-" for _ in range(7)), row["reason"])
            continue
        table.add_row(
            row["case"],
            row["way"],
            str(row["rounds"]),
            f"{row['tokens_per_second']:,.0f}",
            f"{row['of_tuned']:.2f}" if row["of_tuned"] else "-",
            f"{row['peak_memory_mib']:,.0f}",
            f"{row['first_step_s']:.1f}",
            f"{row['to_adapter_s']:.1f}",
            f"{row['heldout_loss']:.3f}",
            "; ".join(row["problems"]) or "loadable",
        )
    console.print(table)


def draw(rows: Sequence[Row], case: str) -> Path:
    """The picture of one case: what a newcomer waits for, and what it takes."""
    panels = {
        "from the command to an adapter on disk, seconds": "to_adapter_s",
        "from the command to the first optimiser step, seconds": "first_step_s",
        "tokens a second": "tokens_per_second",
        "most memory, MiB": "peak_memory_mib",
    }
    of_case = [row for row in rows if row["case"] == case]
    bars = {title: {row["way"]: row.get(key) for row in of_case} for title, key in panels.items()}
    return save_bars("train", f"Training a persona ({case})", bars)
