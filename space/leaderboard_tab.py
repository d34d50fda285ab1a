"""The leaderboard: every figure of the arena's own votes, plots, what each figure means, and the votes themselves."""

import asyncio
import html
from typing import Any

import gradio as gr
from sqlalchemy.exc import SQLAlchemyError

from arena.leaderboard_records import Leaderboard, Pair
from arena.published_votes import own_votes, votes_csv
from arena.ratings import Rating
from arena.votes import withdraw_votes
from space.arena_html import message, title_of
from space.banner import BASE, Snapshot
from space.battle import Ring
from space.events import QUIET
from space.leaderboard_plots import plot_strength, plot_win_rates
from space.method import METHOD
from space.vote_board import VoteBoard
from space.voters import can_sign_in

EMPTY = (
    '<div class="empty"><h3>No votes yet</h3><p>The first vote opens this page: start a battle in the Arena, read two '
    "answers, choose one.</p></div>"
)
DOWNLOAD = """(text, name) => {
  if (!text) return;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], {type: 'text/plain'}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""


def summary(board: Leaderboard) -> str:
    """How many votes there are, and how many are left out."""
    by = f" by {board.voters} voters" if board.voters else ""
    ties, bad = board.ties / board.votes, board.both_bad / board.votes
    text = f"<strong>{board.votes:,} votes</strong>{by}: {ties:.0%} ties, {bad:.0%} both bad."
    for reason, count in board.left_out.items():
        text += f" <span>{count:,} left out ({html.escape(reason)}).</span>"
    return f'<div class="note">{text}</div>'


def table(board: Leaderboard, titles: dict[str, str]) -> str:
    """The ranking, strongest first."""
    if not board.rows:
        return ""
    rated = {one.name: one for one in board.overall.ratings} if board.overall else {}
    controlled = {one.name: one for one in board.controlled.ratings} if board.controlled else {}
    against = {pair.one: pair for pair in board.against_base}
    heads = [
        "Place",
        "Contestant",
        f"Wins against {html.escape(board.base or 'the base')}",
        "Points",
        "At equal length" if board.length else "Side allowed for",
        "Won / lost / tied / bad",
    ]
    rows = ""
    for row in board.rows:
        cells = [
            _place(rated.get(row.name)),
            f"{html.escape(titles[row.name])}<small>{html.escape(row.name)}</small>",
            _rate(against.get(row.name)),
            _points(rated.get(row.name)),
            _points(controlled.get(row.name), interval=False),
            f"{row.wins} / {row.losses} / {row.ties} / {row.both_bad}",
        ]
        labelled = zip(heads, cells, strict=True)
        columns = "".join(f'<td data-label="{label}">{cell}</td>' for label, cell in labelled)
        rows += f"<tr>{columns}</tr>"
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    return f'<div class="scroll"><table class="board"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def hidden(board: Leaderboard, titles: dict[str, str]) -> str:
    """Who has too few votes to be shown, and how many more it takes."""
    if not board.hidden:
        return ""
    items = "".join(
        f"<li>{html.escape(titles[one.name])} <small>{one.votes} of {board.min_votes} votes, {one.to_go} to go</small>"
        f'<progress value="{one.votes}" max="{board.min_votes}"></progress></li>'
        for one in board.hidden
    )
    return f'<div class="waiting"><h4>Waiting for {board.min_votes} votes</h4><ul>{items}</ul></div>'


def effects(board: Leaderboard, titles: dict[str, str]) -> str:
    """What side and length do, the categories, and what a reader must know."""
    parts = []
    if board.position and board.position.left.value is not None:
        left = board.position.left
        parts.append(
            f"<b>Side.</b> The left answer won {left.value:.0%} of {left.wins + left.losses} decisive votes "
            f"({left.low:.0%}–{left.high:.0%} at any time; exact test p = {board.position.p_value:.2g})."
        )
    if board.length:
        twice = board.length.twice_as_long
        parts.append(
            f"<b>Length.</b> Of two equals, the one twice as long wins {twice.value:.0%} "
            f"({twice.low:.0%}–{twice.high:.0%})."
        )
    parts += [f"<b>Note.</b> {html.escape(note)}" for note in board.notes]
    for category in board.categories:
        ratings = category.model.ratings if category.model else []
        names = ", ".join(f"{html.escape(titles[one.name])} {one.points:.0f}" for one in ratings) or "too few to rank"
        parts.append(f"<b>Prompts: {html.escape(category.name)}</b> ({category.votes:,} votes). {names}.")
    return "".join(f"<p>{part}</p>" for part in parts)


def _place(one: Rating | None) -> str:
    if one is None:
        return "–"
    return str(one.best_place) if one.best_place == one.worst_place else f"{one.best_place}–{one.worst_place}"


def _points(one: Rating | None, *, interval: bool = True) -> str:
    if one is None:
        return "–"
    low, high = (f"{value:.0f}" for value in (one.points_low, one.points_high))
    return f"{one.points:.0f}{f'<small>{low}–{high}</small>' if interval and one.low < one.high else ''}"


def _rate(pair: Pair | None) -> str:
    if pair is None or pair.win_rate.value is None:
        return "–"
    rate = pair.win_rate
    return f"{rate.value:.0%}<small>{100 * rate.low:.0f}–{rate.high:.0%}</small>"


def titles_of(board: Leaderboard, snapshot: Snapshot) -> dict[str, str]:
    """What people call everybody on the board."""
    known = {one.name: one.title for one in (BASE, *snapshot.contestants)}
    return {one.name: title_of(one.name, known) for one in (*board.rows, *board.hidden)}


def figures(board: Leaderboard, snapshot: Snapshot) -> list[Any]:
    """Updates for summary, plots, table, hidden rows and effects."""
    if not board.votes:
        empty = gr.update(value="", visible=False)
        return [EMPTY, gr.update(visible=False), gr.update(visible=False), empty, "", ""]
    titles = titles_of(board, snapshot)
    plots = [
        gr.update(value=plot, visible=True) if plot else gr.update(visible=False)
        for plot in (plot_win_rates(board, titles), plot_strength(board, titles))
    ]
    ranking = gr.update(value=table(board, titles), visible=True)
    return [summary(board), *plots, ranking, hidden(board, titles), effects(board, titles)]


def build_leaderboard_tab(ring: Ring, board: VoteBoard, tab: gr.Tab) -> None:
    """Lays out the tab and wires it; the figures are read whenever somebody opens it."""
    top = gr.HTML('<div class="note">Counting the votes…</div>', elem_id="board-summary")
    with gr.Row(elem_id="board-plots"):
        rates = gr.Plot(show_label=False, visible=False, elem_id="plot-rates", container=False)
        strengths = gr.Plot(show_label=False, visible=False, elem_id="plot-strengths", container=False)
    ranking = gr.HTML(visible=False, elem_id="board-table")
    waiting = gr.HTML(elem_id="board-hidden")
    more = gr.HTML(elem_id="board-effects")
    with gr.Row(elem_id="board-buttons"):
        again = gr.Button("Refresh", size="sm", elem_id="board-refresh", min_width=120)
        everything = gr.Button("Download the votes (CSV)", size="sm", elem_id="board-download", min_width=200)
    with gr.Accordion("What do these figures mean?", open=False, elem_id="method"):
        gr.Markdown(METHOD)
    with gr.Accordion("Your own votes", open=False, elem_id="own-votes"):
        gr.HTML(
            '<div class="note">Votes are kept under a salted hash of this browser tab (or of your account, when you '
            "are signed in). You may take them with you, or take them back: then no figure counts them.</div>"
        )
        if can_sign_in():
            gr.LoginButton("Sign in: your votes are yours in every tab", size="sm", elem_id="sign-in")
        with gr.Row():
            mine = gr.Button("Download my votes", size="sm", elem_id="own-download", min_width=160)
            gone = gr.Button("Withdraw my votes", size="sm", variant="stop", elem_id="own-withdraw", min_width=160)
        said = gr.HTML(elem_id="own-said")
    text, name = gr.Textbox(visible=False), gr.Textbox(visible=False)
    outputs = [top, rates, strengths, ranking, waiting, more]

    async def tally() -> list[Any]:
        try:
            counted = await asyncio.to_thread(board.board)
        except SQLAlchemyError:
            gone = message("The votes cannot be read right now. Please try again.", "trouble")
            return [gone, *(gr.skip() for _ in outputs[1:])]
        return figures(counted, await ring.backend.look())

    async def published() -> tuple[str, str]:
        return await asyncio.to_thread(votes_csv, ring.store.engine), "votes.csv"

    async def own(request: gr.Request) -> tuple[str, str, str]:
        found = await asyncio.to_thread(own_votes, ring.store.engine, session=ring.voters.name(request))
        return found, "my-votes.jsonl", "" if found else message("This tab has not voted yet.")

    async def withdraw(request: gr.Request) -> str:
        count = await asyncio.to_thread(withdraw_votes, ring.store.engine, session=ring.voters.name(request))
        return message(f"{count} votes withdrawn. No figure counts them any more." if count else "Nothing to withdraw.")

    gr.on([tab.select, again.click], tally, None, outputs, **QUIET)
    everything.click(published, None, [text, name], **QUIET).then(None, [text, name], None, js=DOWNLOAD)
    mine.click(own, None, [text, name, said], **QUIET).then(None, [text, name], None, js=DOWNLOAD)
    gone.click(withdraw, None, said, **QUIET).then(tally, None, outputs, **QUIET)
