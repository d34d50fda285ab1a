"""Downloads of votes: all of them, to check the figures, and one voter's own.

The first is a CSV that `understudy rank` reads; voters are numbers in the order of their first vote, and neither
prompts nor times are in it. The second is JSON lines with everything that is kept about a vote.
"""

import csv
import io
import json
from typing import Any

from sqlalchemy import Engine

from arena.battles.store import digest
from arena.votes.votes import COUNTS, Vote, select_votes
from understudy.registry.tables import VoteRow

COLUMNS = ("left", "right", "winner", "left_length", "right_length", "category", "voter", "order")


def votes_csv(engine: Engine) -> str:
    """Every vote that counts, without anything that leads to a person."""
    voters: dict[str, str] = {}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for order, vote in enumerate(select_votes(engine, COUNTS), 1):
        voter = voters.setdefault(vote.voter, f"v{len(voters) + 1}")
        writer.writerow([*vote.contestants, vote.verdict, *vote.lengths, vote.category, voter, order])
    return text.getvalue()


def own_votes(engine: Engine, *, session: str) -> str:
    """Everything that is kept about the votes of that voter, one JSON object a line, oldest first."""
    rows = [_own(vote) for vote in select_votes(engine, VoteRow.session == digest(session))]
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _own(vote: Vote) -> dict[str, Any]:
    sides = {
        side: {"contestant": answer.contestant, "revision": answer.revision, "answer": answer.text}
        for side, answer in (("left", vote.answer("left")), ("right", vote.answer("right")))
    }
    return {
        "battle": vote.battle,
        "at": vote.at.isoformat(),
        "prompt": vote.prompt,
        **sides,
        "verdict": vote.verdict,
        "reasons": vote.reasons,
        "suspect": vote.suspect,
        "withdrawn": vote.withdrawn,
    }
