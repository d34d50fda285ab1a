"""Personas that are not live yet: which are being trained or checked, how far, and which were refused.

The process that trains one reports it with `PUT /admin/learning/{persona}`; `GET /v1/models` lists them beside the
models.
"""

from collections.abc import Container
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST = 64
"""Personas that are remembered; beyond that the one with the oldest report is forgotten."""


class LearningStatus(BaseModel):
    """The progress of one persona: the body of `PUT /admin/learning/{persona}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: str = Field(min_length=1, max_length=100)
    """What people see."""
    state: Literal["learning", "publishing", "refused"]
    percent: int = Field(default=0, ge=0, le=100)
    """How much of the training is done."""
    reason: str = Field(default="", max_length=500)
    """Why it was refused, for people."""

    @property
    def text(self) -> str:
        """The progress in one sentence."""
        if self.state == "refused":
            return f"{self.title} was refused: {self.reason}"
        doing = f"learning, {self.percent} %" if self.state == "learning" else "being checked before it goes live"
        return f"{self.title} is {doing}"


class LearningRegistry:
    """The last report of each persona, in memory. To be used on the event loop's thread."""

    def __init__(self) -> None:
        self._learners: dict[str, LearningStatus] = {}

    def put(self, persona: str, learner: LearningStatus) -> bool:
        """Stores the progress of `persona`; returns whether that changed."""
        changed = self._learners.pop(persona, None) != learner
        self._learners[persona] = learner
        while len(self._learners) > MOST:
            del self._learners[next(iter(self._learners))]
        return changed

    def listed(self, live: Container[str]) -> list[dict[str, Any]]:
        """Lists the personas that are not live, by name, and forgets those that are."""
        self._learners = {name: learner for name, learner in self._learners.items() if name not in live}
        return [{"persona": name, **learner.model_dump()} for name, learner in sorted(self._learners.items())]
