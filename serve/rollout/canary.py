"""A revision on trial: a share of the users gets it, and the evidence promotes or withdraws it.

Three sequential tests (understudy.statistics.sequential), which stay valid when they are evaluated after every answer,
compare it with the live revision: does it fail more often, is it slower, do people vote against it?
"""

import hashlib
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from serve.rollout.loaded import Loaded
from understudy.registry.tables import now
from understudy.statistics.sequential import RateIncreaseTest, VoteOutcome, majority

ALPHA = 0.01
"""Probability that a trial which is not worse is withdrawn, for each of the three tests."""

SLOWER = 1.5
"""An answer on trial counts as slower above this multiple of the live revision's last time per token."""

TIMED_TOKENS = 8
"""Answers with fewer tokens do not count for speed."""


class AnswerOutcome(BaseModel):
    """How one answer ended, as evidence about its revision."""

    model_config = ConfigDict(frozen=True)

    failed: bool
    """Whether it broke off or had no text."""
    tokens: int = 0
    seconds: float = 0.0


class TrialDecision(BaseModel):
    """How a trial ends, and why."""

    model_config = ConfigDict(frozen=True)

    promote: bool
    reason: str


class Trial:
    """One revision on trial against the persona's live one."""

    def __init__(self, loaded: Loaded, share: float, *, answers: int) -> None:
        self.loaded, self.share = loaded, share
        self.began = now()
        self.held = False
        """Whether it is promoted only on request, by a caller who has proof that it is better."""
        self._answers = answers
        """Number of answers after which a trial without evidence against it is promoted."""
        self._failures = RateIncreaseTest()
        self._losses = RateIncreaseTest()
        self._slower = {True: 0, False: 0}
        self._live_pace: float | None = None
        self._counted: set[str] = set()

    def takes(self, user: str) -> bool:
        """Whether this user gets the revision on trial; always the same for one user and revision."""
        digest = hashlib.sha256(f"{self.loaded.revision.id}\0{user}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64

    def see(self, loaded: Loaded, outcome: AnswerOutcome) -> TrialDecision | None:
        """Counts an answer of the revision on trial or of the live one; returns as `verdict`."""
        on_trial = loaded is self.loaded
        if on_trial:
            self._failures.see_trial(outcome.failed)
        else:
            self._failures.see_live(outcome.failed)
        if not outcome.failed and outcome.tokens >= TIMED_TOKENS:
            self._see_pace(outcome.seconds / outcome.tokens, on_trial)
        return self.verdict()

    def count(self, ballots: Sequence[VoteOutcome]) -> TrialDecision | None:
        """Counts the votes that are new since the last call; returns as `verdict`."""
        for ballot in ballots:
            if ballot.battle in self._counted:
                continue
            self._counted.add(ballot.battle)
            if self.loaded.revision.id.startswith(ballot.revision):
                self._losses.see_trial(not ballot.won)
            else:
                self._losses.see_live(not ballot.won)
        return self.verdict()

    def verdict(self) -> TrialDecision | None:
        """The decision that ends the trial, or None while there is too little evidence."""
        limit = 1 / ALPHA
        if self._failures.e_value >= limit:
            return TrialDecision(promote=False, reason=f"it fails more often: {_against(self._failures)}")
        if self._losses.e_value >= limit:
            return TrialDecision(promote=False, reason=f"it loses more battles: {_against(self._losses)}")
        slower, not_slower = self._slower[True], self._slower[False]
        if majority(slower, not_slower) >= limit:
            return TrialDecision(promote=False, reason=f"it is slower in {slower} of {slower + not_slower} comparisons")
        failed, answered = self._failures.trial
        if answered >= self._answers and not self.held:
            return TrialDecision(promote=True, reason=f"{answered} answers, {failed} failed: no evidence against it")
        return None

    def figures(self) -> dict[str, object]:
        """The counts so far, for the history and /admin/status."""
        return {
            "share": self.share,
            "failed": _against(self._failures),
            "lost": _against(self._losses),
            "slower": f"{self._slower[True]} of {sum(self._slower.values())} comparisons",
        }

    def _see_pace(self, pace: float, on_trial: bool) -> None:
        if not on_trial:
            self._live_pace = pace
        elif self._live_pace is not None:
            self._slower[pace > SLOWER * self._live_pace] += 1
            self._live_pace = None


def _against(test: RateIncreaseTest) -> str:
    (bad, all_), (usual, of) = test.trial, test.live
    return f"{bad} of {all_} on trial, {usual} of {of} before"
