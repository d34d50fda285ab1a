"""Goals of benches: what was aimed at, what was found, met or missed. They are printed and kept with the figures."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """One goal; `found` is None where nothing was measured, which is neither met nor missed."""

    what: str
    found: float | None
    bound: float
    most: bool = False
    """Whether the bound is the most that is allowed, and not the least."""

    @property
    def verdict(self) -> str:
        """`met`, `missed` or `not measured`."""
        if self.found is None or math.isnan(self.found):
            return "not measured"
        return "met" if (self.found <= self.bound if self.most else self.found >= self.bound) else "missed"

    def row(self) -> dict[str, Any]:
        """As it is kept in a result."""
        return {**asdict(self), "verdict": self.verdict}


def judge(goals: Sequence[Goal]) -> dict[str, Any]:
    """Prints the goals and returns them for `save`."""
    table = Table("goal", "aimed at", "found", "", title="Goals", title_justify="left")
    for goal in goals:
        found = "-" if goal.found is None else f"{goal.found:,.3g}"
        table.add_row(goal.what, f"{'≤' if goal.most else '≥'} {goal.bound:g}", found, goal.verdict)
    Console(width=118).print(table)
    return {"goals": [goal.row() for goal in goals]}


def ratio(one: float | None, other: float | None) -> float | None:
    """`one` over `other`, where both were measured."""
    return one / other if one is not None and other else None
