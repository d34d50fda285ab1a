"""Whether a new revision should take the place of the old one: a rule that stays honest while one watches.

People's decisive votes between the two are tested after every vote with the e-value of
`understudy.statistics.sequential.majority`.
If voters are indifferent, or prefer the old one, the new one is ever promoted with probability at most `alpha`,
whenever one looks and whenever one stops. That holds for votes that do not depend on each other beyond the taste of
the crowd; one voter's many votes count as many, so limits per voter belong before it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from understudy.errors import MeasurementError
from understudy.statistics.confidence_sequences import WinRate, win_rate
from understudy.statistics.sequential import majority

Verdict = Literal["promote", "keep going", "give up"]


class PromotionRule(BaseModel):
    """When there is enough evidence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Greatest probability of promoting a revision that voters do not prefer."""
    alpha_worse: float = Field(default=0.05, gt=0, lt=1)
    """Greatest probability of giving up, as worse, a revision that is not worse."""
    most_votes: int = Field(default=1000, gt=0)
    """Decisive votes after which no difference that matters is expected any more."""


DEFAULT = PromotionRule()


class Decision(BaseModel):
    """What the votes so far say, and how strongly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict
    reason: str
    win_rate: WinRate
    """Of the new revision against the old one, with its confidence sequence."""
    e_better: float
    """Evidence against "voters do not prefer the new one"; 1/alpha is enough."""
    e_worse: float
    """Evidence against "voters do not prefer the old one"."""


def decide(wins: int, losses: int, rule: PromotionRule = DEFAULT) -> Decision:
    """The decision from the new revision's decisive votes against the old one; ties and "both bad" decide nothing.

    Ask after every vote, and act on the first verdict that is not "keep going".

    Raises:
        MeasurementError: a count is negative.
    """
    if wins < 0 or losses < 0:
        raise MeasurementError(f"{wins} wins and {losses} losses: counts start at 0")
    better, worse = majority(wins, losses), majority(losses, wins)
    votes = f"{wins} of {wins + losses} decisive votes for the new revision"
    verdict: Verdict = "keep going"
    if better >= 1 / rule.alpha:
        verdict, reason = "promote", f"voters prefer it: {votes} (evidence {better:.3g}, enough is {1 / rule.alpha:g})"
    elif worse >= 1 / rule.alpha_worse:
        verdict, reason = "give up", f"voters prefer the old one: {votes}"
    elif wins + losses >= rule.most_votes:
        verdict, reason = "give up", f"no preference to speak of: {votes}"
    else:
        reason = f"not decided yet: {votes} (evidence {better:.3g}, enough is {1 / rule.alpha:g})"
    rate = win_rate(wins, losses, confidence=1 - rule.alpha)
    return Decision(verdict=verdict, reason=reason, win_rate=rate, e_better=better, e_worse=worse)
