"""The tables of the one database: revisions, personas, events, keys, battles, votes, withdrawals, exports."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time; SQLite drops the zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Table(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[str]: JSON}


class RevisionRow(Table):
    """One immutable adapter, registered for one persona."""

    __tablename__ = "revisions"
    __table_args__ = (Index("ix_revisions_newest", "persona", "created_at"),)

    persona: Mapped[str] = mapped_column(String(63), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the adapter folder's content; for an adapter from the Hub, its commit."""
    base: Mapped[str] = mapped_column(String(255))
    base_revision: Mapped[str | None] = mapped_column(String(64))
    """What pins the base's weights: a Hub commit, or the start of a hash."""
    rank: Mapped[int]
    size: Mapped[int] = mapped_column(BigInteger)
    """Bytes of the weights."""
    source: Mapped[str] = mapped_column(Text, default="")
    """Where it came from, for people; `hub:org/name@tag` for the Hub."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class PersonaRow(Table):
    """A public name and the revision it points at."""

    __tablename__ = "personas"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    live: Mapped[str | None] = mapped_column(String(64))
    candidate: Mapped[str | None] = mapped_column(String(64))
    """The revision that a share of the requests goes to, on trial; None when there is no canary."""
    share: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """Share of users that the candidate answers, 0 to 1."""
    card: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Title, voice, prompts and sampling, as the recipe says."""
    updated_at: Mapped[datetime] = mapped_column(default=now)
    used_at: Mapped[datetime | None]
    """When it was last asked, to the minute; after a restart the latest are loaded first."""


class EventRow(Table):
    """Append-only audit log: who did what to which revision, and how it ended."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_newest", "persona", "id"),
        Index("ix_events_revision", "persona", "revision", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    actor: Mapped[str] = mapped_column(String(255))
    persona: Mapped[str] = mapped_column(String(63))
    revision: Mapped[str | None] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(31))
    """push, publish, reject, canary (a trial begins), promote or withdraw (it ends), rollback, and hub (a followed
    repository could not be read)."""
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)


class FollowRow(Table):
    """What was last done about the repository that a persona follows; it outlives restarts."""

    __tablename__ = "follows"

    persona: Mapped[str] = mapped_column(String(63), primary_key=True)
    repo: Mapped[str] = mapped_column(String(200))
    wanted: Mapped[str] = mapped_column(String(200))
    """The policy under which `commit` was found; a pin on a tag stays at it."""
    commit: Mapped[str] = mapped_column(String(64))
    """Published or refused, and so not tried again."""
    at: Mapped[datetime] = mapped_column(default=now)


class KeyRow(Table):
    """An API key. Of the secret only its hash is kept."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    """Public part of the key, for lists and logs."""
    name: Mapped[str] = mapped_column(String(63))
    """Whom or what it is for."""
    kind: Mapped[str] = mapped_column(String(15))
    """inference, metrics or admin."""
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the whole key (it holds 256 random bits, so nothing slower is needed)."""
    requests_per_minute: Mapped[int] = mapped_column(default=0)
    """0 means no limit, here and below."""
    tokens_per_minute: Mapped[int] = mapped_column(default=0)
    max_concurrent: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    created_by: Mapped[str] = mapped_column(String(63))
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None] = mapped_column(String(63))


class BattleRow(Table):
    """One prompt and two anonymous answers, complete enough to be replayed."""

    __tablename__ = "battles"
    __table_args__ = (
        Index("ix_battles_replayed", "session", "replay_of", unique=True),
        Index("ix_battles_at", "at"),
        Index("ix_battles_left", "left", "right"),
        Index("ix_battles_right", "right", "left"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    session: Mapped[str] = mapped_column(String(64))
    """Hash of the browser session; never an address."""
    prompt: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    """Seed of the shuffle and of the sampling, fixed before the answers are asked for."""
    sampling: Mapped[dict[str, Any]] = mapped_column(default=dict)
    left: Mapped[str] = mapped_column(String(127))
    right: Mapped[str] = mapped_column(String(127))
    """Contestants: `base`, a persona, `persona@revision`, `base+persona` (the base with its examples), `base~persona`
    (with its description), or a system."""
    left_revision: Mapped[str | None] = mapped_column(String(64))
    right_revision: Mapped[str | None] = mapped_column(String(64))
    left_text: Mapped[str] = mapped_column(Text, default="")
    right_text: Mapped[str] = mapped_column(Text, default="")
    status: Mapped[str] = mapped_column(String(15))
    """asked (answers on their way), open (waiting for its vote), void (an error or an identity leak)."""
    reason: Mapped[str] = mapped_column(Text, default="")
    """Why it is void."""
    nonce: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the secret that allows the one vote."""
    origin: Mapped[str] = mapped_column(String(15), default="live", server_default="live")
    """live (asked of the engine for this battle), or replay (the answers of an earlier battle, voted on again)."""
    replay_of: Mapped[str | None] = mapped_column(String(32))
    """The battle whose answers a replay shows; it may be in another database, so no foreign key."""
    chance: Mapped[float | None]
    """How likely this pair was when it was drawn, 0 to 1; None for a replay and where nothing was drawn."""
    category: Mapped[str] = mapped_column(String(15), default="", server_default="")
    """Where the prompt came from: suggested (by a card), imported (asked of other systems), free, or not known."""
    timing: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    """Seconds, by `left_first`, `left_total`, `right_first`, `right_total`: to the first words, and to the last."""


class VoteRow(Table):
    """A person's verdict on a battle; the primary key makes a second one impossible."""

    __tablename__ = "votes"
    __table_args__ = (
        Index("ix_votes_at", "at"),
        Index("ix_votes_session", "session", "at"),
        Index(
            "ix_votes_suspect", "suspect", sqlite_where=text("suspect != ''"), postgresql_where=text("suspect != ''")
        ),
    )

    battle: Mapped[str] = mapped_column(ForeignKey("battles.id"), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    session: Mapped[str] = mapped_column(String(64))
    verdict: Mapped[str] = mapped_column(String(15))
    """left, right, tie or both_bad."""
    reasons: Mapped[list[str]] = mapped_column(default=list, server_default="[]")
    """What the voter ticked: some of `arena.votes.votes.REASONS`."""
    suspect: Mapped[str] = mapped_column(String(63), default="", server_default="")
    """Why no statistic counts it; empty for a vote like any other."""


class WithdrawalRow(Table):
    """A vote that its voter has taken back: the vote's row stays, and no statistic counts it."""

    __tablename__ = "withdrawals"
    __table_args__ = (Index("ix_withdrawals_at", "at"),)

    battle: Mapped[str] = mapped_column(ForeignKey("votes.battle"), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)


class ExportRow(Table):
    """What a votes repository has acknowledged, so that nothing is sent twice."""

    __tablename__ = "exports"

    repo: Mapped[str] = mapped_column(String(255), primary_key=True)
    kind: Mapped[str] = mapped_column(String(15), primary_key=True)
    """battle, vote or withdrawal."""
    battle: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
