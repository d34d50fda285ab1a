"""Recognises votes that no person casts: too fast, or one verdict on one prompt from everywhere at once.

Such a vote is stored with its reason in `suspect`, its voter is not told, and no statistic counts it. The limits are
those of machines, not of eager people: reading two answers takes longer than they allow.
"""

from datetime import datetime, timedelta

from sqlalchemy import Engine, Select, func, select
from sqlalchemy.orm import Session

from arena.battles.store import digest
from understudy.registry.tables import BattleRow, VoteRow, now

STREAK = 5
"""Votes, with the new one, that make a pattern."""
FAST = timedelta(seconds=10)
"""A voter who casts `STREAK` votes in that time has read nothing."""
BURST = timedelta(seconds=5)
"""`STREAK` votes for the same contestant on the same prompt in that time, whoever cast them, are one machine's."""

TOO_FAST = "faster than anybody reads"
SAME_AGAIN = "same verdict on the same prompt, at machine speed"


def suspicion(engine: Engine, battle: str, verdict: str, *, session: str, at: datetime | None = None) -> str:
    """Why the vote that is about to be cast should not count; "" when it should."""
    at = at or now()
    own = select(func.count()).select_from(VoteRow).where(VoteRow.session == digest(session), VoteRow.at > at - FAST)
    with Session(engine) as db:
        if int(db.scalar(own) or 0) + 1 >= STREAK:
            return TOO_FAST
        row = db.get(BattleRow, battle)
        if row is None:
            return ""
        preference = _preference(verdict, row.left, row.right)
        recent = db.execute(_recent(row.prompt, at)).tuples()
        return SAME_AGAIN if sum(_preference(*vote) == preference for vote in recent) + 1 >= STREAK else ""


def _preference(verdict: str, left: str, right: str) -> str:
    """The preferred contestant; for a tie or both bad, the verdict."""
    return {"left": left, "right": right}.get(verdict, verdict)


def _recent(prompt: str, at: datetime) -> Select[str, str, str]:
    """Verdict, left and right of the last votes on that prompt.

    The query has no condition on names: the database would use the index of names and walk through it for every vote.
    """
    return (
        select(VoteRow.verdict, BattleRow.left, BattleRow.right)
        .join(BattleRow, BattleRow.id == VoteRow.battle)
        .where(VoteRow.at > at - BURST, BattleRow.prompt == prompt)
    )
