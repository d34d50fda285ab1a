"""One blind battle, from the commitment of its sides to the vote; nothing here knows how a page looks.

While the engine is away, the answers of an earlier battle are shown instead, and say so.
"""

import asyncio
import html
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from arena.battles.blinding import Pace, fault
from arena.battles.store import Battle, BattleAnswer, BattleError, BattleStore, BattleTicket
from arena.battles.vote_spam import suspicion
from arena.votes.votes import VoteError, cast_vote
from evaluate.reports.imported_answers import OtherSystems
from space.arena.matchmaking import Match, Player, category, draw, matches
from space.arena.moderation import Moderate, everything
from space.arena.voters import Voters
from space.backends.gateway import AnswerChunk, GatewayClient, pseudonym
from space.leaderboard.vote_cache import LeaderboardCache
from space.status import GatewayMonitor, GatewayStatus
from space.streaming import BEAT, StreamedAnswer, listening

MAX_CHARACTERS = 4000
"""Longest prompt of a battle."""
SUGGESTED = 4
"""Most prompts that are offered at a time."""
ABANDONED = "it ended before both answers were complete"
ALL_SEEN = (
    "The model is away, and there is no recorded battle here that you have not seen. This page notices when it is back."
)


@dataclass(frozen=True)
class BattleView:
    """What a page shows of a battle; nothing in it tells the contestants apart before the vote."""

    left: str = ""
    right: str = ""
    busy: bool = False
    message: str = ""
    kind: str = ""
    """Class of the message: empty, `trouble` or `reveal`."""
    ticket: BattleTicket | None = None
    """Set once the vote may be cast. It stays on the server."""
    recorded: str = ""
    """The prompt of a battle that was recorded earlier; empty for a battle of now."""


@dataclass(frozen=True)
class ArenaServices:
    """Everything a battle needs."""

    gateway: GatewayClient
    backend: GatewayMonitor
    store: BattleStore
    voted: Callable[[], None] = lambda: None
    """Is called after each vote that was cast."""
    guests: OtherSystems = field(default_factory=OtherSystems)
    """Answers of other systems."""
    moderate: Moderate = everything
    voters: Voters = field(default_factory=Voters)
    board: LeaderboardCache | None = None
    """Votes so far, so that uncertain pairs meet more often; without them all pairs meet equally often."""


def suggestions(
    snapshot: GatewayStatus, choice: str | None, against: str | None = None, guests: OtherSystems | None = None
) -> list[str]:
    """Up to four prompts: the chosen persona's, or some of everyone's in turn; what other systems were asked."""
    if against == "imported" and guests is not None:
        return list(guests.prompts[:SUGGESTED])
    chosen = [one for one in snapshot.personas if one.name == choice] or list(snapshot.personas)
    rounds = max((len(one.prompts) for one in chosen), default=0)
    prompts = [one.prompts[i] for i in range(rounds) for one in chosen if i < len(one.prompts)]
    return list(dict.fromkeys(prompts))[:SUGGESTED]


async def fight(
    ring: ArenaServices, prompt: str, choice: str | None, session: str, against: str | None = None
) -> AsyncGenerator[BattleView]:
    """One battle from the commitment of its sides to the moment the vote opens; a recorded one while nobody answers."""
    prompt = prompt.strip()[:MAX_CHARACTERS]
    snapshot = await ring.backend.look(at_once=True)
    if not snapshot.ready:
        yield await asyncio.to_thread(replay, ring, choice, session)
        return
    pairs = matches(snapshot, choice, against, prompt, ring.guests)
    if not prompt or not pairs:
        yield BattleView(message=_missing(snapshot, prompt, against), kind="trouble")
        return
    yield BattleView(busy=True, message="Both sides are thinking…")
    if refusal := await asyncio.to_thread(ring.moderate, prompt):
        yield BattleView(message=html.escape(refusal), kind="trouble")
        return
    try:
        match = draw(pairs, await asyncio.to_thread(ring.board.cells) if ring.board else None)
        battle, ticket = await asyncio.to_thread(
            ring.store.create,
            prompt=prompt,
            persona=match.other.name,
            rival=match.one.name,
            session=session,
            temperature=match.persona.sampling.temperature,
            max_tokens=match.persona.sampling.max_tokens,
            category=category(snapshot, prompt, ring.guests),
            chance=match.chance,
        )
        async with aclosing(_answers(ring, battle, ticket, match, pseudonym(session))) as views:
            async for view in views:
                yield view
    except SQLAlchemyError:
        yield BattleView(message="The battle could not be saved. Please try again.", kind="trouble")


def _missing(snapshot: GatewayStatus, prompt: str, against: str | None) -> str:
    """Why nobody can meet."""
    if not snapshot.personas:
        return "No persona is live yet, so there is nobody to compare."
    if not prompt:
        return "Write a prompt first."
    return {
        "persona": "There is no second persona yet; choose another rival.",
        "revision": "There is no other revision of this persona right now; choose another rival.",
        "described": "This persona came without a description for the base; choose another rival.",
        "shots": "This persona came without examples for the base; choose another rival.",
        "imported": "Other systems have not been asked that. Pick one of the suggestions, or choose another rival.",
    }.get(against or "", "Nobody can meet on this prompt; choose another rival.")


def replay(ring: ArenaServices, choice: str | None, session: str) -> BattleView:
    """A battle recorded earlier: of the chosen persona if there is one, else of anybody."""
    try:
        found = ring.store.replay(session=session, persona=choice) if choice else None
        found = found or ring.store.replay(session=session)
    except BattleError as error:
        return BattleView(message=html.escape(str(error)), kind="trouble")
    except SQLAlchemyError:
        return BattleView(message="No recorded battle can be read right now. Please try again.", kind="trouble")
    if found is None:
        return BattleView(message=ALL_SEEN, kind="trouble")
    battle, ticket = found
    message = "The model is away, so this battle was recorded earlier. Which answer is better?"
    return BattleView(
        battle.left_answer.text, battle.right_answer.text, message=message, ticket=ticket, recorded=battle.prompt
    )


async def _answers(
    ring: ArenaServices, battle: Battle, ticket: BattleTicket, match: Match, user: str
) -> AsyncGenerator[BattleView]:
    """Asks both sides at once, reveals them at one pace, and settles the battle whatever happens."""
    players = {one.name: one for one in (match.one, match.other)}
    streams = [_ask(ring, players[name], battle, user) for name in (battle.left, battle.right)]
    reason, left, right = ABANDONED, StreamedAnswer(), StreamedAnswer()
    try:
        async with (
            listening(*streams) as (left, right),
            aclosing(_reveal(left, right)) as views,
        ):
            async for view in views:
                yield view
        reason = _trouble(left, right, battle.prompt, match)
    finally:
        answers = _said(left), _said(right)
        if reason:
            ring.store.void(battle.id, reason, *answers)
        else:
            ring.store.finish(battle.id, *answers, timing=_timing(left, right))
    if reason:
        yield BattleView(left.text, right.text, message=_void(reason), kind="trouble")
    else:
        yield BattleView(left.text, right.text, message="Which answer is better?", ticket=ticket)


def _ask(ring: ArenaServices, player: Player, battle: Battle, user: str) -> AsyncGenerator[AnswerChunk]:
    """What that player says, as it is written; an imported answer is there at once, and waits for the other side."""
    if not player.model:
        return _recited(player.answer)
    shown = [(shot.prompt, shot.answer) for shot in player.shots]
    messages = [
        {"role": role, "content": text}
        for pair in shown
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    if player.system:
        messages.insert(0, {"role": "system", "content": player.system})
    messages.append({"role": "user", "content": battle.prompt})
    return ring.gateway.stream(player.model, messages, user=user, **battle.sampling)


async def _recited(text: str) -> AsyncGenerator[AnswerChunk]:
    yield AnswerChunk(text=text)


def _timing(left: StreamedAnswer, right: StreamedAnswer) -> dict[str, float]:
    found = {
        f"{side}_{what}": getattr(answer, what)
        for side, answer in (("left", left), ("right", right))
        for what in ("first", "total")
    }
    return {name: round(seconds, 3) for name, seconds in found.items() if seconds is not None}


async def _reveal(left: StreamedAnswer, right: StreamedAnswer) -> AsyncGenerator[BattleView]:
    """Both answers as they may be seen, until both are complete or one has failed."""
    pace, news = Pace(), ""
    while not (left.error or right.error):
        await asyncio.sleep(BEAT)
        before = pace
        if news != (news := left.news or right.news):
            yield BattleView(busy=True, message=html.escape(news) or "Both sides are thinking…")
        pace = pace.advance(left.text, right.text, left_done=left.done, right_done=right.done)
        if pace.shown != before.shown:
            yield BattleView(
                left.text[: pace.shown],
                right.text[: pace.shown],
                busy=True,
                message="Both sides are answering…",
            )
        if left.done and right.done and pace.complete(left.text, right.text):
            return


def _trouble(left: StreamedAnswer, right: StreamedAnswer, prompt: str, match: Match) -> str:
    """Why this battle is void; "" if it is not."""
    if left.error or right.error:
        return f"error: {left.error or right.error}"
    names = (*match.one.telling, *match.other.telling, left.revision, right.revision)
    return fault(left.text, right.text, prompt=prompt, names=names)


def _void(reason: str) -> str:
    """What a person is told; never which side it was."""
    if reason.startswith("error: "):
        said = html.escape(reason.removeprefix("error: "))
        return f"One of the answers failed, so this battle does not count. {said}"
    if reason.startswith("identity leak"):
        return "One of the answers gave away who it is, so this battle does not count."
    return f"This battle does not count: {html.escape(reason)}."


def settle(
    ring: ArenaServices, verdict: str, ticket: BattleTicket | None, session: str, reasons: Sequence[str] = ()
) -> Battle:
    """Casts the vote and returns the battle, names and all.

    Raises:
        VoteError: there is no battle to vote on, or its vote has been cast.
    """
    if ticket is None:
        raise VoteError("No battle is waiting for your vote.")
    suspect = suspicion(ring.store.engine, ticket.battle, verdict, session=session)
    cast_vote(ring.store.engine, ticket, verdict, session=session, reasons=reasons, suspect=suspect)
    ring.voted()
    return ring.store.get(ticket.battle)


def _said(growing: StreamedAnswer) -> BattleAnswer:
    return BattleAnswer(growing.text, growing.revision or None)
