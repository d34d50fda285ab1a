"""The leaderboard tab: figures of the arena's votes, plots, what they mean, and the votes to download or withdraw."""

import asyncio
import html
from typing import Any

import gradio as gr
from sqlalchemy.exc import SQLAlchemyError

from arena.battles.vote_spam import SAME_AGAIN, TOO_FAST
from arena.ranking.leaderboard_records import Leaderboard, PairRecord
from arena.ranking.ratings import Coefficient, Rating
from arena.votes.public_export import own_votes, votes_csv
from arena.votes.votes import WITHDRAWN, withdraw_votes
from space.arena.battle import ArenaServices
from space.arena.html import message, title_of
from space.arena.voters import can_sign_in
from space.i18n import ENGLISH, language_of, notice, say, t
from space.leaderboard.plots import plot_strength, plot_win_rates
from space.leaderboard.vote_cache import LeaderboardCache
from space.status import BASE, GatewayStatus
from space.theme import QUIET
from understudy.statistics.confidence_sequences import WinRate

DOWNLOAD = """(text, name) => {
  if (!text) return;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], {type: 'text/plain'}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""

LEFT_OUT = {
    TOO_FAST: "board_left_out_fast",
    SAME_AGAIN: "board_left_out_repeated",
    WITHDRAWN: "board_left_out_withdrawn",
}
"""Texts for the reasons, as the database keeps them, why votes are not counted."""
CATEGORIES = ("suggested", "imported", "free")
"""Categories of prompts that have a text."""


def summary(board: Leaderboard, language: str = ENGLISH) -> str:
    """HTML: how many votes there are, and how many are left out."""
    shares = {"ties": f"{board.ties / board.votes:.0%}", "bad": f"{board.both_bad / board.votes:.0%}"}
    by = {"voters": board.voters} if board.voters else {}
    text = say("board_votes_by" if by else "board_votes", language, votes=f"{board.votes:,}", **shares, **by)
    for reason, count in board.left_out.items():
        why = say(LEFT_OUT[reason], language) if reason in LEFT_OUT else reason
        text += f" <span>{say('board_left_out', language, count=f'{count:,}', reason=why)}</span>"
    return f'<div class="note">{text}</div>'


def table(board: Leaderboard, titles: dict[str, str], language: str = ENGLISH) -> str:
    """HTML of the ranking, strongest first."""
    if not board.rows:
        return ""
    rated = {one.name: one for one in board.overall.ratings} if board.overall else {}
    controlled = {one.name: one for one in board.controlled.ratings} if board.controlled else {}
    against = {pair.one: pair for pair in board.against_base}
    base = board.base or say("board_the_base", language)
    heads = [
        say("board_place", language),
        say("board_contestant", language),
        say("board_wins", language, base=base),
        say("board_points", language),
        say("board_equal_length" if board.length else "board_side_allowed", language),
        say("board_record", language),
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


def hidden(board: Leaderboard, titles: dict[str, str], language: str = ENGLISH) -> str:
    """HTML: contestants with too few votes to be shown, and how many more they need."""
    if not board.hidden:
        return ""
    items = ""
    for one in board.hidden:
        far = say("board_to_go", language, votes=one.votes, least=board.min_votes, to_go=one.to_go)
        bar = f'<progress value="{one.votes}" max="{board.min_votes}"></progress>'
        items += f"<li>{html.escape(titles[one.name])} <small>{far}</small>{bar}</li>"
    heading = say("board_waiting", language, votes=board.min_votes)
    return f'<div class="waiting"><h4>{heading}</h4><ul>{items}</ul></div>'


def effects(board: Leaderboard, titles: dict[str, str], language: str = ENGLISH) -> str:
    """HTML: effects of side and length, the categories, and notes that a reader must know."""
    parts = []
    if board.position and board.position.left.value is not None:
        left, p = board.position.left, f"{board.position.p_value:.2g}"
        parts.append(say("board_side", language, votes=left.wins + left.losses, p=p, **_shares(left)))
    if board.length:
        parts.append(say("board_length", language, **_shares(board.length.twice_as_long)))
    for note in board.notes:
        text = notice(f"board_note_{note.code}", **note.values).text(language)
        parts.append(say("board_note", language, note=text))
    for category in board.categories:
        ratings = category.model.ratings if category.model else []
        names = ", ".join(f"{titles[one.name]} {one.points:.0f}" for one in ratings)
        parts.append(
            say(
                "board_category",
                language,
                name=say(f"board_prompts_{category.name}", language) if category.name in CATEGORIES else category.name,
                votes=f"{category.votes:,}",
                ranking=names or say("board_too_few", language),
            )
        )
    return "".join(f"<p>{part}</p>" for part in parts)


def _shares(rate: WinRate | Coefficient) -> dict[str, str]:
    return {"share": f"{rate.value or 0:.0%}", "low": f"{rate.low:.0%}", "high": f"{rate.high:.0%}"}


def _place(one: Rating | None) -> str:
    if one is None:
        return "–"
    return str(one.best_place) if one.best_place == one.worst_place else f"{one.best_place}–{one.worst_place}"


def _points(one: Rating | None, *, interval: bool = True) -> str:
    if one is None:
        return "–"
    low, high = (f"{value:.0f}" for value in (one.points_low, one.points_high))
    return f"{one.points:.0f}{f'<small>{low}–{high}</small>' if interval and one.low < one.high else ''}"


def _rate(pair: PairRecord | None) -> str:
    if pair is None or pair.win_rate.value is None:
        return "–"
    rate = pair.win_rate
    return f"{rate.value:.0%}<small>{100 * rate.low:.0f}–{rate.high:.0%}</small>"


def titles_of(board: Leaderboard, status: GatewayStatus) -> dict[str, str]:
    """The title of everybody on the board, by name."""
    known = {one.name: one.title for one in (BASE, *status.contestants)}
    return {one.name: title_of(one.name, known) for one in (*board.rows, *board.hidden)}


def figures(board: Leaderboard, status: GatewayStatus, language: str = ENGLISH) -> list[Any]:
    """Updates for summary, plots, table, hidden rows and effects."""
    if not board.votes:
        empty = gr.update(value="", visible=False)
        no_votes = f'<div class="empty">{say("board_empty", language)}</div>'
        return [no_votes, gr.update(visible=False), gr.update(visible=False), empty, "", ""]
    titles = titles_of(board, status)
    plots = [
        gr.update(value=plot, visible=True) if plot else gr.update(visible=False)
        for plot in (plot_win_rates(board, titles, language), plot_strength(board, titles, language))
    ]
    ranking = gr.update(value=table(board, titles, language), visible=True)
    waiting, more = hidden(board, titles, language), effects(board, titles, language)
    return [summary(board, language), *plots, ranking, waiting, more]


def _counted(count: int) -> dict[str, int]:
    return {"count": count} if count else {}


def build_leaderboard_tab(services: ArenaServices, board: LeaderboardCache, tab: gr.Tab) -> None:
    """Lays out the tab and wires it; the figures are read whenever somebody opens it."""
    top = gr.HTML(t("board_counting"), elem_id="board-summary", elem_classes="note")
    with gr.Row(elem_id="board-plots"):
        rates = gr.Plot(show_label=False, visible=False, elem_id="plot-rates", container=False)
        strengths = gr.Plot(show_label=False, visible=False, elem_id="plot-strengths", container=False)
    ranking = gr.HTML(visible=False, elem_id="board-table")
    waiting = gr.HTML(elem_id="board-hidden")
    more = gr.HTML(elem_id="board-effects")
    with gr.Row(elem_id="board-buttons"):
        again = gr.Button(t("board_refresh"), size="sm", elem_id="board-refresh", min_width=120)
        everything = gr.Button(t("board_download"), size="sm", elem_id="board-download", min_width=200)
    with gr.Accordion(t("board_what"), open=False, elem_id="method"):
        gr.Markdown(t("board_method"))
    with gr.Accordion(t("board_own"), open=False, elem_id="own-votes"):
        gr.HTML(t("board_own_info"), elem_classes="note")
        if can_sign_in():
            gr.LoginButton(say("board_sign_in"), size="sm", elem_id="sign-in")
        with gr.Row():
            download = gr.Button(t("board_own_download"), size="sm", elem_id="own-download", min_width=160)
            undo = gr.Button(t("board_own_withdraw"), size="sm", variant="stop", elem_id="own-withdraw", min_width=160)
        answer = gr.HTML(elem_id="own-said")
    text, name = gr.Textbox(visible=False), gr.Textbox(visible=False)
    outputs = [top, rates, strengths, ranking, waiting, more]

    async def tally(request: gr.Request) -> list[Any]:
        language = language_of(request)
        try:
            counted = await asyncio.to_thread(board.board)
        except SQLAlchemyError:
            unreadable = message(say("board_trouble", language), "trouble")
            return [unreadable, *(gr.skip() for _ in outputs[1:])]
        return figures(counted, await services.monitor.status(), language)

    async def published() -> tuple[str, str]:
        return await asyncio.to_thread(votes_csv, services.store.engine), "votes.csv"

    async def own(request: gr.Request) -> tuple[str, str, str]:
        found = await asyncio.to_thread(own_votes, services.store.engine, session=services.voters.name(request))
        return found, "my-votes.jsonl", "" if found else message(say("board_own_none", language_of(request)))

    async def withdraw(request: gr.Request) -> str:
        count = await asyncio.to_thread(withdraw_votes, services.store.engine, session=services.voters.name(request))
        return message(say("board_withdrawn" if count else "board_nothing", language_of(request), **_counted(count)))

    gr.on([tab.select, again.click], tally, None, outputs, **QUIET)
    everything.click(published, None, [text, name], **QUIET).then(None, [text, name], None, js=DOWNLOAD)
    download.click(own, None, [text, name, answer], **QUIET).then(None, [text, name], None, js=DOWNLOAD)
    undo.click(withdraw, None, answer, **QUIET).then(tally, None, outputs, **QUIET)
