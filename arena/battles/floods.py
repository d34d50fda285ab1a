"""Votes that no person casts: too fast, or one verdict on one prompt from everywhere at once.

Such a vote is kept with its reason in `suspect`, its voter is told nothing, and no statistic counts it. The limits are
those of machines, not of eager people: reading two answers takes longer than they allow.
"""

from datetime import datetime, timedelta

from sqlalchemy import Engine, Select, func, or_, select
from sqlalchemy.orm import Session

from arena.battles.store import digest
from understudy.tables import BattleRow, VoteRow, now

STREAK = 5
"""Votes, with the new one, that make a pattern."""
FAST = timedelta(seconds=10)
"""Whoever casts `STREAK` votes in that time has read nothing."""
BURST = timedelta(seconds=5)
"""`STREAK` votes for the same contestant on the same prompt in that time, whoever cast them, are one machine's."""

TOO_FAST = "faster than anybody reads"
SAME_AGAIN = "same verdict on the same prompt, at machine speed"


def suspicion(engine: Engine, battle: str, verdict: str, *, session: str, at: datetime | None = None) -> str:
    """Why the vote that is about to be cast should not count; "" when nothing speaks against it."""
    at = at or now()
    own = select(func.count()).select_from(VoteRow).where(VoteRow.session == digest(session), VoteRow.at > at - FAST)
    with Session(engine) as db:
        if int(db.scalar(own) or 0) + 1 >= STREAK:
            return TOO_FAST
        row = db.get(BattleRow, battle)
        if row is None or int(db.scalar(_same(row, verdict, at)) or 0) + 1 < STREAK:
            return ""
        return SAME_AGAIN


def _same(row: BattleRow, verdict: str, at: datetime) -> Select[int]:
    """How many votes say the same about the same prompt."""
    winner = {"left": row.left, "right": row.right}.get(verdict)
    alike = VoteRow.verdict == verdict
    if winner is not None:
        alike = or_(
            (VoteRow.verdict == "left") & (BattleRow.left == winner),
            (VoteRow.verdict == "right") & (BattleRow.right == winner),
        )
    return (
        select(func.count())
        .select_from(VoteRow)
        .join(BattleRow, BattleRow.id == VoteRow.battle)
        .where(VoteRow.at > at - BURST, BattleRow.prompt == row.prompt, alike)
    )
