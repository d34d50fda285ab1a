"""Battles: the sides are committed before the answers are asked for; texts and revisions are kept for replay.

While the engine is away, `BattleStore.replay` offers the two answers of an earlier battle for another blind vote. It
makes a battle of its own: sides shuffled anew, `origin` replay, and the id of the original.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, exists, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from arena.battles.blinding import BASE, new_seed, sampling_seed, shuffle
from understudy.errors import NotFoundError, UnderstudyError
from understudy.registry.tables import BattleRow

ASKED = "asked"
"""The sides are committed; the answers are on their way and no vote is taken yet."""
OPEN = "open"
"""Both answers are complete; the one vote may be cast."""
VOID = "void"
"""An error, an identity leak or nothing to choose between: it never counts."""

LIVE = "live"
"""Origin of a battle whose answers were asked for when it was fought."""
REPLAY = "replay"
"""Origin of a battle that shows the answers of an earlier one."""


DRAWN = 50
"""Battles of which one is drawn for a replay; to put all of them in a random order would take as long as there are."""


class BattleError(UnderstudyError, ValueError):
    """A battle was asked for that cannot be held, or moved to a state it cannot reach."""


@dataclass(frozen=True)
class BattleTicket:
    """What the holder of a battle keeps, on the server: its id and the secret that allows the one vote."""

    battle: str
    secret: str


@dataclass(frozen=True)
class BattleAnswer:
    """What one contestant said, and the revision that said it (`None` for the base)."""

    text: str
    revision: str | None = None


@dataclass(frozen=True)
class Battle:
    """One prompt and two anonymous answers."""

    id: str
    at: datetime
    prompt: str
    seed: int
    sampling: dict[str, Any]
    left: str
    right: str
    left_answer: BattleAnswer
    right_answer: BattleAnswer
    status: str
    reason: str
    origin: str = LIVE
    replay_of: str | None = None
    """Id of the battle whose answers these are; `None` unless `origin` is replay."""
    category: str = ""
    """suggested, imported, free, or empty where it is not known."""
    chance: float | None = None
    """How likely this pair was when it was drawn."""
    timing: dict[str, float] = field(default_factory=dict)
    """Seconds to the first words and to the last of each side, as `understudy.registry.tables.BattleRow` has them."""

    @property
    def persona(self) -> str:
        """The contestant that is not the base."""
        return self.right if self.left == BASE else self.left


def digest(secret: str) -> str:
    """The form in which nonces and sessions are stored."""
    return hashlib.sha256(secret.encode()).hexdigest()


class BattleStore:
    """Battles in the database. Every method is one transaction and safe to call from several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def create(
        self,
        *,
        prompt: str,
        persona: str,
        session: str,
        temperature: float,
        max_tokens: int,
        rival: str = BASE,
        category: str = "",
        chance: float | None = None,
    ) -> tuple[Battle, BattleTicket]:
        """Commits a battle of `persona` against its rival: the seed, the sides and the sampling of both.

        Two revisions of a persona meet as `persona@revision`.

        Raises:
            BattleError: the prompt is empty, or `persona` is the rival itself.
        """
        if not prompt.strip():
            raise BattleError("a battle needs a prompt: found an empty one")
        if persona == rival:
            raise BattleError(f"a battle needs two contestants: {persona} cannot meet itself")
        seed = new_seed()
        sides = shuffle(rival, persona, seed=seed)
        ticket = BattleTicket(battle=secrets.token_hex(16), secret=secrets.token_urlsafe(32))
        row = BattleRow(
            id=ticket.battle,
            session=digest(session),
            prompt=prompt,
            seed=seed,
            sampling={"temperature": temperature, "max_tokens": max_tokens, "seed": sampling_seed(seed)},
            left=sides.left,
            right=sides.right,
            status=ASKED,
            reason="",
            nonce=digest(ticket.secret),
            category=category,
            chance=chance,
        )
        with Session(self.engine) as db, db.begin():
            db.add(row)
            db.flush()
            return _battle(row), ticket

    def replay(self, *, session: str, persona: str | None = None) -> tuple[Battle, BattleTicket] | None:
        """Opens a battle with the answers of an earlier one that this session has neither fought nor been shown.

        With `persona`, one of its battles. `None` when there is none left. The choice is random; the sides are
        shuffled by a seed of their own, so nobody who remembers the original knows who is who.

        Raises:
            BattleError: this session opened the same one in this very moment from elsewhere.
        """
        try:
            return self._replay(session, persona)
        except IntegrityError:
            raise BattleError("two replays of one battle were asked for at once: ask again") from None

    def recorded(self) -> bool:
        """Whether there is any battle that could be replayed to somebody."""
        with Session(self.engine) as db:
            return bool(db.scalar(select(exists().where(BattleRow.status == OPEN, BattleRow.origin == LIVE))))

    def _replay(self, session: str, persona: str | None) -> tuple[Battle, BattleTicket] | None:
        with Session(self.engine) as db, db.begin():
            original = _unseen(db, digest(session), persona)
            if original is None:
                return None
            ticket = BattleTicket(battle=secrets.token_hex(16), secret=secrets.token_urlsafe(32))
            row = _again(original, ticket, digest(session))
            db.add(row)
            db.flush()
            return _battle(row), ticket

    def finish(
        self, battle: str, left: BattleAnswer, right: BattleAnswer, timing: dict[str, float] | None = None
    ) -> None:
        """Stores both answers, and how long they took in seconds, and opens the battle for its vote.

        Raises:
            BattleError: the battle is void, or has been finished before.
        """
        self._settle(
            battle,
            status=OPEN,
            timing=timing or {},
            left_text=left.text,
            right_text=right.text,
            left_revision=left.revision,
            right_revision=right.revision,
        )

    def void(
        self, battle: str, reason: str, left: BattleAnswer = BattleAnswer(""), right: BattleAnswer = BattleAnswer("")
    ) -> None:
        """Takes a battle that is under way out of the count, keeping what was said and why.

        Raises:
            BattleError: the battle is void already, or has been opened for its vote.
        """
        self._settle(
            battle,
            status=VOID,
            reason=reason,
            left_text=left.text,
            right_text=right.text,
            left_revision=left.revision,
            right_revision=right.revision,
        )

    def get(self, battle: str) -> Battle:
        """One battle. Raises NotFoundError when there is none of that id."""
        with Session(self.engine) as db:
            row = db.get(BattleRow, battle)
            if row is None:
                raise NotFoundError(f"no battle {battle!r}")
            return _battle(row)

    def _settle(self, battle: str, **values: Any) -> None:
        statement = (
            update(BattleRow)
            .where(BattleRow.id == battle, BattleRow.status == ASKED)
            .values(**values)
            .returning(BattleRow.id)
        )
        with Session(self.engine) as db, db.begin():
            if db.scalar(statement) is None:
                raise BattleError(f"battle {battle!r} is not under way: it cannot become {values['status']}")


def _unseen(db: Session, session: str, persona: str | None) -> BattleRow | None:
    """One finished battle, at random, that this session does not know.

    Ids are random, so it is one of the `DRAWN` that follow a random id; of fewer each is as likely as the others.
    """
    seen = select(BattleRow.replay_of).where(BattleRow.session == session, BattleRow.replay_of.is_not(None))
    query = select(BattleRow.id).where(
        BattleRow.status == OPEN, BattleRow.origin == LIVE, BattleRow.session != session, BattleRow.id.not_in(seen)
    )
    if persona:
        query = query.where(or_(BattleRow.left == persona, BattleRow.right == persona))
    start = secrets.token_hex(16)
    later = db.scalars(query.where(BattleRow.id >= start).order_by(BattleRow.id).limit(DRAWN)).all()
    earlier = query.where(BattleRow.id < start).order_by(BattleRow.id).limit(DRAWN - len(later))
    drawn = [*later, *(db.scalars(earlier).all() if len(later) < DRAWN else ())]
    return db.get(BattleRow, secrets.choice(drawn)) if drawn else None


def _again(original: BattleRow, ticket: BattleTicket, session: str) -> BattleRow:
    """A new battle with the answers of `original`, on sides of its own."""
    seed = new_seed()
    sides = shuffle(original.left, original.right, seed=seed)
    left, right = (original.left_text, original.left_revision), (original.right_text, original.right_revision)
    if sides.left != original.left:
        left, right = right, left
    return BattleRow(
        id=ticket.battle,
        session=session,
        prompt=original.prompt,
        seed=seed,
        sampling=dict(original.sampling),
        left=sides.left,
        right=sides.right,
        left_text=left[0],
        left_revision=left[1],
        right_text=right[0],
        right_revision=right[1],
        status=OPEN,
        reason="",
        nonce=digest(ticket.secret),
        origin=REPLAY,
        replay_of=original.id,
        category=original.category,
    )


def _battle(row: BattleRow) -> Battle:
    return Battle(
        id=row.id,
        at=row.at,
        prompt=row.prompt,
        seed=row.seed,
        sampling=dict(row.sampling),
        left=row.left,
        right=row.right,
        left_answer=BattleAnswer(row.left_text or "", row.left_revision),
        right_answer=BattleAnswer(row.right_text or "", row.right_revision),
        status=row.status,
        reason=row.reason,
        origin=row.origin,
        replay_of=row.replay_of,
        category=row.category,
        chance=row.chance,
        timing=dict(row.timing or {}),
    )
