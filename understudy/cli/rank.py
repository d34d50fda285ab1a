"""`understudy rank`: every figure of the leaderboard, for any file of votes or for this installation's own."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from understudy.config.settings import Settings
from understudy.errors import UnderstudyError
from understudy.registry.database import open_database

if TYPE_CHECKING:
    from arena.ranking.leaderboard_records import Category, Hidden, Leaderboard, PairRecord
    from arena.ranking.ratings import Rating, RatingModel
    from understudy.statistics.confidence_sequences import WinRate

out = Console(highlight=False, soft_wrap=True)
NAMED = 12
"""Most hidden contestants that are named."""


def rank_votes(
    settings: Settings,
    file: Path | None,
    *,
    json_output: bool,
    base: str,
    min_votes: int,
    by: str | None,
    bootstrap: int,
    seed: int,
) -> None:
    """Prints the leaderboard of a votes file, or of this installation's arena, as tables or JSON.

    Raises:
        UnderstudyError: the file cannot be read, `base` is in no vote, or there are no votes at all.
    """
    board = leaderboard(settings, file, base=base, min_votes=min_votes, by=by, bootstrap=bootstrap, seed=seed)
    if json_output:
        typer.echo(board.model_dump_json(indent=2))
    else:
        print_leaderboard(board)


def leaderboard(
    settings: Settings, file: Path | None, *, base: str, min_votes: int, by: str | None, bootstrap: int, seed: int
) -> "Leaderboard":
    """The leaderboard with the rankings of other methods beside it."""
    from arena.battles.blinding import BASE
    from arena.votes.import_files import read_votes
    from arena.votes.running_counts import arena_votes
    from arena.votes.votes import left_out as left_out_of

    not_counted: dict[str, int] = {}
    sides = True
    if file is None:
        if by is not None:
            raise UnderstudyError(f"--by {by}: battles of the arena have no such column; give a votes file")
        engine = open_database(settings.database)
        votes, not_counted = arena_votes(engine), left_out_of(engine)
    else:
        read = read_votes(file, by=by)
        votes, not_counted, sides = read.votes, read.left_out, read.sides
    if not len(votes):
        raise UnderstudyError("no votes yet: vote in the arena (`understudy space`), or give a votes file")
    if base not in votes.contestants and base != BASE:
        names = ", ".join(sorted(votes.contestants)[:NAMED])
        raise UnderstudyError(f"--base {base}: no votes on it; contestants are {names}")
    from arena.ranking.leaderboard import build_leaderboard
    from arena.ranking.other_methods import elo, other_rankings
    from arena.votes.counts import VoteCounts

    counts = VoteCounts()
    counts.add(votes)
    cells = counts.cells()
    board = build_leaderboard(cells, base=base, min_votes=min_votes, sides=sides, resamples=bootstrap, seed=seed)
    rankings = other_rankings(cells) | ({"elo": elo(votes)} if sides else {})
    return board.model_copy(update={"rankings": rankings, "left_out": not_counted})


def print_leaderboard(board: "Leaderboard") -> None:
    """Tables for people; what a figure means is in docs/arena.md."""
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
        out.print(f"Note: {note.text}", style="yellow", markup=False)


def _print_votes(board: "Leaderboard") -> None:
    by = f" by {board.voters} voters" if board.voters else ""
    ties, bad = board.ties / board.votes, board.both_bad / board.votes
    out.print(f"{board.votes} votes{by}: {ties:.0%} ties, {bad:.0%} both bad", markup=False)
    for reason, count in board.left_out.items():
        out.print(f"left out: {count} rows ({reason})", style="yellow", markup=False)


def _ranking(board: "Leaderboard") -> Table:
    zero = f"{board.base} = 1000" if board.base else "average = 1000"
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
        cells = [_place(one), row.name, *_points(one), *map(str, (row.wins, row.losses, row.ties, row.both_bad))]
        table.add_row(*cells, *([_points(other)[0]] if controlled else []))
    return table


def _against_base(board: "Leaderboard") -> Table:
    table = Table(title=f"Against {board.base}", title_justify="left")
    table.add_column("contestant")
    for heading in ("win rate", f"{board.confidence:.0%} at any time", "won", "lost", "tied", "both bad"):
        table.add_column(heading, justify="right")
    for pair in board.against_base:
        table.add_row(pair.one, *_rate(pair.win_rate), *_counts(pair))
    return table


def _print_effects(board: "Leaderboard") -> None:
    if board.position and board.position.left.value is not None:
        left = board.position.left
        share, interval = _rate(left)
        out.print(
            f"Side: the left answer won {left.wins} of {left.wins + left.losses} decisive votes ({share}, {interval}; "
            f"exact test p = {board.position.p_value:.2g})",
            markup=False,
        )
    if board.length:
        twice = board.length.twice_as_long
        out.print(
            f"Length: of two equals, one twice as long wins {twice.value:.1%} ({twice.low:.1%}–{twice.high:.1%})",
            markup=False,
        )


def _print_category(category: "Category") -> None:
    if not category.rows:
        out.print(f"{category.name}: {category.votes} votes, too few to rank anybody", markup=False)
        return
    table = Table(title=f"{category.name}: {category.votes} votes", title_justify="left")
    table.add_column("contestant")
    for heading in ("points", "interval", "won", "lost", "tied", "both bad"):
        table.add_column(heading, justify="right")
    rated = _by_name(category.model)
    for row in category.rows:
        counts = map(str, (row.wins, row.losses, row.ties, row.both_bad))
        table.add_row(row.name, *_points(rated.get(row.name)), *counts)
    out.print(table)


def _print_hidden(hidden: "list[Hidden]", min_votes: int) -> None:
    if not hidden:
        return
    named = ", ".join(f"{one.name} ({one.to_go} to go)" for one in hidden[:NAMED])
    more = f" and {len(hidden) - NAMED} more" if len(hidden) > NAMED else ""
    out.print(f"Hidden until they have {min_votes} votes: {named}{more}", markup=False)


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
