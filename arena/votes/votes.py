"""Votes: one per battle, kept for good. One query reads them and one record holds them, whatever they are read for."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import (
    ColumnElement,
    Engine,
    Insert,
    Text,
    and_,
    cast,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from arena.battles.blinding import BASE
from arena.battles.store import LIVE, OPEN, REPLAY, VOID, BattleTicket, digest
from understudy.errors import UnderstudyError
from understudy.registry.adapters import short
from understudy.registry.tables import BattleRow, VoteRow, WithdrawalRow, now
from understudy.statistics.sequential import VoteOutcome

Side = Literal["left", "right"]
Verdict = Literal["left", "right", "tie", "both_bad"]
VERDICTS: tuple[str, ...] = get_args(Verdict)

Reason = Literal["style", "helpful", "accurate", "funny", "short"]
REASONS: tuple[str, ...] = get_args(Reason)
"""What a voter may say was better about the preferred answer."""
WITHDRAWN = "withdrawn by the voter"
IS_SUSPECT = VoteRow.suspect != literal_column("''")
"""Written as in the index of suspect votes: with a parameter instead of '' the index would not be used."""
IS_WITHDRAWN = exists().where(WithdrawalRow.battle == VoteRow.battle)
COUNTS = and_(VoteRow.suspect == "", ~IS_WITHDRAWN)
"""Whether statistics count a vote: it is neither suspect nor withdrawn."""
PORTION = 2_000
"""Votes that are in memory at a time while they are read."""

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class VoteError(UnderstudyError, ValueError):
    """A vote that does not count; the message says why, in words for the voter."""


@dataclass(frozen=True)
class VotedAnswer:
    """One of the two answers that a vote compares."""

    contestant: str
    revision: str | None
    """First characters of the revision that answered; `None` for the base and where nobody knows."""
    text: str

    @property
    def persona(self) -> str:
        """The contestant without the revision it may be pinned to."""
        return self.contestant.partition("@")[0]

    @property
    def by(self) -> str:
        """Contestant and revision, as people see them."""
        return f"{self.persona}@{short(self.revision)}" if self.revision else self.contestant


class Vote(NamedTuple):
    """One person's verdict and the battle it is about: a row of `select_votes`, in the order of its columns."""

    battle: str
    at: datetime
    voter: str
    """Hash of the voter's session or account."""
    verdict: str
    """left, right, tie or both_bad."""
    reasons_json: str
    suspect: str
    """Why no statistic counts it; empty for a vote like any other."""
    withdrawn: bool
    prompt: str
    sampling_json: str
    origin: str
    """live, or replay: a vote on answers that somebody had judged before."""
    category: str
    left: str
    right: str
    left_revision: str | None
    right_revision: str | None
    left_text: str
    right_text: str

    @property
    def reasons(self) -> list[str]:
        """What the voter said was better, of `REASONS`."""
        return json.loads(self.reasons_json)

    @property
    def sampling(self) -> dict[str, Any]:
        """Parameters with which both answers were asked for."""
        return json.loads(self.sampling_json)

    @property
    def persona(self) -> str:
        """The contestant that is not the base."""
        return self.right if self.left == BASE else self.left

    @property
    def revision(self) -> str:
        """First characters of the persona's revision that answered; empty where nobody knows."""
        return (self.right_revision if self.left == BASE else self.left_revision) or ""

    @property
    def winner(self) -> str | None:
        """The contestant that was preferred; `None` for a tie or both bad."""
        return {"left": self.left, "right": self.right}.get(self.verdict)

    @property
    def replay(self) -> bool:
        return self.origin == REPLAY

    @property
    def contestants(self) -> tuple[str, str]:
        """Left and right by name; two revisions of one persona are two contestants, `persona@revision`."""
        if self.left != self.right:
            return self.left, self.right
        return f"{self.left}@{short(self.left_revision or '')}", f"{self.right}@{short(self.right_revision or '')}"

    @property
    def lengths(self) -> tuple[int, int]:
        """Characters of the left and of the right answer."""
        return len(self.left_text), len(self.right_text)

    def answer(self, side: Side) -> VotedAnswer:
        if side == "left":
            return VotedAnswer(self.left, self.left_revision, self.left_text)
        return VotedAnswer(self.right, self.right_revision, self.right_text)


def cast_vote(
    engine: Engine, ticket: BattleTicket, verdict: str, *, session: str, reasons: Sequence[str] = (), suspect: str = ""
) -> None:
    """Records the one vote of a battle; on return it is on disk.

    `suspect` says why no statistic may count it (`arena.battles.vote_spam`). Reasons that are not in `REASONS` are
    dropped.

    Raises:
        VoteError: the verdict is unknown, the ticket is not the battle's, the answers are not complete, the
            battle is void, or it has its vote already.
    """
    if verdict not in VERDICTS:
        raise VoteError(f"unknown verdict {verdict!r}: choose one of {', '.join(VERDICTS)}")
    with Session(engine) as db, db.begin():
        known = [reason for reason in REASONS if reason in reasons]
        if db.scalar(_insert(engine, ticket, verdict, digest(session), known, suspect)) is None:
            raise _refusal(db, ticket)


def select_votes(engine: Engine, *conditions: ColumnElement[bool]) -> Iterator[Vote]:
    """The votes that meet all conditions on `VoteRow` and `BattleRow`, oldest first, read in portions.

    JSON stays text: a million votes are read for their verdicts, and decoding two columns takes half of the time.
    """
    query = (
        select(
            VoteRow.battle,
            VoteRow.at,
            VoteRow.session,
            VoteRow.verdict,
            cast(VoteRow.reasons, Text),
            VoteRow.suspect,
            IS_WITHDRAWN,
            BattleRow.prompt,
            cast(BattleRow.sampling, Text),
            BattleRow.origin,
            BattleRow.category,
            BattleRow.left,
            BattleRow.right,
            BattleRow.left_revision,
            BattleRow.right_revision,
            BattleRow.left_text,
            BattleRow.right_text,
        )
        .join(BattleRow, BattleRow.id == VoteRow.battle)
        .where(*conditions)
        .order_by(VoteRow.at, VoteRow.battle)
        .execution_options(yield_per=PORTION)
    )
    with Session(engine) as db:
        yield from map(Vote._make, db.execute(query))


def list_votes(engine: Engine, persona: str | None = None) -> list[Vote]:
    """Every vote that counts, oldest first; with `persona`, those of its battles against the base."""
    return list(select_votes(engine, COUNTS, *([] if persona is None else [_against_base(persona)])))


def find_vote(engine: Engine, battle: str) -> Vote | None:
    """The vote on that battle; None without a vote, or where it was withdrawn."""
    return next(iter(list(select_votes(engine, VoteRow.battle == battle, ~IS_WITHDRAWN))), None)


def votes_about(engine: Engine, persona: str) -> list[Vote]:
    """Every vote that counts on a battle in which that persona, or a pinned revision of it, answered, oldest first."""
    answered = or_(*(_is(side, persona) for side in (BattleRow.left, BattleRow.right)))
    return list(select_votes(engine, COUNTS, BattleRow.status == OPEN, answered))


class BattleVotes:
    """What people's votes say about a persona's revisions: see `understudy.statistics.sequential.VoteSource`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def outcomes(self, persona: str, since: datetime) -> list[VoteOutcome]:
        """Decisive votes since that moment on battles of the persona against the base, oldest first.

        Votes on replays are left out: they judge answers that have been judged before, so they are no new evidence.
        """
        decisive = and_(BattleRow.origin == LIVE, VoteRow.at >= since, VoteRow.verdict.in_(("left", "right")))
        return [
            VoteOutcome(battle=vote.battle, revision=vote.revision, won=vote.winner == persona)
            for vote in select_votes(self._engine, COUNTS, _against_base(persona), decisive)
            if vote.revision
        ]


def left_out(engine: Engine) -> dict[str, int]:
    """How many votes no statistic counts, by reason."""
    withdrawn = select(func.count()).select_from(WithdrawalRow)
    suspect = (
        select(VoteRow.suspect, func.count())
        .where(IS_SUSPECT, ~IS_WITHDRAWN)
        .group_by(VoteRow.suspect)
        .order_by(VoteRow.suspect)
    )
    with Session(engine) as db:
        found = dict(db.execute(suspect).tuples().all())
        taken_back = db.scalar(withdrawn) or 0
    return found | ({WITHDRAWN: taken_back} if taken_back else {})


def withdraw_votes(engine: Engine, *, session: str) -> int:
    """Takes back every vote of that voter; returns how many. The rows stay, and no statistic counts them."""
    mine = select(VoteRow.battle, literal(now(), WithdrawalRow.at.type)).where(
        VoteRow.session == digest(session), ~IS_WITHDRAWN
    )
    insert = _INSERTS[engine.dialect.name](WithdrawalRow).from_select(["battle", "at"], mine)
    with Session(engine) as db, db.begin():
        return len(db.scalars(insert.on_conflict_do_nothing().returning(WithdrawalRow.battle)).all())


def _insert(
    engine: Engine, ticket: BattleTicket, verdict: str, session: str, reasons: list[str], suspect: str
) -> Insert:
    """One statement that checks and records, so that of two votes on one battle only one succeeds."""
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


def _is(contestant: InstrumentedAttribute[str], persona: str) -> ColumnElement[bool]:
    """Whether that side was the persona, whatever its revision."""
    return or_(contestant == persona, contestant.startswith(f"{persona}@", autoescape=True))


def _refusal(db: Session, ticket: BattleTicket) -> VoteError:
    row = db.get(BattleRow, ticket.battle)
    if row is None or row.nonce != digest(ticket.secret):
        return VoteError("This vote does not belong to a battle of yours.", code="vote_not_yours")
    if row.status == VOID:
        return VoteError("This battle does not count, so it takes no vote.", code="vote_void")
    if row.status != OPEN:
        return VoteError("The answers are not complete yet.", code="vote_early")
    return VoteError("Your vote on this battle has been counted already.", code="vote_counted")
