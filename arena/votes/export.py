"""Battles and votes as files that are only ever added, and back: what a Space without a disk lives on.

A batch is what a repository has not acknowledged yet. Its files are JSON lines, named after the writer, its count and
their own content, so that two writers never meet and a damaged file is known as one. Reading them all back, in any
order and any number of times, gives every battle and every vote once.

Nothing in them leads to a person: `session` is the hash of a random number that a browser tab made up. Prompts are
what people wrote, though, and that is theirs: such a repository is private unless its owner decides otherwise.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Engine, exists, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from arena.battles.store import ASKED
from understudy.registry.tables import BattleRow, ExportRow, VoteRow, WithdrawalRow, now

LIMIT = 2_000
"""Most battles, and most votes, of one batch."""
LATE = timedelta(hours=1)
"""How long after its time a row may still appear: its battle is still running, or a clock is behind."""
CHUNK = 200
"""Rows of one insert; SQLite takes a bounded number of values at a time."""
NAME = re.compile(r"(?P<kind>battles|votes|withdrawals)/\d{4}-\d\d/[0-9a-f]+-\d+-(?P<content>[0-9a-f]{12})\.jsonl")
"""Path of one file: kind, month, then writer, its count, and the start of the SHA-256 of the content."""

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_Name = Annotated[str, Field(min_length=1, max_length=127)]
_Revision = Annotated[str, Field(max_length=64)]


class BattleRecord(BaseModel):
    """One settled battle, as `understudy.registry.tables.BattleRow` keeps it."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: _Id
    at: AwareDatetime
    session: _Hash
    prompt: str
    seed: int = Field(ge=0, lt=2**63)
    sampling: dict[str, Any]
    left: _Name
    right: _Name
    left_revision: _Revision | None
    right_revision: _Revision | None
    left_text: str
    right_text: str
    status: Literal["open", "void"]
    reason: str
    nonce: _Hash
    origin: Literal["live", "replay"]
    replay_of: _Id | None
    chance: float | None = Field(default=None, ge=0, le=1)
    category: str = Field(default="", max_length=15)
    timing: dict[str, float] = {}


class VoteRecord(BaseModel):
    """One vote, as `understudy.registry.tables.VoteRow` keeps it."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    battle: _Id
    at: AwareDatetime
    session: _Hash
    verdict: Literal["left", "right", "tie", "both_bad"]
    reasons: list[str] = []
    suspect: str = Field(default="", max_length=63)


class WithdrawalRecord(BaseModel):
    """One vote taken back, as `understudy.registry.tables.WithdrawalRow` keeps it."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    battle: _Id
    at: AwareDatetime


Record = TypeVar("Record", BattleRecord, VoteRecord, WithdrawalRecord)


@dataclass(frozen=True)
class ExportBatch:
    """Battles and votes that a repository has not acknowledged."""

    battles: tuple[BattleRecord, ...] = ()
    votes: tuple[VoteRecord, ...] = ()
    withdrawals: tuple[WithdrawalRecord, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.battles or self.votes or self.withdrawals)

    def files(self, writer: str, count: int, at: datetime) -> dict[str, bytes]:
        """Path and content of each file; `writer` is hexadecimal and no other writer's."""
        found = {}
        for kind, records in (
            ("battles", self.battles),
            ("votes", self.votes),
            ("withdrawals", self.withdrawals),
        ):
            if records:
                content = "".join(f"{record.model_dump_json()}\n" for record in records).encode()
                digest = hashlib.sha256(content).hexdigest()[:12]
                found[f"{kind}/{at:%Y-%m}/{writer}-{count}-{digest}.jsonl"] = content
        return found


@dataclass
class Restored:
    """What a restore has added to a database, and the files it could not use."""

    battles: int = 0
    votes: int = 0
    problems: list[str] = field(default_factory=list)
    """One line each: the file, and what is wrong with it."""


def pending(engine: Engine, repo: str, *, since: datetime | None = None) -> ExportBatch:
    """What `repo` has not acknowledged, oldest first; a vote never goes before its battle.

    With `since`, a moment at which it had acknowledged everything, only what is at most `LATE` older is looked at.
    """
    oldest = since - LATE if since else None
    with Session(engine) as db:
        battles = db.scalars(
            select(BattleRow)
            .where(BattleRow.status != ASKED, ~_known(repo, "battle", BattleRow.id), *_from(BattleRow.at, oldest))
            .order_by(BattleRow.at, BattleRow.id)
            .limit(LIMIT)
        ).all()
        last = (battles[-1].at, battles[-1].id) if len(battles) == LIMIT else None
        votes = db.execute(
            select(VoteRow, BattleRow.at, BattleRow.id, _known(repo, "battle", BattleRow.id))
            .join(BattleRow, BattleRow.id == VoteRow.battle)
            .where(~_known(repo, "vote", VoteRow.battle), *_from(VoteRow.at, oldest))
            .order_by(VoteRow.at, VoteRow.battle)
            .limit(LIMIT)
        ).all()
        withdrawals = db.scalars(
            select(WithdrawalRow)
            .where(_known(repo, "vote", WithdrawalRow.battle), ~_known(repo, "withdrawal", WithdrawalRow.battle))
            .where(*_from(WithdrawalRow.at, oldest))
            .order_by(WithdrawalRow.at, WithdrawalRow.battle)
            .limit(LIMIT)
        ).all()
        return ExportBatch(
            tuple(BattleRecord.model_validate(row) for row in battles),
            tuple(
                VoteRecord.model_validate(vote)
                for vote, at, battle, known in votes
                if known or last is None or (at, battle) <= last
            ),
            tuple(WithdrawalRecord.model_validate(row) for row in withdrawals),
        )


def acknowledge(engine: Engine, repo: str, batch: ExportBatch) -> None:
    """Remembers that `repo` has everything of `batch`, so that it is not sent again."""
    with Session(engine) as db, db.begin():
        _mark(db, repo, "battle", [battle.id for battle in batch.battles])
        _mark(db, repo, "vote", [vote.battle for vote in batch.votes])
        _mark(db, repo, "withdrawal", [one.battle for one in batch.withdrawals])


def restore(engine: Engine, repo: str, files: Iterable[tuple[str, bytes]]) -> Restored:
    """Adds what is missing from the files of `repo`; what is there already stays as it is.

    A file that is damaged or has another name than `NAME` is reported in the outcome and skipped.
    """
    outcome = Restored()
    battles: list[BattleRecord] = []
    votes: list[tuple[str, list[VoteRecord]]] = []
    withdrawals: list[WithdrawalRecord] = []
    for path, content in sorted(files):
        try:
            kind = _kind(path, content)
            if kind == "battles":
                battles.extend(_records(BattleRecord, content))
            elif kind == "withdrawals":
                withdrawals.extend(_records(WithdrawalRecord, content))
            else:
                votes.append((path, list(_records(VoteRecord, content))))
        except ValueError as error:
            outcome.problems.append(f"{path}: {error}; skipped")
    with Session(engine) as db, db.begin():
        outcome.battles = _add(db, BattleRow, battles)
        _mark(db, repo, "battle", [battle.id for battle in battles])
        for path, records in votes:
            there = _there(db, [vote.battle for vote in records])
            kept = [vote for vote in records if vote.battle in there]
            outcome.votes += _add(db, VoteRow, kept)
            _mark(db, repo, "vote", [vote.battle for vote in kept])
            if lost := len(records) - len(kept):
                outcome.problems.append(f"{path}: {lost} votes on battles that are nowhere; left out")
        gone = _there(db, [one.battle for one in withdrawals], VoteRow.battle)
        _add(db, WithdrawalRow, [one for one in withdrawals if one.battle in gone])
        _mark(db, repo, "withdrawal", sorted(gone))
    return outcome


def _kind(path: str, content: bytes) -> str:
    """The kind of records in a file. Raises ValueError when its name is not a `NAME` or does not match its content."""
    parts = NAME.fullmatch(path)
    if parts is None:
        raise ValueError("not a name that we give")
    if not hashlib.sha256(content).hexdigest().startswith(parts["content"]):
        raise ValueError("damaged, its content is not the one it was written with")
    return parts["kind"]


def _records(record: type[Record], content: bytes) -> Iterator[Record]:
    """The records of a file. Raises ValueError with the line that is not one."""
    for number, line in enumerate(content.splitlines(), 1):
        try:
            yield record.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"line {number}: {where or 'JSON'}: {first['msg']}") from None


def _known(repo: str, kind: str, battle: Any) -> Any:
    return exists().where(ExportRow.repo == repo, ExportRow.kind == kind, ExportRow.battle == battle)


def _from(column: Any, oldest: datetime | None) -> list[Any]:
    return [] if oldest is None else [column >= oldest]


def _add(
    db: Session,
    table: type[BattleRow] | type[VoteRow] | type[WithdrawalRow],
    records: Sequence[BattleRecord | VoteRecord | WithdrawalRecord],
) -> int:
    """Inserts what is not there; returns how many that were."""
    return sum(
        len(_insert(db, table, [record.model_dump() for record in records[start : start + CHUNK]]))
        for start in range(0, len(records), CHUNK)
    )


def _mark(db: Session, repo: str, kind: str, battles: list[str]) -> None:
    at = now()
    for start in range(0, len(battles), CHUNK):
        rows = [{"repo": repo, "kind": kind, "battle": battle, "at": at} for battle in battles[start : start + CHUNK]]
        _insert(db, ExportRow, rows)


def _insert(db: Session, table: Any, rows: list[dict[str, Any]]) -> Sequence[Any]:
    insert = _INSERTS[db.get_bind().dialect.name](table).on_conflict_do_nothing()
    key = table.id if table is BattleRow else table.battle
    return db.scalars(insert.returning(key), rows).all()


def _there(db: Session, battles: list[str], column: Any = BattleRow.id) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(battles), CHUNK):
        found.update(db.scalars(select(column).where(column.in_(battles[start : start + CHUNK]))))
    return found
