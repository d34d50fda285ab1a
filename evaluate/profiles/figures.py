"""Figures of a comparison of profiles, drawn as a report's are."""

import warnings

import matplotlib as mpl

from evaluate.profiles.records import Comparison
from evaluate.reports.figures import STYLE, Drawing, intervals, measured


def draw_comparison(comparison: Comparison) -> tuple[Drawing, ...]:
    """All figures there are figures for; the same comparison gives the same bytes."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # names may be in any script
        found = (
            _shares(comparison, "faithful", "Faithful profiles"),
            _shares(comparison, "same_facts", "Two samples agree on the facts"),
            _shares(comparison, "made_up", "Attribute made up where it was left out"),
            _swap(comparison),
        )
    return tuple(one for one in found if one is not None)


def _shares(comparison: Comparison, key: str, title: str) -> Drawing | None:
    return intervals(key.replace("_", "-"), title, measured(comparison.contestants, key), "share", limits=(0, 1))


def _swap(comparison: Comparison) -> Drawing | None:
    """Two lines a contestant: the swapped record against the record, and the record against itself."""
    rows = []
    for i, (one, row) in enumerate(zip(comparison.contestants, comparison.swaps, strict=True)):
        if row.effect:
            rows += [(i, f"{one.name}, swapped", row.effect.across), (i, "… the same record again", row.effect.within)]
    swap = comparison.swap
    title = f"Other attributes that differ, {swap.one} / {swap.other}"
    most = max((figure.high for _, _, figure in rows), default=0.0)
    return intervals("swap", title, rows, "share", limits=(0, 1 if most > 0.5 else 0.5))
