"""Running evidence on a revision on trial: all votes that tell it apart from the live revision.

Two kinds of battles do. In one the two meet each other (`arena.ranking.promotion_rule`). In the other each meets
somebody else, most often the base, and the question is whether the one on trial wins more often (`RateIncreaseTest`).
Both give e-values, whatever one bet while the other ran, and the mean of two e-values is one, too (Vovk and Wang,
"E-values: calibration, combination and applications", arXiv:1912.06116, section 4): it passes 1/alpha with probability
at most alpha while the revision on trial is no better, at whatever moment one looks.
"""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from arena.ranking.promotion_rule import Decision, PromotionRule, decide
from arena.votes.votes import Vote, VotedAnswer
from understudy.statistics.sequential import RateIncreaseTest


class TrialEvidence(BaseModel):
    """What the votes since the start of a trial say."""

    model_config = ConfigDict(frozen=True)

    direct: Decision
    """On battles of the two against each other."""
    trial: tuple[int, int]
    """Wins and decisive votes of the one on trial against others."""
    live: tuple[int, int]
    """The same of the live one."""
    better: float
    """Evidence against "it is no better"."""
    worse: float
    """Evidence against "it is no worse"."""

    def __str__(self) -> str:
        rate = self.direct.win_rate
        others = f"; against others {self.trial[0]} of {self.trial[1]}, the live one {self.live[0]} of {self.live[1]}"
        return (
            f"{rate.wins} wins, {rate.losses} losses against the live revision{others if self.trial[1] else ''}; "
            f"evidence {self.better:.3g} for, {self.worse:.3g} against"
        )


def trial_evidence(
    votes: Sequence[Vote], candidate: str, live: str, since: datetime, *, alpha: float = 0.05
) -> TrialEvidence:
    """The evidence from votes cast since that moment, oldest first; `candidate` and `live` are revisions.

    Votes on replays are left out: several votes on the same answers are not independent.
    """
    wins = losses = 0
    wins_more, loses_more = RateIncreaseTest(), RateIncreaseTest()
    for vote in votes:
        if vote.at < since or vote.replay or vote.verdict not in ("left", "right"):
            continue
        won, lost = ("left", "right") if vote.verdict == "left" else ("right", "left")
        names = _which(vote.answer(won), candidate, live), _which(vote.answer(lost), candidate, live)
        if names == ("candidate", "live"):
            wins += 1
        elif names == ("live", "candidate"):
            losses += 1
        elif "candidate" in names:
            wins_more.see_trial(names[0] == "candidate")
            loses_more.see_trial(names[1] == "candidate")
        elif "live" in names:
            wins_more.see_live(names[0] == "live")
            loses_more.see_live(names[1] == "live")
    direct = decide(wins, losses, PromotionRule(alpha=alpha, alpha_worse=alpha))
    return TrialEvidence(
        direct=direct,
        trial=wins_more.trial,
        live=wins_more.live,
        better=(direct.e_better + wins_more.e_value) / 2,
        worse=(direct.e_worse + loses_more.e_value) / 2,
    )


def _which(answer: VotedAnswer, candidate: str, live: str) -> str:
    revision = answer.revision or ""
    if revision and candidate.startswith(revision):
        return "candidate"
    return "live" if revision and live.startswith(revision) else "other"
