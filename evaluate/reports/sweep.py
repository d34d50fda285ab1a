"""A sweep as one Markdown page with figures: what mattered, how the best came about, and every trial."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from evaluate.reports.figures import GRID, MUTED, SERIES, Drawing, canvas, drawing, drawing_style
from evaluate.reports.markdown import plain, table
from understudy.config.trial import Sweep, SweepTrial

HOW = (
    "Each trial is judged by cross-validation on the training rows: the mean loss of the rows left out, in nats per "
    "token of the answer. The recipe's held-out rows are not used. The importance of a setting is PED-ANOVA's "
    "(arXiv:2304.10255)."
)
LOG = ("learning_rate",)
"""Settings that are drawn on a logarithmic scale."""
LOSS = "Held-out loss, nats per token"
PLAIN, BEST = SERIES[2], SERIES[3]


def write_sweep(found: Sweep, folder: Path) -> Path:
    """Writes `sweep.json`, `sweep.md` and the figures as SVG into `folder`; returns the Markdown file."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = draw_sweep(found)
    for one in drawings:
        (folder / f"{one.name}.svg").write_text(one.file, encoding="utf-8")
    (folder / "sweep.json").write_text(found.model_dump_json(indent=2), encoding="utf-8")
    page = folder / "sweep.md"
    page.write_text(sweep_markdown(found, drawings), encoding="utf-8")
    return page


def sweep_markdown(found: Sweep, drawings: tuple[Drawing, ...]) -> str:
    """Writes what mattered, the figures, and every trial in a table."""
    names = list(dict.fromkeys(name for trial in found.trials for name in trial.settings))
    given_up = sorted((trial for trial in found.trials if trial.loss is None), key=lambda trial: trial.number)
    trials = table(
        ["trial", *map(_label, names), "held-out loss", "best epoch", "seconds"],
        ([plain(cell) for cell in _row(trial, names)] for trial in (*found.done, *given_up)),
    )
    figures = [f"![{plain(one.alt)}]({one.name}.svg)" for one in drawings]
    parts = [f"# Sweep of {plain(found.recipe)}", plain(summary(found)), *figures, "\n".join(trials), HOW]
    return "\n\n".join(parts) + "\n"


def summary(found: Sweep) -> str:
    """Says how many trials there were, which was best, and how the recipe's own settings compare."""
    done, best = found.done, found.best
    if best is None:
        return f"None of {len(found.trials)} trials finished."
    chosen = ", ".join(f"{_label(name)} {_value(value)}" for name, value in best.settings.items())
    text = (
        f"{len(found.trials)} trials, {len(found.trials) - len(done)} of them given up after the first folds. The "
        f"best, number {best.number}, has a held-out loss of {best.loss:.3f} with {chosen}."
    )
    own = next((trial for trial in done if trial.number == 0), None)
    if own is not None and own is not best:
        text += f" The recipe's own settings have {own.loss:.3f}."
    return text


def _row(trial: SweepTrial, names: list[str]) -> list[str]:
    values = [_value(trial.settings.get(name, "–")) for name in names]
    loss = "given up" if trial.loss is None else f"{trial.loss:.3f}"
    epoch = "–" if trial.best_epoch is None else str(trial.best_epoch)
    return [str(trial.number), *values, loss, epoch, f"{trial.seconds:.0f}"]


def draw_sweep(found: Sweep) -> tuple[Drawing, ...]:
    """Draws every figure that has data; the same sweep gives the same bytes."""
    names = list(dict.fromkeys(name for trial in found.done for name in trial.settings))
    with drawing_style():
        figures = [_importance(found), _history(found), *(_by_setting(found, name) for name in names)]
    return tuple(one for one in figures if one is not None)


def _by_setting(found: Sweep, name: str) -> Drawing | None:
    """Draws each trial as a point, the best in another colour; values that are not numbers get places of their own."""
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
    text = "; ".join(f"{_value(value)}: {_lowest(trials, name, value):.3f}" for value in order[:12])
    return drawing(figure, f"by-{name}", f"Loss by {_label(name)}", f"{LOSS} by {_label(name)}. The lowest for {text}.")


def _importance(found: Sweep) -> Drawing | None:
    if not found.importance:
        return None
    rows = sorted(found.importance.items(), key=lambda row: -row[1])
    figure, axes = canvas(26.0 * len(rows), 6.0)
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
    for y, (name, share) in enumerate(rows):
        axes.barh(y, 0.5 * share, left=0.34, height=0.6, color=PLAIN)
        axes.text(0.32, y, _label(name), va="center", ha="right", color=MUTED)
        axes.text(0.35 + 0.5 * share, y, f"{share:.0%}", va="center", ha="left")
    text = ", ".join(f"{_label(name)} {share:.0%}" for name, share in rows)
    return drawing(figure, "importance", "Importance", f"Importance of each setting for the loss: {text}.")


def _history(found: Sweep) -> Drawing | None:
    """Draws every trial in its order, and the best loss so far as a step line."""
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
    text = f"{len(trials)} trials; the best so far went from {line[0]:.3f} to {line[-1]:.3f}."
    return drawing(figure, "history", "The best so far", f"{LOSS}: {text}")


def _point(axes: Axes, place: float, trial: SweepTrial, found: Sweep) -> None:
    best = trial is found.best
    mark, color, size = ("D", BEST, 8) if best else ("o", PLAIN, 6)
    axes.plot([place], [trial.loss or 0.0], mark, color=color, markersize=size)


def _finish(axes: Axes, name: str) -> None:
    axes.set(xlabel=_label(name))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _lowest(trials: list[SweepTrial], name: str, value: object) -> float:
    return min(trial.loss or 0.0 for trial in trials if trial.settings[name] == value)


def _value(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _label(name: str) -> str:
    return name.replace("_", " ")


def _short(value: str) -> str:
    """Returns the last part of a folder's or a Hub model's name, cut to 18 characters."""
    last = value.rstrip("/").rpartition("/")[2]
    return last if len(last) <= 18 else f"{last[:17]}…"
