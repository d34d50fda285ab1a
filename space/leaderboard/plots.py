"""Plots of the leaderboard, readable in light and dark, on a wide screen and on a phone."""

from typing import Any

from arena.ranking.leaderboard_records import Leaderboard
from space.i18n import ENGLISH, say

CURTAIN, GREY, GRID = "#c93b55", "#7b7672", "rgba(123,118,114,0.3)"
"""A red and a grey with enough contrast on paper and on ink."""
MAX_CONTESTANTS = 15
"""Contestants in one plot."""
MAX_LINE = 22
"""Characters of a line in a label."""


def plot_win_rates(board: Leaderboard, titles: dict[str, str], language: str = ENGLISH) -> Any:
    """Win rates against the base with their intervals, one line each; `None` when nobody has one."""
    pairs = [pair for pair in board.against_base if pair.win_rate.value is not None][:MAX_CONTESTANTS]
    points = [
        (titles[pair.one], 100 * (pair.win_rate.value or 0), 100 * pair.win_rate.low, 100 * pair.win_rate.high)
        for pair in pairs
    ]
    if not points:
        return None
    layout = {"range": [0, 100], "tickvals": [0, 25, 50, 75, 100]}
    return _intervals(say("board_plot_wins", language), points, middle=50, axis=layout, unit=" %")


def plot_strength(board: Leaderboard, titles: dict[str, str], language: str = ENGLISH) -> Any:
    """Points of all shown contestants with their intervals; `None` when there is no ranking."""
    ratings = board.overall.ratings[:MAX_CONTESTANTS] if board.overall else []
    if len(ratings) < 2:
        return None
    points = [(titles[one.name], one.points, one.points_low, one.points_high) for one in ratings]
    heading = say("board_plot_points_base" if board.base else "board_plot_points", language)
    return _intervals(heading, points, middle=1000, axis={}, unit="")


def _intervals(
    heading: str, points: list[tuple[str, float, float, float]], *, middle: float, axis: dict[str, Any], unit: str
) -> Any:
    from plotly import graph_objects as go

    interval = "(%{customdata[1]:.0f}–%{customdata[2]:.0f})"
    names, values, lows, highs = zip(*reversed(points), strict=True)
    figure = go.Figure(
        go.Scatter(
            x=values,
            y=list(range(len(names))),
            mode="markers",
            marker={"size": 11, "color": CURTAIN},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - value for value, high in zip(values, highs, strict=True)],
                "arrayminus": [value - low for value, low in zip(values, lows, strict=True)],
                "color": CURTAIN,
                "thickness": 2,
                "width": 6,
            },
            customdata=list(zip(names, lows, highs, strict=True)),
            hovertemplate=f"%{{customdata[0]}}: %{{x:.0f}}{unit} {interval}<extra></extra>",
        )
    )
    figure.add_vline(x=middle, line={"color": GREY, "dash": "dot", "width": 1})
    figure.update_layout(
        title={"text": heading, "x": 0, "xref": "container", "font": {"size": 14}, "y": 0.98, "yanchor": "top"},
        height=96 + 44 * len(points),
        margin={"l": 8, "r": 16, "t": 40, "b": 32},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY, "family": "system-ui, sans-serif", "size": 12},
        showlegend=False,
        dragmode=False,
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, fixedrange=True, **axis)
    labels = [_folded(name) for name in names]
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=labels,
        range=[-0.6, len(names) - 0.4],
        showgrid=False,
        zeroline=False,
        fixedrange=True,
        automargin=True,
    )
    return figure


def _folded(name: str) -> str:
    """A long name on several lines."""
    lines = [""]
    for word in name.split():
        if lines[-1] and len(lines[-1]) + len(word) >= MAX_LINE:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)
