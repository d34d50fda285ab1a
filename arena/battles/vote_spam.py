"""Votes that no person casts: too fast, or one verdict on one prompt from everywhere at once.

Such a vote is kept with its reason in `suspect`, its voter is told nothing, and no statistic counts it. The limits are
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
        if row is None:
            return ""
        said = _said(verdict, row.left, row.right)
        recent = db.execute(_recent(row.prompt, at)).tuples()
        return SAME_AGAIN if sum(_said(*vote) == said for vote in recent) + 1 >= STREAK else ""


def _said(verdict: str, left: str, right: str) -> str:
    """Who was preferred, or the verdict where nobody was."""
    return {"left": left, "right": right}.get(verdict, verdict)


def _recent(prompt: str, at: datetime) -> Select[str, str, str]:
    """Verdict, left and right of the last votes on that prompt. What they say is not asked here: an index of names
    would be taken for it, and walked through for every vote."""
    return (
        select(VoteRow.verdict, BattleRow.left, BattleRow.right)
        .join(BattleRow, BattleRow.id == VoteRow.battle)
        .where(VoteRow.at > at - BURST, BattleRow.prompt == prompt)
    )
