"""What is known about Hub ids that were asked for, for a while and within bounds; and the refusals."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from serve.http.request import HttpRefusalError
from understudy.registry.hub import ResolvedRevision

REMEMBERED = 1000
"""Names and refusals that are remembered."""

SOON = 5.0
"""Seconds after which a client may ask again, unless something else is known."""


@dataclass(frozen=True)
class CachedLookup:
    """What is known about a name or a commit, until when."""

    until: float
    wanted: ResolvedRevision | None = None
    refusal: HttpRefusalError | None = None


class LookupCache(OrderedDict[str, CachedLookup]):
    """Answers by name; the oldest is forgotten when there are too many."""

    def keep(self, name: str, answer: CachedLookup) -> None:
        self[name] = answer
        self.move_to_end(name)
        while len(self) > REMEMBERED:
            self.popitem(last=False)

    def fresh(self, name: str) -> CachedLookup | None:
        """What is known and still holds."""
        answer = self.get(name)
        return answer if answer and answer.until > time.monotonic() else None


def later(message: str, seconds: float = SOON, code: str = "model_not_ready") -> HttpRefusalError:
    """503: come again in so many seconds."""
    wait = max(1, int(seconds))
    return HttpRefusalError(503, message, reason="hub", param="model", code=code, retry_after=wait)


def refused(message: str, reasons: list[str]) -> HttpRefusalError:
    """422: it does not pass, and these are the reasons."""
    return HttpRefusalError(422, message, reason="hub", param="model", code="model_refused", reasons=reasons)
