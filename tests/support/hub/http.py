"""Requests and answers of the small Hub, and the faults that a test orders."""

import json
import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as the routes see it."""

    method: str
    path: str
    """As it came, percent signs and all."""
    query: dict[str, str]
    token: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body or b"{}")
        except ValueError:
            raise HubRefusal(400, "BadRequest", "the body is not JSON") from None


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class HubRefusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault of ours
    """An answer that the Hub's client knows by its X-Error-Code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
        self.answer = Answer(status, json.dumps({"error": message}).encode(), headers)


def told(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose `METHOD /path` matches; None is all of them."""

    matching: re.Pattern[str]
    times: int | None = None
    status: int = 0
    """Answer with this status instead."""
    retry_after: int | None = None
    """Seconds that it says to wait."""
    seconds: float = 0.0
    """Answer so much later."""
    after_bytes: int = -1
    """Close the connection after so many bytes of the body: the request's when it is longer, else the answer's."""

    def hits(self, line: str) -> bool:
        """Whether it strikes this request; counts."""
        if self.times == 0 or not self.matching.search(line):
            return False
        if self.times is not None:
            self.times -= 1
        return True

    @property
    def answer(self) -> Answer:
        """The answer that a `status` stands for."""
        answer = told({"error": "ordered by the test"}, self.status)
        if self.retry_after is not None:
            answer.headers["Retry-After"] = str(self.retry_after)
        return answer
