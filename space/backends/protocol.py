"""What the page asks of whatever answers: who there is, an answer that streams, and answers given together.

`space.backends.gateway` asks a gateway over HTTP; `space.backends.zerogpu` holds base and adapters in the Space itself.
"""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from space.backends.errors import Readiness
from space.backends.listing import Listing
from space.i18n import NO_NOTICE, Notice

Messages = list[dict[str, str]]


class AnswerChunk(BaseModel):
    """A piece of an answer: more text, the revision that answers (empty for the base), or what is waited for."""

    model_config = ConfigDict(frozen=True)

    text: str = ""
    revision: str = ""
    waiting: Notice = NO_NOTICE
    """Why the question has not been answered yet and when it is asked again."""


class GatewayEvent(BaseModel):
    """One event of the backend, or (without a kind) the sign that its stream is open."""

    model_config = ConfigDict(frozen=True)

    id: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Question:
    """A conversation whose last message `contestant` is to answer."""

    contestant: str
    messages: Messages


class Backend(Protocol):
    """What answers the page's questions. One for the whole app; it belongs to the event loop that first uses it."""

    async def readiness(self) -> Readiness:
        """Whether questions can be answered now, and if not, why. Never raises."""
        ...

    async def listing(self) -> Listing:
        """The base, the live personas, and the personas that are not live yet. Raises ModelServerError."""
        ...

    def stream(
        self,
        contestant: str,
        messages: Messages,
        *,
        temperature: float,
        max_tokens: int,
        seed: int | None = None,
        user: str = "",
    ) -> AsyncGenerator[AnswerChunk]:
        """Streams the answer; closing the iterator withdraws the request.

        `user` is a pseudonym that keeps a person with one revision while another is on trial.

        Raises, while it streams:
            ModelServerError: the request is refused, or the answer is cut off.
        """
        ...

    def battle(
        self,
        questions: Sequence[Question],
        *,
        temperature: float,
        max_tokens: int,
        seed: int | None = None,
        user: str = "",
    ) -> list[AsyncGenerator[AnswerChunk]]:
        """Streams the answers to the questions of one battle, each as `stream` does, sampled alike."""
        ...

    def events(self, last: str = "") -> AsyncGenerator[GatewayEvent]:
        """Streams what happens, such as a new revision; with `last`, an event's id, those since then come first.

        Raises, while it streams:
            ModelServerError: there is no such stream, or it has broken off.
        """
        ...


def pseudonym(session: str) -> str:
    """The name of a visitor for the backend: the same for one browser session, and it leads to nobody."""
    return hashlib.sha256(f"understudy\0{session}".encode()).hexdigest()[:32] if session else ""
