"""Figures of benches: one SVG file beside each JSON, in the look of the reports, for light and dark."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

from bench.machine import results
from evaluate.reports.figures import GRID, INK, MARKERS, MUTED, SERIES, STYLE, Drawing, canvas, drawing


def save_bars(name: str, title: str, panels: Mapping[str, Mapping[str, float | None]], *, digits: int = 0) -> Path:
    """Writes `docs/results/<name>.svg`: a panel each with its own scale, a bar each; None is shown as a dash.

    A name has one colour in all panels.
    """
    colors = {label: i for i, label in enumerate(dict.fromkeys(label for bars in panels.values() for label in bars))}
    height = sum(22.0 * len(bars) + 30.0 for bars in panels.values())
    said = []
    with mpl.rc_context(STYLE):
        figure, whole = canvas(height, 4.0)
        whole.remove()
        top = 1.0
        for what, bars in panels.items():
            share = (22.0 * len(bars) + 30.0) / (height + 12.0)
            axes = figure.add_axes((0.02, top - share, 0.96, share * 22.0 * len(bars) / (22.0 * len(bars) + 30.0)))
            top -= share
            axes.set_axis_off()
            axes.set_title(what, loc="left", fontsize=11.5, color=INK, pad=4)
            axes.set(xlim=(0, 1), ylim=(len(bars) - 0.4, -0.6))
            most = max((value for value in bars.values() if value is not None), default=0.0) or 1.0
            for y, (label, value) in enumerate(bars.items()):
                width = 0.44 * (value or 0.0) / most
                axes.barh(y, width, left=0.40, height=0.62, color=SERIES[colors[label] % len(SERIES)])
                axes.text(0.38, y, label, va="center", ha="right", color=MUTED)
                text = "-" if value is None else f"{value:,.{digits}f}"
                axes.text(0.41 + width, y, text, va="center", ha="left")
            said.append(f"{what}: " + ", ".join(f"{label} {value}" for label, value in bars.items()))
        return _write(drawing(figure, name, title, f"{title}. " + "; ".join(said) + "."))


def save_lines(
    name: str,
    title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    across: str,
    up: str,
    logarithmic: str = "",
) -> Path:
    """Writes `docs/results/<name>.svg`: a line each through its points; `logarithmic` is "", "x", "y" or "xy"."""
    with mpl.rc_context(STYLE):
        figure, axes = canvas(210.0, 36.0, left=52.0)
        for i, (label, points) in enumerate(lines.items()):
            mark, color = MARKERS[i % len(MARKERS)], SERIES[i % len(SERIES)]
            axes.plot([x for x, _ in points], [y for _, y in points], color=color, marker=mark, label=label)
        axes.set(xlabel=across, ylabel=up, **{f"{axis}scale": "log" for axis in logarithmic})
        if "y" not in logarithmic:
            axes.set_ylim(0, None)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        if len(lines) > 1:
            axes.legend(labelcolor=INK)
        said = "; ".join(f"{label}: " + ", ".join(f"{y:g} at {x:g}" for x, y in line) for label, line in lines.items())
        return _write(drawing(figure, name, title, f"{title}. {up} by {across}. {said}."))


def _write(one: Drawing) -> Path:
    path = results() / f"{one.name}.svg"
    path.write_text(one.file)
    return path
