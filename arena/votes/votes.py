"""Votes: one per battle, kept for good, and the plain tally of a persona against the base."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import ColumnElement, Engine, Insert, and_, exists, func, literal, literal_column, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from arena.battles.blinding import BASE
from arena.battles.store import LIVE, OPEN, VOID, BattleTicket, digest
from understudy.errors import UnderstudyError
from understudy.registry.tables import BattleRow, VoteRow, WithdrawalRow, now
from understudy.statistics.sequential import VoteOutcome

Verdict = Literal["left", "right", "tie", "both_bad"]
VERDICTS: tuple[str, ...] = get_args(Verdict)

Reason = Literal["style", "helpful", "accurate", "funny", "short"]
REASONS: tuple[str, ...] = get_args(Reason)
"""What a voter may say was better about the preferred answer."""
WITHDRAWN = "withdrawn by the voter"
IS_SUSPECT = VoteRow.suspect != literal_column("''")
"""As the index of suspect votes has it: with a parameter instead of '' it would not be used."""

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class VoteError(UnderstudyError, ValueError):
    """A vote that does not count; the message says why, in words for the voter."""


@dataclass(frozen=True)
class Vote:
    """One person's verdict, in terms of contestants."""

    battle: str
    at: datetime
    persona: str
    verdict: str
    """left, right, tie or both_bad, as it was cast."""
    winner: str | None
    """The contestant that was preferred; `None` for a tie or both bad."""
    origin: str = LIVE
    """live, or replay: a vote on answers that somebody had judged before."""
    reasons: tuple[str, ...] = ()
    revision: str = ""
    """Of the persona, short, that answered; empty where nobody knows."""


@dataclass(frozen=True)
class Tally:
    """How a persona has fared against the base."""

    wins: int = 0
    losses: int = 0
    ties: int = 0
    both_bad: int = 0

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties + self.both_bad


def cast_vote(
    engine: Engine, ticket: BattleTicket, verdict: str, *, session: str, reasons: Sequence[str] = (), suspect: str = ""
) -> None:
    """Records the one vote of a battle; on return it is on disk.

    `suspect` says why no statistic may count it (`arena.battles.vote_spam`); reasons that are none of `REASONS`
    are left out.

    Raises:
        VoteError: the verdict is unknown, the ticket is not the battle's, the answers are not complete, the
            battle is void, or it has its vote already.
    """
    if verdict not in VERDICTS:
        raise VoteError(f"unknown verdict {verdict!r}: choose one of {', '.join(VERDICTS)}")
    with Session(engine) as db, db.begin():
        said = [reason for reason in REASONS if reason in reasons]
        if db.scalar(_insert(engine, ticket, verdict, digest(session), said, suspect)) is None:
            raise VoteError(_why_refused(db, ticket))


def counted() -> ColumnElement[bool]:
    """Whether statistics count a vote: it is neither suspect nor withdrawn."""
    return and_(VoteRow.suspect == "", ~exists().where(WithdrawalRow.battle == VoteRow.battle))


def left_out(engine: Engine) -> dict[str, int]:
    """How many votes no statistic counts, by reason."""
    withdrawn = select(func.count()).select_from(WithdrawalRow)
    suspect = (
        select(VoteRow.suspect, func.count())
        .where(IS_SUSPECT, ~exists().where(WithdrawalRow.battle == VoteRow.battle))
        .group_by(VoteRow.suspect)
        .order_by(VoteRow.suspect)
    )
    with Session(engine) as db:
        found = dict(db.execute(suspect).tuples().all())
        gone = db.scalar(withdrawn) or 0
    return found | ({WITHDRAWN: gone} if gone else {})


def withdraw_votes(engine: Engine, *, session: str) -> int:
    """Takes back every vote of that voter; returns how many. The rows stay, and no statistic counts them."""
    mine = select(VoteRow.battle, literal(now(), WithdrawalRow.at.type)).where(
        VoteRow.session == digest(session), ~exists().where(WithdrawalRow.battle == VoteRow.battle)
    )
    insert = _INSERTS[engine.dialect.name](WithdrawalRow).from_select(["battle", "at"], mine)
    with Session(engine) as db, db.begin():
        return len(db.scalars(insert.on_conflict_do_nothing().returning(WithdrawalRow.battle)).all())


def find_vote(engine: Engine, battle: str) -> Vote | None:
    """The vote on that battle; `None` when there is none, or it was withdrawn."""
    query = (
        select(VoteRow, BattleRow)
        .join(BattleRow, BattleRow.id == VoteRow.battle)
        .where(VoteRow.battle == battle, ~exists().where(WithdrawalRow.battle == VoteRow.battle))
    )
    with Session(engine) as db:
        row = db.execute(query).one_or_none()
    return _vote(*row) if row else None


def list_votes(engine: Engine, persona: str | None = None) -> list[Vote]:
    """Every vote that counts, oldest first; with `persona`, those of its battles against the base."""
    query = select(VoteRow, BattleRow).join(BattleRow, BattleRow.id == VoteRow.battle).where(counted())
    if persona is not None:
        query = query.where(_against_base(persona))
    with Session(engine) as db:
        rows = db.execute(query.order_by(VoteRow.at, VoteRow.battle)).all()
    return [_vote(row, battle) for row, battle in rows]


def tally(engine: Engine, persona: str) -> Tally:
    """Wins, losses, ties and both-bad of `persona` against the base, each pair of answers once: no replays."""
    on_left = (BattleRow.left == persona).label("on_left")
    query = (
        select(VoteRow.verdict, on_left, func.count())
        .join(BattleRow, BattleRow.id == VoteRow.battle)
        .where(counted(), _against_base(persona), BattleRow.origin == LIVE)
        .group_by(VoteRow.verdict, on_left)
    )
    with Session(engine) as db:
        votes = {(verdict, bool(on_left)): count for verdict, on_left, count in db.execute(query).tuples()}

    def total(*cells: tuple[str, bool]) -> int:
        return sum(votes.get(cell, 0) for cell in cells)

    return Tally(
        wins=total(("left", True), ("right", False)),
        losses=total(("left", False), ("right", True)),
        ties=total(("tie", True), ("tie", False)),
        both_bad=total(("both_bad", True), ("both_bad", False)),
    )


class BattleVotes:
    """What people's votes say about a persona's revisions: see `understudy.statistics.sequential.VoteSource`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ballots(self, persona: str, since: datetime) -> list[VoteOutcome]:
        """Decisive votes since that moment on battles of the persona against the base, oldest first.

        Votes on replays are left out: they judge answers that have been judged before, so they are no new evidence.
        """
        query = (
            select(VoteRow.battle, VoteRow.verdict, BattleRow.left, BattleRow.left_revision, BattleRow.right_revision)
            .join(BattleRow, BattleRow.id == VoteRow.battle)
            .where(_against_base(persona))
            .where(counted(), BattleRow.origin == LIVE, VoteRow.at >= since, VoteRow.verdict.in_(("left", "right")))
            .order_by(VoteRow.at, VoteRow.battle)
        )
        with Session(self._engine) as db:
            rows = db.execute(query).all()
        ballots = []
        for battle, verdict, left, left_revision, right_revision in rows:
            revision = left_revision if left == persona else right_revision
            if revision:
                ballots.append(
                    VoteOutcome(battle=battle, revision=revision, won=(verdict == "left") == (left == persona))
                )
        return ballots


def _insert(
    engine: Engine, ticket: BattleTicket, verdict: str, session: str, reasons: list[str], suspect: str
) -> Insert:
    """One statement that checks and records, so that no two casts can both succeed."""
    values = {"at": now(), "session": session, "verdict": verdict, "reasons": reasons, "suspect": suspect}
    columns = ["battle", *values]
    literals = [literal(value, getattr(VoteRow, name).type) for name, value in values.items()]
    allowed = select(BattleRow.id, *literals).where(
        BattleRow.id == ticket.battle, BattleRow.nonce == digest(ticket.secret), BattleRow.status == OPEN
    )
    insert = _INSERTS[engine.dialect.name](VoteRow).from_select(columns, allowed)
    return insert.on_conflict_do_nothing(index_elements=["battle"]).returning(VoteRow.battle)


def _against_base(persona: str) -> ColumnElement[bool]:
    one, other = (BattleRow.left, BattleRow.right), (BattleRow.right, BattleRow.left)
    return or_(*(and_(here == persona, there == BASE) for here, there in (one, other)))


def _why_refused(db: Session, ticket: BattleTicket) -> str:
    row = db.get(BattleRow, ticket.battle)
    if row is None or row.nonce != digest(ticket.secret):
        return "This vote does not belong to a battle of yours."
    if row.status == VOID:
        return "This battle does not count, so it takes no vote."
    if row.status != OPEN:
        return "The answers are not complete yet."
    return "Your vote on this battle has been counted already."


def _vote(row: VoteRow, battle: BattleRow) -> Vote:
    winner = {"left": battle.left, "right": battle.right}.get(row.verdict)
    persona = battle.right if battle.left == BASE else battle.left
    return Vote(
        battle=row.battle,
        at=row.at,
        persona=persona,
        verdict=row.verdict,
        winner=winner,
        origin=battle.origin,
        reasons=tuple(row.reasons or ()),
        revision=(battle.right_revision if battle.left == BASE else battle.left_revision) or "",
    )
