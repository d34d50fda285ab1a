"""Personas that are not live yet: who is being trained or checked, how far that is, and who was refused.

Whoever trains them says so with `PUT /admin/learning/{persona}`; `GET /v1/models` lists them beside the models.
"""

from collections.abc import Container
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST = 64
"""Personas that are remembered; beyond that the one that was heard of longest ago is forgotten."""


class LearningStatus(BaseModel):
    """How one persona gets on: the body of `PUT /admin/learning/{persona}`."""

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
        """The same in a sentence."""
        if self.state == "refused":
            return f"{self.title} was refused: {self.reason}"
        doing = f"learning, {self.percent} %" if self.state == "learning" else "being checked before it goes live"
        return f"{self.title} is {doing}"


class LearningRegistry:
    """What is known of each of them, in memory. To be used on the event loop's thread."""

    def __init__(self) -> None:
        self._learners: dict[str, LearningStatus] = {}

    def put(self, persona: str, learner: LearningStatus) -> bool:
        """Notes how `persona` gets on; returns whether that is news."""
        news = self._learners.pop(persona, None) != learner
        self._learners[persona] = learner
        while len(self._learners) > MOST:
            del self._learners[next(iter(self._learners))]
        return news

    def listed(self, live: Container[str]) -> list[dict[str, Any]]:
        """Everybody who is not live, by name; those who are have arrived and are forgotten."""
        self._learners = {name: learner for name, learner in self._learners.items() if name not in live}
        return [{"persona": name, **learner.model_dump()} for name, learner in sorted(self._learners.items())]
