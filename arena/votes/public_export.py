"""Votes for others: all of them for whoever wants to check the figures, and one voter's own for that voter.

The first is a CSV that `understudy rank` reads; voters are numbers in the order of their first vote, and neither
prompts nor times are in it. The second is JSON lines with everything that is kept about a vote.
"""

import csv
import io
import json
from typing import Any

from sqlalchemy import Engine, exists, func, select
from sqlalchemy.orm import Session

from arena.battles.store import digest
from arena.votes.running_counts import contestants
from arena.votes.votes import counted
from understudy.registry.tables import BattleRow, VoteRow, WithdrawalRow

COLUMNS = ("left", "right", "winner", "left_length", "right_length", "category", "voter", "order")


def votes_csv(engine: Engine) -> str:
    """Every vote that counts, without anything that leads to a person."""
    query = (
        select(
            BattleRow.left,
            BattleRow.left_revision,
            BattleRow.right,
            BattleRow.right_revision,
            VoteRow.verdict,
            func.length(BattleRow.left_text),
            func.length(BattleRow.right_text),
            BattleRow.category,
            VoteRow.session,
        )
        .join(BattleRow, BattleRow.id == VoteRow.battle)
        .where(counted())
        .order_by(VoteRow.at, VoteRow.battle)
    )
    voters: dict[str, int] = {}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    with Session(engine) as db:
        for order, (left, left_revision, right, right_revision, *columns, session) in enumerate(db.execute(query), 1):
            names = contestants(left, left_revision, right, right_revision)
            writer.writerow([*names, *columns, f"v{voters.setdefault(session, len(voters) + 1)}", order])
    return text.getvalue()


def own_votes(engine: Engine, *, session: str) -> str:
    """Everything that is kept about the votes of that voter, one JSON object a line, oldest first."""
    withdrawn = exists().where(WithdrawalRow.battle == VoteRow.battle)
    query = (
        select(VoteRow, BattleRow, withdrawn)
        .join(BattleRow, BattleRow.id == VoteRow.battle)
        .where(VoteRow.session == digest(session))
        .order_by(VoteRow.at, VoteRow.battle)
    )
    with Session(engine) as db:
        rows = [_own(vote, battle, gone) for vote, battle, gone in db.execute(query)]
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _own(vote: VoteRow, battle: BattleRow, withdrawn: bool) -> dict[str, Any]:
    sides = {
        side: {"contestant": name, "revision": revision, "answer": answer}
        for side, name, revision, answer in (
            ("left", battle.left, battle.left_revision, battle.left_text),
            ("right", battle.right, battle.right_revision, battle.right_text),
        )
    }
    return {
        "battle": battle.id,
        "at": vote.at.isoformat(),
        "prompt": battle.prompt,
        **sides,
        "verdict": vote.verdict,
        "reasons": vote.reasons,
        "suspect": vote.suspect,
        "withdrawn": withdrawn,
    }
