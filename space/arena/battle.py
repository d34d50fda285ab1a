"""One blind battle, from drawing its sides to the vote, without the page.

While the gateway is away, the answers of an earlier battle are shown instead, marked as such.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from sqlalchemy.exc import SQLAlchemyError

from arena.battles.blinding import Pace, fault
from arena.battles.store import Battle, BattleAnswer, BattleError, BattleStore, BattleTicket
from arena.battles.vote_spam import suspicion
from arena.votes.votes import VoteError, cast_vote
from evaluate.reports.imported_answers import OtherSystems
from space.arena.matchmaking import KINDS, Match, Player, category, draw, matches
from space.arena.moderation import Moderate, allow_everything
from space.arena.voters import Voters
from space.backends.protocol import AnswerChunk, Backend, Question, pseudonym
from space.i18n import NO_NOTICE, Notice, error_notice, notice
from space.leaderboard.vote_cache import LeaderboardCache
from space.status import GatewayMonitor, GatewayStatus
from space.streaming import BEAT, StreamedAnswer, streamed

MAX_CHARACTERS = 4000
"""Longest prompt of a battle."""
MAX_SUGGESTIONS = 4
QUOTA = "error_quota"
"""Text of the error when a visitor has no GPU time left."""
ABANDONED = "it ended before both answers were complete"


@dataclass(frozen=True)
class BattleView:
    """What a page shows of a battle; before the vote, nothing in it tells the contestants apart."""

    left: str = ""
    right: str = ""
    busy: bool = False
    message: Notice = NO_NOTICE
    kind: str = ""
    """CSS class of the message: empty, `trouble` or `reveal`."""
    ticket: BattleTicket | None = None
    """Set once the vote may be cast. It stays on the server."""
    recorded: str = ""
    """The prompt of a recorded battle; empty for a live one."""


@dataclass(frozen=True)
class ArenaServices:
    """Everything a battle needs."""

    gateway: Backend
    monitor: GatewayMonitor
    store: BattleStore
    voted: Callable[[], None] = lambda: None
    """Called after each vote that was cast."""
    other_systems: OtherSystems = field(default_factory=OtherSystems)
    moderate: Moderate = allow_everything
    voters: Voters = field(default_factory=Voters)
    votes: LeaderboardCache | None = None
    """Votes so far, so that uncertain pairs meet more often; without them all pairs meet equally often."""


@dataclass(frozen=True)
class VoidBattle:
    """Why a battle does not count."""

    reason: str
    """As the database keeps it, in English."""
    message: Notice
    """For the visitor; it never tells which side is to blame."""


def suggestions(
    status: GatewayStatus, choice: str | None, against: str | None = None, other_systems: OtherSystems | None = None
) -> list[str]:
    """Up to `MAX_SUGGESTIONS` prompts: the chosen persona's or those of all in turn, or those of other systems."""
    if against == "imported" and other_systems is not None:
        return list(other_systems.prompts[:MAX_SUGGESTIONS])
    chosen = [one for one in status.personas if one.name == choice] or list(status.personas)
    rounds = max((len(one.prompts) for one in chosen), default=0)
    prompts = [one.prompts[i] for i in range(rounds) for one in chosen if i < len(one.prompts)]
    return list(dict.fromkeys(prompts))[:MAX_SUGGESTIONS]


async def run_battle(
    services: ArenaServices, prompt: str, choice: str | None, session: str, against: str | None = None
) -> AsyncGenerator[BattleView]:
    """Runs one battle until the vote opens; shows a recorded one while the gateway is away."""
    prompt = prompt.strip()[:MAX_CHARACTERS]
    status = await services.monitor.status(at_once=True)
    if not status.ready:
        yield await asyncio.to_thread(replay, services, choice, session)
        return
    pairs = matches(status, choice, against, prompt, services.other_systems)
    if not prompt or not pairs:
        yield _trouble(_no_match(status, prompt, against))
        return
    yield BattleView(busy=True, message=notice("arena_thinking"))
    if refusal := await asyncio.to_thread(services.moderate, prompt):
        yield _trouble(refusal)
        return
    try:
        match = draw(pairs, await asyncio.to_thread(services.votes.cells) if services.votes else None)
        battle, ticket = await asyncio.to_thread(
            services.store.create,
            prompt=prompt,
            persona=match.other.name,
            rival=match.one.name,
            session=session,
            temperature=match.persona.sampling.temperature,
            max_tokens=match.persona.sampling.max_tokens,
            category=category(status, prompt, services.other_systems),
            chance=match.chance,
        )
        async with aclosing(_answers(services, battle, ticket, match, pseudonym(session))) as views:
            async for view in views:
                yield await _recorded_instead(services, view, choice, session)
    except SQLAlchemyError:
        yield _trouble(notice("arena_not_saved"))


def _trouble(message: Notice) -> BattleView:
    return BattleView(message=message, kind="trouble")


def _no_match(status: GatewayStatus, prompt: str, against: str | None) -> Notice:
    if not status.personas:
        return notice("arena_no_persona")
    if not prompt:
        return notice("arena_no_prompt")
    return notice(f"arena_no_match_{against}" if against in KINDS and against != "base" else "arena_no_match")


def replay(services: ArenaServices, choice: str | None, session: str) -> BattleView:
    """A recorded battle that this session has not seen: of the chosen persona if there is one, else of anybody."""
    try:
        found = services.store.replay(session=session, persona=choice) if choice else None
        found = found or services.store.replay(session=session)
    except BattleError as error:
        return _trouble(error_notice(error))
    except SQLAlchemyError:
        return _trouble(notice("arena_replay_unreadable"))
    if found is None:
        return _trouble(notice("arena_all_seen"))
    battle, ticket = found
    left, right = battle.left_answer.text, battle.right_answer.text
    return BattleView(left, right, message=notice("arena_replay"), ticket=ticket, recorded=battle.prompt)


async def _recorded_instead(services: ArenaServices, view: BattleView, choice: str | None, session: str) -> BattleView:
    """A recorded battle, if there is one, in the place of one for which the visitor had no quota left."""
    why = view.message.values.get("error")
    if not isinstance(why, Notice) or why.key != QUOTA:
        return view
    found = await asyncio.to_thread(replay, services, choice, session)
    return replace(found, message=notice("arena_replay_quota", why=why)) if found.ticket else _trouble(why)


async def _answers(
    services: ArenaServices, battle: Battle, ticket: BattleTicket, match: Match, user: str
) -> AsyncGenerator[BattleView]:
    """Asks both sides at once, reveals them at one pace, and records the end of the battle whatever happens."""
    players = {one.name: one for one in (match.one, match.other)}
    streams = _ask(services, [players[name] for name in (battle.left, battle.right)], battle, user)
    left, right = StreamedAnswer(), StreamedAnswer()
    void: VoidBattle | None = VoidBattle(ABANDONED, Notice(words=ABANDONED))
    try:
        async with (
            streamed(*streams) as (left, right),
            aclosing(_reveal(left, right)) as views,
        ):
            async for view in views:
                yield view
        void = _void(left, right, battle.prompt, match)
    finally:
        answers = _battle_answer(left), _battle_answer(right)
        if void:
            services.store.void(battle.id, void.reason, *answers)
        else:
            services.store.finish(battle.id, *answers, timing=_timing(left, right))
    if void:
        yield BattleView(left.text, right.text, message=void.message, kind="trouble")
    else:
        yield BattleView(left.text, right.text, message=notice("arena_vote"), ticket=ticket)


def _ask(
    services: ArenaServices, players: Sequence[Player], battle: Battle, user: str
) -> list[AsyncGenerator[AnswerChunk]]:
    """Streams the players' answers, asked together; an imported one arrives in one piece."""
    asked = [Question(one.model, _messages(one, battle.prompt)) for one in players if one.model]
    answers = iter(services.gateway.battle(asked, user=user, **battle.sampling))
    return [next(answers) if one.model else _imported(one.answer) for one in players]


def _messages(player: Player, prompt: str) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": player.system}] if player.system else []
    for shot in player.shots:
        messages += [{"role": "user", "content": shot.prompt}, {"role": "assistant", "content": shot.answer}]
    return [*messages, {"role": "user", "content": prompt}]


async def _imported(text: str) -> AsyncGenerator[AnswerChunk]:
    yield AnswerChunk(text=text)


def _timing(left: StreamedAnswer, right: StreamedAnswer) -> dict[str, float]:
    """Seconds to the first and to the last words of each side."""
    found = {
        f"{side}_{what}": getattr(answer, what)
        for side, answer in (("left", left), ("right", right))
        for what in ("first", "total")
    }
    return {name: round(seconds, 3) for name, seconds in found.items() if seconds is not None}


async def _reveal(left: StreamedAnswer, right: StreamedAnswer) -> AsyncGenerator[BattleView]:
    """Both answers as they may be seen, until both are complete or one has failed."""
    pace, waiting = Pace(), NO_NOTICE
    while not (left.error or right.error):
        await asyncio.sleep(BEAT)
        before = pace
        if waiting != (waiting := left.waiting or right.waiting):
            yield BattleView(busy=True, message=waiting or notice("arena_thinking"))
        pace = pace.advance(left.text, right.text, left_done=left.done, right_done=right.done)
        if pace.shown != before.shown:
            yield BattleView(
                left.text[: pace.shown],
                right.text[: pace.shown],
                busy=True,
                message=notice("arena_answering"),
            )
        if left.done and right.done and pace.complete(left.text, right.text):
            return


def _void(left: StreamedAnswer, right: StreamedAnswer, prompt: str, match: Match) -> VoidBattle | None:
    """Why this battle does not count; None if it does."""
    if error := left.error or right.error:
        return VoidBattle(f"error: {error.text()}", notice("arena_void_error", error=error))
    names = (*match.one.names, *match.other.names, left.revision, right.revision)
    found = fault(left.text, right.text, prompt=prompt, names=names)
    if found is None:
        return None
    if found.code == "identity":
        return VoidBattle(found.reason, notice("arena_void_identity"))
    return VoidBattle(found.reason, notice("arena_void", reason=notice(f"arena_reason_{found.code}")))


def vote(
    services: ArenaServices, verdict: str, ticket: BattleTicket | None, session: str, reasons: Sequence[str] = ()
) -> Battle:
    """Casts the vote and returns the battle, names and all.

    Raises:
        VoteError: there is no battle to vote on, or its vote has been cast.
    """
    if ticket is None:
        raise VoteError("No battle is waiting for your vote.", code="no_battle")
    suspect = suspicion(services.store.engine, ticket.battle, verdict, session=session)
    cast_vote(services.store.engine, ticket, verdict, session=session, reasons=reasons, suspect=suspect)
    services.voted()
    return services.store.get(ticket.battle)


def _battle_answer(answer: StreamedAnswer) -> BattleAnswer:
    return BattleAnswer(answer.text, answer.revision or None)
