"""Figures of a sweep: the loss by each setting, what decided, and how the best came about."""

import math
import warnings

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from evaluate.reports.figures import GRID, MUTED, SERIES, STYLE, Drawing, canvas, drawing
from understudy.config.trial import Sweep, SweepTrial

LOG = ("learning_rate",)
"""Settings that are drawn on a logarithmic scale."""
LOSS = "Held-out loss, nats per token"
PLAIN, BEST = SERIES[2], SERIES[3]


def draw_sweep(found: Sweep) -> tuple[Drawing, ...]:
    """All figures that there are trials for; the same sweep gives the same bytes."""
    names = list(dict.fromkeys(name for trial in found.done for name in trial.settings))
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # names may be in any script
        figures = [_importance(found), _history(found), *(_by_setting(found, name) for name in names)]
    return tuple(one for one in figures if one is not None)


def _by_setting(found: Sweep, name: str) -> Drawing | None:
    """Each trial as a point; the best in another colour. Values that are no numbers stand side by side."""
    trials = [trial for trial in found.done if name in trial.settings]
    values = [trial.settings[name] for trial in trials]
    if len(set(values)) < 2:
        return None
    figure, axes = canvas(170.0, 34.0, left=34.0)
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numeric and name in LOG:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    order = list(dict.fromkeys(sorted(values, key=float if numeric else str)))
    places = [float(value) if numeric else float(order.index(value)) for value in values]
    if not numeric:
        axes.set_xticks(range(len(order)), [_short(str(value)) for value in order])
        axes.set_xlim(-0.5, len(order) - 0.5)
    for place, trial in zip(places, trials, strict=True):
        _point(axes, place, trial, found)
    _finish(axes, name)
    told = "; ".join(f"{_said(value)}: {_least(trials, name, value):.3f}" for value in order[:12])
    return drawing(figure, f"by-{name}", f"Loss by {_words(name)}", f"{LOSS} by {_words(name)}. The least for {told}.")


def _importance(found: Sweep) -> Drawing | None:
    if not found.importance:
        return None
    rows = sorted(found.importance.items(), key=lambda row: -row[1])
    figure, axes = canvas(26.0 * len(rows), 6.0)
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
    for y, (name, share) in enumerate(rows):
        axes.barh(y, 0.5 * share, left=0.34, height=0.6, color=PLAIN)
        axes.text(0.32, y, _words(name), va="center", ha="right", color=MUTED)
        axes.text(0.35 + 0.5 * share, y, f"{share:.0%}", va="center", ha="left")
    told = ", ".join(f"{_words(name)} {share:.0%}" for name, share in rows)
    return drawing(figure, "importance", "What decided", f"How much each setting decided: {told}.")


def _history(found: Sweep) -> Drawing | None:
    """Every trial in its order, and the best loss until then as a line of steps."""
    trials = sorted(found.done, key=lambda trial: trial.number)
    if not trials:
        return None
    figure, axes = canvas(170.0, 34.0, left=34.0)
    best, line = math.inf, []
    for trial in trials:
        best = min(best, trial.loss or 0.0)
        line.append(best)
        _point(axes, trial.number, trial, found)
    axes.plot([trial.number for trial in trials], line, color=BEST, drawstyle="steps-post")
    _finish(axes, "trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    told = f"{len(trials)} trials; the best so far went from {line[0]:.3f} to {line[-1]:.3f}."
    return drawing(figure, "history", "The best so far", f"{LOSS}: {told}")


def _point(axes: Axes, place: float, trial: SweepTrial, found: Sweep) -> None:
    best = trial is found.best
    mark, color, size = ("D", BEST, 8) if best else ("o", PLAIN, 6)
    axes.plot([place], [trial.loss or 0.0], mark, color=color, markersize=size)


def _finish(axes: Axes, name: str) -> None:
    axes.set(xlabel=_words(name))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _least(trials: list[SweepTrial], name: str, value: object) -> float:
    return min(trial.loss or 0.0 for trial in trials if trial.settings[name] == value)


def _said(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _short(value: str) -> str:
    """A folder's or a Hub id's last part: bases have long names."""
    last = value.rstrip("/").rpartition("/")[2]
    return last if len(last) <= 18 else f"{last[:17]}…"
