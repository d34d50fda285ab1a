"""What programs can call: `gradio_client`, and MCP clients where the environment has a server for them."""

import asyncio
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import gradio as gr
from gradio.events import api
from sqlalchemy.exc import SQLAlchemyError

from arena.ranking.leaderboard_records import Leaderboard
from space.backends.errors import ModelServerError
from space.backends.protocol import Backend, pseudonym
from space.chat.conversation import MAX_CHARACTERS, MAX_TEMPERATURE, MAX_TOKENS
from space.leaderboard.vote_cache import LeaderboardCache
from space.status import GatewayMonitor


def add_endpoints(gateway: Backend, monitor: GatewayMonitor, votes: LeaderboardCache) -> None:
    """Adds the endpoints `/chat`, `/personas` and `/leaderboard`; to be called inside the page's Blocks.

    They are the only tools for MCP clients, too: none of them votes, or reads anybody's votes.
    """

    async def chat(
        message: str,
        persona: str = "base",
        temperature: float = -1,
        max_tokens: int = 0,
        request: gr.Request = None,  # type: ignore
    ) -> str:
        """Asks a persona, or the base model, one question and returns the whole answer.

        Args:
            message: The question.
            persona: A name that `personas` lists, for instance "email-copy"; "base" is the model without any adapter.
            temperature: 0 to 2; below 0 means the persona's own.
            max_tokens: Longest answer in tokens, up to 1024; 0 means the persona's own.
        """
        if not message.strip():
            raise gr.Error("message: nothing was asked", print_exception=False)
        status = await monitor.status(at_once=True)
        known = {one.name for one in status.contestants}
        if persona not in known:
            raise gr.Error(
                f"persona {persona!r} is not known; known: {', '.join(sorted(known))}", print_exception=False
            )
        sampling = status.find(persona).sampling
        temperature = min(temperature, MAX_TEMPERATURE) if temperature >= 0 else sampling.temperature
        max_tokens = min(max_tokens, MAX_TOKENS) if max_tokens > 0 else sampling.max_tokens
        messages = [{"role": "user", "content": message.strip()[:MAX_CHARACTERS]}]
        user = pseudonym((request and request.session_hash) or "")
        try:
            chunks = gateway.stream(persona, messages, temperature=temperature, max_tokens=max_tokens, user=user)
            return "".join([chunk.text async for chunk in chunks])
        except ModelServerError as error:
            raise gr.Error(str(error), print_exception=False) from error

    async def personas() -> list[dict[str, Any]]:
        """Lists who can be asked: name, title, voice and live revision of each persona, and the base model."""
        fields = {"name", "kind", "title", "voice", "revision", "examples"}
        return [one.model_dump(include=fields) for one in (await monitor.status()).contestants]

    async def leaderboard() -> dict[str, Any]:
        """Tells how people have voted in blind battles: each contestant's record, win rate against the base, points.

        Win rates are shares of decisive votes with 95 % intervals that hold at any time; the base has 1000 points and
        400 points more are odds of 10 to 1. Contestants with too few votes are named with how many are missing.
        """
        try:
            return _summary(await asyncio.to_thread(votes.board))
        except SQLAlchemyError as error:
            raise gr.Error("the votes cannot be read right now", print_exception=False) from error

    api(chat, api_name="chat")
    api(personas, api_name="personas")
    api(leaderboard, api_name="leaderboard")


def _summary(board: Leaderboard) -> dict[str, Any]:
    """The leaderboard for programs; `understudy rank --json` prints all of it."""
    rated = {one.name: one for one in board.overall.ratings} if board.overall else {}
    against = {pair.one: pair.win_rate for pair in board.against_base}
    rows = []
    for row in board.rows:
        entry: dict[str, Any] = {"name": row.name, "won": row.wins, "lost": row.losses, "tied": row.ties}
        entry["both_bad"] = row.both_bad
        if (rate := against.get(row.name)) and rate.value is not None:
            entry["wins_against_base"] = {"share": rate.value, "low": rate.low, "high": rate.high}
        if one := rated.get(row.name):
            entry["points"] = {"value": one.points, "low": one.points_low, "high": one.points_high}
            entry["place"] = {"best": one.best_place, "worst": one.worst_place}
        rows.append(entry)
    waiting = [{"name": one.name, "votes": one.votes, "to_go": one.to_go} for one in board.hidden]
    notes = [note.text for note in board.notes]
    return {"votes": board.votes, "contestants": rows, "waiting": waiting, "notes": notes}


def mcp_works() -> bool:
    """Whether Gradio's MCP server can start here: it needs `mcp` 1, while vLLM needs `mcp` 2."""
    try:
        return int(version("mcp").split(".")[0]) < 2
    except PackageNotFoundError:
        return False
