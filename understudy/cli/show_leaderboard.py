"""What `understudy rank` shows of a leaderboard, as tables."""

from typing import TYPE_CHECKING

from rich.table import Table

from understudy.cli.console import out
from understudy.terminal import one_line

if TYPE_CHECKING:
    from arena.ranking.leaderboard_records import Category, Hidden, Leaderboard, PairRecord
    from arena.ranking.ratings import Rating, RatingModel
    from understudy.statistics.confidence_sequences import WinRate

LISTED = 12
"""Most hidden contestants that are named."""


def show_leaderboard(board: "Leaderboard") -> None:
    """Prints the votes, the ranking, the effects of side and length, categories, and notes; see docs/arena.md."""
    _print_votes(board)
    if board.rows:
        out.print(_ranking(board))
    if board.against_base:
        out.print(_against_base(board))
    _print_effects(board)
    for category in board.categories:
        _print_category(category)
    _print_hidden(board.hidden, board.min_votes)
    for note in board.notes:
        out.print(f"Note: {one_line(note.text)}", style="yellow")


def _print_votes(board: "Leaderboard") -> None:
    by = f" by {board.voters} voters" if board.voters else ""
    ties, bad = board.ties / board.votes, board.both_bad / board.votes
    out.print(f"{board.votes} votes{by}: {ties:.0%} ties, {bad:.0%} both bad")
    for reason, count in board.left_out.items():
        out.print(f"left out: {count} rows ({reason})", style="yellow")


def _ranking(board: "Leaderboard") -> Table:
    zero = f"{one_line(board.base)} = 1000" if board.base else "average = 1000"
    controlled = _by_name(board.controlled)
    with_length = board.length is not None
    table = Table(title=f"Ranking, points on Elo's scale ({zero})", title_justify="left")
    table.add_column("place", justify="right")
    table.add_column("contestant", overflow="fold", min_width=12)
    for heading in ("points", f"{board.confidence:.0%} interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("won", "lost", "tied", "both bad"):
        table.add_column(heading, justify="right")
    if controlled:
        table.add_column("at equal length" if with_length else "side allowed for", justify="right", min_width=7)
    rated = _by_name(board.overall)
    for row in board.rows:
        one, other = rated.get(row.name), controlled.get(row.name)
        cells = [
            _place(one),
            one_line(row.name),
            *_points(one),
            *map(str, (row.wins, row.losses, row.ties, row.both_bad)),
        ]
        table.add_row(*cells, *([_points(other)[0]] if controlled else []))
    return table


def _against_base(board: "Leaderboard") -> Table:
    table = Table(title=f"Against {one_line(board.base)}", title_justify="left")
    table.add_column("contestant")
    for heading in ("win rate", f"{board.confidence:.0%} at any time", "won", "lost", "tied", "both bad"):
        table.add_column(heading, justify="right")
    for pair in board.against_base:
        table.add_row(one_line(pair.one), *_rate(pair.win_rate), *_counts(pair))
    return table


def _print_effects(board: "Leaderboard") -> None:
    if board.position and board.position.left.value is not None:
        left = board.position.left
        share, interval = _rate(left)
        out.print(
            f"Side: the left answer won {left.wins} of {left.wins + left.losses} decisive votes ({share}, {interval}; "
            f"exact test p = {board.position.p_value:.2g})",
        )
    if board.length:
        twice = board.length.twice_as_long
        out.print(
            f"Length: of two equals, one twice as long wins {twice.value:.1%} ({twice.low:.1%}–{twice.high:.1%})",
        )


def _print_category(category: "Category") -> None:
    if not category.rows:
        out.print(f"{one_line(category.name)}: {category.votes} votes, too few to rank anybody")
        return
    table = Table(title=f"{one_line(category.name)}: {category.votes} votes", title_justify="left")
    table.add_column("contestant")
    for heading in ("points", "interval", "won", "lost", "tied", "both bad"):
        table.add_column(heading, justify="right")
    rated = _by_name(category.model)
    for row in category.rows:
        counts = map(str, (row.wins, row.losses, row.ties, row.both_bad))
        table.add_row(one_line(row.name), *_points(rated.get(row.name)), *counts)
    out.print(table)


def _print_hidden(hidden: "list[Hidden]", min_votes: int) -> None:
    if not hidden:
        return
    named = ", ".join(f"{one_line(one.name)} ({one.to_go} to go)" for one in hidden[:LISTED])
    more = f" and {len(hidden) - LISTED} more" if len(hidden) > LISTED else ""
    out.print(f"Hidden until they have {min_votes} votes: {named}{more}")


def _by_name(model: "RatingModel | None") -> dict[str, "Rating"]:
    return {one.name: one for one in model.ratings} if model else {}


def _place(one: "Rating | None") -> str:
    if one is None:
        return "-"
    return str(one.best_place) if one.best_place == one.worst_place else f"{one.best_place}–{one.worst_place}"


def _points(one: "Rating | None") -> tuple[str, str]:
    if one is None:
        return "-", "-"
    return f"{one.points:.0f}", f"{one.points_low:.0f}–{one.points_high:.0f}" if one.low < one.high else "-"


def _rate(rate: "WinRate") -> tuple[str, str]:
    value = "-" if rate.value is None else f"{rate.value:.1%}"
    return value, f"{rate.low:.1%}–{rate.high:.1%}"


def _counts(pair: "PairRecord") -> list[str]:
    return [str(count) for count in (pair.win_rate.wins, pair.win_rate.losses, pair.ties, pair.both_bad)]
