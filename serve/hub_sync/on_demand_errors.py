"""What is known about Hub ids that were asked for, for a while and within bounds; and the refusals."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from serve.http.request import RefusedError
from understudy.registry.hub import Wanted

REMEMBERED = 1000
"""Names and refusals that are remembered."""

SOON = 5.0
"""Seconds after which a client may ask again, unless something else is known."""


@dataclass(frozen=True)
class Answer:
    """What is known about a name or a commit, until when."""

    until: float
    wanted: Wanted | None = None
    refusal: RefusedError | None = None


class Memory(OrderedDict[str, Answer]):
    """Answers by name; the oldest is forgotten when there are too many."""

    def keep(self, name: str, answer: Answer) -> None:
        self[name] = answer
        self.move_to_end(name)
        while len(self) > REMEMBERED:
            self.popitem(last=False)

    def fresh(self, name: str) -> Answer | None:
        """What is known and still holds."""
        answer = self.get(name)
        return answer if answer and answer.until > time.monotonic() else None


def later(message: str, seconds: float = SOON, code: str = "model_not_ready") -> RefusedError:
    """503: come again in so many seconds."""
    wait = max(1, int(seconds))
    return RefusedError(503, message, reason="hub", param="model", code=code, retry_after=wait)


def refused(message: str, reasons: list[str]) -> RefusedError:
    """422: it does not pass, and these are the reasons."""
    return RefusedError(422, message, reason="hub", param="model", code="model_refused", reasons=reasons)
