"""Votes of made-up people, written straight into a database, and leaderboards that are compared by their figures."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from arena.battles.store import digest
from arena.ranking.leaderboard_records import Leaderboard
from understudy.registry.tables import BattleRow, VoteRow, WithdrawalRow

START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("base", "poet", "clerk", "clown")
VOTERS = 7


@dataclass(frozen=True)
class MadeUpVote:
    """One vote and its battle."""

    left: str = "base"
    right: str = "poet"
    verdict: str = "left"
    voter: str = "voter 0"
    category: str = ""
    left_length: int = 5
    right_length: int = 5
    revisions: tuple[str | None, str | None] = (None, None)
    suspect: str = ""
    seconds: float = 0
    """After `START`."""


class VoteWriter:
    """Writes votes into a database, with battles numbered from 0."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.size, self.chance = engine, 0, random.Random(1)

    def write(self, vote: MadeUpVote) -> str:
        """The battle's id."""
        battle, self.size = f"{self.size:032x}", self.size + 1
        at, session = START + timedelta(seconds=vote.seconds), digest(vote.voter)
        empty = {"prompt": "Hi", "seed": 1, "sampling": {}, "reason": "", "nonce": digest(""), "status": "open"}
        row = BattleRow(
            id=battle,
            at=at,
            session=session,
            left=vote.left,
            right=vote.right,
            left_revision=vote.revisions[0],
            right_revision=vote.revisions[1],
            left_text="a" * vote.left_length,
            right_text="b" * vote.right_length,
            category=vote.category,
            **empty,
        )
        with Session(self.engine) as db, db.begin():
            db.add(row)
            db.flush()
            db.add(VoteRow(battle=battle, at=at, session=session, verdict=vote.verdict, suspect=vote.suspect))
        return battle

    def withdraw(self, battle: str, seconds: float) -> None:
        with Session(self.engine) as db, db.begin():
            db.add(WithdrawalRow(battle=battle, at=START + timedelta(seconds=seconds)))

    def fill(self, votes: int, *, suspect: str = "") -> None:
        """So many votes of seven people, an hour apart."""
        for number in range(self.size, self.size + votes):
            left, right = self.chance.sample(NAMES, 2)
            self.write(
                MadeUpVote(
                    left,
                    right,
                    self.chance.choice(["left", "right", "tie", "both_bad"]),
                    voter=f"voter {number % VOTERS}",
                    right_length=self.chance.randint(1, 9),
                    suspect=suspect,
                    seconds=3600 * number,
                )
            )


def same_figures(one: Leaderboard, other: Leaderboard) -> bool:
    """Whether two leaderboards agree to a millionth."""

    def agree(value: object, same: object) -> bool:
        if isinstance(value, dict) and isinstance(same, dict):
            return value.keys() == same.keys() and all(agree(value[key], same[key]) for key in value)
        if isinstance(value, list | tuple) and isinstance(same, list | tuple):
            return len(value) == len(same) and all(map(agree, value, same))
        if isinstance(value, float) and isinstance(same, float):
            return math.isclose(value, same, rel_tol=1e-6, abs_tol=1e-6)
        return value == same

    return agree(one.model_dump(), other.model_dump())


@contextmanager
def query_plans(engine: Engine) -> Iterator[list[str]]:
    """How SQLite answers the statements of the block: a line for each table of each statement, when it ends."""
    asked: list[tuple[str, tuple]] = []
    listen = lambda _c, _cur, statement, values, *_: asked.append((statement, values))  # noqa: E731
    event.listen(engine, "before_cursor_execute", listen)
    lines: list[str] = []
    yield lines
    event.remove(engine, "before_cursor_execute", listen)
    with engine.connect() as connection:
        for statement, values in asked:
            if statement.startswith(("SELECT", "INSERT")) and statement[7:] != "count(*) AS count_1 \nFROM votes":
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                lines += [f"{row.detail} <- {statement[:120]}" for row in rows]
