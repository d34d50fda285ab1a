"""Figures of a report as SVG: text stays text, colours are CSS variables, so that one drawing is for light and dark."""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from evaluate.reports.records import Report, ReportContestant, Scale
from evaluate.reports.wording import number, shown
from understudy.statistics.intervals import Estimate

WIDTH = 380.0
"""Of a drawing in points; about the width of a phone, so that text is not shrunk there."""
SCALE = 1.4
"""How much larger a file is shown where there is room."""
INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0a0a{i:02x}" for i in range(8))
MARKERS = "osD^vPX*"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    PAPER: "var(--paper)",
    **{color: f"var(--s{i})" for i, color in enumerate(SERIES)},
}
"""Colours that are drawn with, which nothing is ever seen in, and what takes their place."""
LIGHT = (
    "--ink:#1d2430;--muted:#5a6373;--line:#dde1e8;--paper:#ffffff;--s0:#5f6673;--s1:#a66f00;--s2:#0066b3;"
    "--s3:#c2410c;--s4:#00805a;--s5:#a8548a;--s6:#2386b3;--s7:#222222"
)
DARK = (
    "--ink:#e8ebf0;--muted:#a2abba;--line:#323a47;--paper:#171c24;--s0:#a3acb9;--s1:#e6b84c;--s2:#5eb1f2;"
    "--s3:#ff8a5b;--s4:#3fcf9f;--s5:#e39ac6;--s6:#8fd6f5;--s7:#f0f0f0"
)
"""Palettes after Okabe and Ito, told apart by colour-blind readers; contestants differ in their marks besides."""
STYLE: dict[RcKeyType, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "understudy",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 11.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
LONGEST = 30
"""Characters of a name in a figure."""


@dataclass(frozen=True)
class Drawing:
    """One figure: `svg` is to stand in a page that has the variables of `LIGHT` and `DARK`."""

    name: str
    """For file names."""
    title: str
    alt: str
    """What it shows, in words."""
    svg: str

    @property
    def file(self) -> str:
        """A whole SVG file that follows the reader's light or dark setting by itself."""
        css = f"svg{{{LIGHT}}}@media(prefers-color-scheme:dark){{svg{{{DARK}}}}}"
        head, _, body = self.svg.partition(">")
        width, height = (float(side) * SCALE for side in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)[0])
        paper = '<rect width="100%" height="100%" fill="var(--paper)"/>'
        return f'{head} width="{width:.0f}" height="{height:.0f}"><style>{css}</style>{paper}{body}\n'


@contextmanager
def drawing_style() -> Iterator[None]:
    """Sets matplotlib's style for the figures drawn inside."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # names may be in any script
        yield


def draw(report: Report) -> tuple[Drawing, ...]:
    """Draws every figure that the report has data for; the same report gives the same bytes."""
    with drawing_style():
        found = (_style(report), _loss(report), _curves(report), _cost(report))
    return tuple(one for one in found if one is not None)


def measured(contestants: Sequence[ReportContestant], key: str) -> list[tuple[int, str, Estimate]]:
    """Place, name and figure of each contestant that has this one."""
    return [(i, one.name, figure) for i, one in enumerate(contestants) if (figure := one.figures.get(key))]


def _style(report: Report) -> Drawing | None:
    rows = measured(report.contestants, "in_style")
    return intervals("style", "Answers in style", rows, "share", limits=(0, 1), asked=report.style_asked)


def _loss(report: Report) -> Drawing | None:
    rows = measured(report.contestants, "loss")
    return intervals("loss", "Loss on held-out answers, nats per token", rows, "number")


def intervals(
    name: str,
    title: str,
    rows: Sequence[tuple[int, str, Estimate]],
    scale: Scale,
    *,
    limits: tuple[float, float] | None = None,
    asked: float | None = None,
) -> Drawing | None:
    """One line a row (its colour's number, its name, its figure): both in words, below them interval and mark."""
    if not rows:
        return None
    figure, axes = canvas(42.0 * len(rows), 20.0)
    low, high = limits or (0.0, 1.08 * max(one.high for _, _, one in rows))
    axes.set(xlim=(low - 0.02 * (high - low), high + 0.02 * (high - low)), ylim=(len(rows) - 0.68, -0.7), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    if asked is not None:
        axes.axvline(asked, color=MUTED, linewidth=1.2, linestyle=(0, (3, 3)))
    for y, (i, label, estimate) in enumerate(rows):
        _mark(axes, y, i, estimate)
        across = axes.get_yaxis_transform()
        axes.text(0.02, y - 0.4, _short(label), transform=across, va="center", ha="left", bbox=_halo())
        axes.text(0.98, y - 0.4, _worded(estimate, scale), transform=across, va="center", ha="right", bbox=_halo())
    if scale == "share":
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    alt = f"{title}: " + "; ".join(f"{label} {_worded(estimate, scale)}" for _, label, estimate in rows)
    dashed = f". The dashed line is what the recipe asks for, {asked:.0%}." if asked is not None else "."
    return drawing(figure, name, title, alt + dashed)


def _mark(axes: Axes, y: float, i: int, estimate: Estimate) -> None:
    color = SERIES[i % len(SERIES)]
    axes.plot([estimate.low, estimate.high], [y, y], color=color, linewidth=3.4, solid_capstyle="round", alpha=0.45)
    axes.plot(
        [estimate.value],
        [y],
        MARKERS[i % len(MARKERS)],
        color=color,
        markersize=8,
        markeredgecolor=PAPER,
        clip_on=False,
    )


def _curves(report: Report) -> Drawing | None:
    """Losses by epoch: of training batches as lines, of held-out rows dashed with marks."""
    runs = [(_place(report, run.contestant), run) for run in report.runs]
    runs = [(i, run) for i, run in runs if run.facts.train_curve or run.facts.heldout_curve]
    if not runs:
        return None
    figure, axes = canvas(200.0, 34.0, left=30.0)
    alt = []
    for i, run in runs:
        for points, what, line, mark in (
            (run.facts.train_curve, "training", "-", ""),
            (run.facts.heldout_curve, "held-out", "--", MARKERS[i % len(MARKERS)]),
        ):
            if points:
                label = f"{_short(run.name)}, {what}" if len(runs) > 1 else what
                x, y = [point.epoch for point in points], [point.loss for point in points]
                axes.plot(x, y, color=SERIES[i % len(SERIES)], label=label, linestyle=line, marker=mark, markersize=5)
                alt.append(f"{run.name}, {what}: from {number(y[0])} to {number(y[-1])}, least {number(min(y))}")
    axes.set(xlabel="epochs", ylim=(0, None))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.legend(loc="upper right", labelcolor=INK)
    title = "Loss while training, nats per token"
    return drawing(figure, "curves", title, f"{title}. " + "; ".join(alt) + ".")


def _cost(report: Report) -> Drawing | None:
    """What training took, by run; one run alone is no comparison."""
    panels: list[tuple[str, list[tuple[int, str, float]]]] = []
    for what, field in COSTS:
        values = [(_place(report, run.contestant), run.name, getattr(run.facts, field)) for run in report.runs]
        if all(value is not None for _, _, value in values):
            panels.append((what, values))
    if len(report.runs) < 2 or not panels:
        return None
    height = 24.0 * len(report.runs) + 34.0
    figure, first = canvas(height * len(panels), 6.0)
    first.remove()
    alt = []
    for k, (what, values) in enumerate(panels):
        share = 1 / len(panels)
        axes = figure.add_axes((0.02, 1 - (k + 1) * share + 0.01, 0.96, share * (1 - 26.0 / height)))
        axes.set_axis_off()
        axes.set_title(what, loc="left", fontsize=11.5, color=INK, pad=4)
        most = max(value for _, _, value in values) or 1.0
        axes.set(xlim=(0, 1), ylim=(len(values) - 0.4, -0.6))
        for y, (i, name, value) in enumerate(values):
            axes.barh(y, 0.45 * value / most, left=0.34, height=0.62, color=SERIES[i % len(SERIES)])
            axes.text(0.32, y, _short(name, 16), va="center", ha="right", color=MUTED)
            axes.text(0.35 + 0.45 * value / most, y, f"{value:,.0f}", va="center", ha="left")
        alt.append(f"{what}: " + ", ".join(f"{name} {value:,.0f}" for _, name, value in values))
    return drawing(figure, "cost", "What training took", "What training took. " + "; ".join(alt) + ".")


COSTS = (
    ("Seconds", "seconds"),
    ("Tokens per second", "tokens_per_second"),
    ("Peak memory, MiB", "peak_memory_mib"),
    ("Training rows", "rows"),
)
"""What of a training costs something, and the field of RunFacts."""


def canvas(height: float, below: float, *, left: float = 4.0) -> tuple[Figure, Axes]:
    """A figure with axes `height` points high and room below them for ticks and a label."""
    whole = height + below + 8
    figure = Figure(figsize=(WIDTH / 72, whole / 72), dpi=72)
    FigureCanvasSVG(figure)
    return figure, figure.add_axes((left / WIDTH, below / whole, 1 - (left + 14) / WIDTH, height / whole))


def _halo() -> dict[str, object]:
    return {"facecolor": PAPER, "edgecolor": "none", "pad": 2}


def _worded(estimate: Estimate, scale: Scale) -> str:
    value, interval = shown(estimate, scale)
    return f"{value} ({interval})"


def _short(name: str, most: int = LONGEST) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _place(report: Report, key: str) -> int:
    return next(i for i, one in enumerate(report.contestants) if one.key == key)


def drawing(figure: Figure, name: str, title: str, alt: str) -> Drawing:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Drawing(name, title, alt, _cleaned(file.getvalue(), name, alt))


def _cleaned(svg: str, name: str, alt: str) -> str:
    """matplotlib's SVG without prolog and metadata, with ids of its own, our variables, and its content in words."""
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', svg)
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(href="|url\()#', rf"\1#{name}-", body)
    body = re.sub("|".join(VARIABLES), lambda match: VARIABLES[match[0]], body)
    body = re.sub(r"font-family:[^;\"]*|(?<=px )'DejaVu Sans'[^;\"]*", _font, body)
    words = f'role="img" aria-label="{escape(alt)}"'
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    look = 'stroke-linejoin="round" stroke-linecap="butt"'
    return f'<svg {space} viewBox="{box[1] if box else ""}" {words} {look}>{body.strip()}'


def _font(match: re.Match[str]) -> str:
    return "font-family: system-ui, sans-serif" if match[0].startswith("font-family") else "system-ui, sans-serif"
