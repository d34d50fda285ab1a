"""The gateway over HTTP: is it ready, whom can we talk to, and the answer as it is being written.

It may be away: starting, asleep (an Inference Endpoint scaled to zero answers 503 and wakes up), behind a proxy that
answers 502 or 504, or not there at all. A question that was not begun to be answered is asked again a few times.
"""

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from space.backends.listing import Contestant, Listing, read_listing
from understudy.errors import GatewayError

TIMEOUT = httpx.Timeout(60, connect=5, pool=30)
"""Seconds. An answer may take long as a whole, but never this long between two pieces."""
QUICK = httpx.Timeout(5)
NEWS = httpx.Timeout(45, connect=5)
"""Seconds: the gateway's news have a sign of life every 15."""
UNREACHABLE = "The model server cannot be reached right now."
WAKING = "The model is waking up."
PAUSES = (1.0, 2.0, 4.0)
"""Seconds between the tries of one question while nobody is there to answer it."""
LONGEST_PAUSE = 10.0
"""Most seconds of a Retry-After that are waited for before the next try."""
SCALE_UP = {"X-Scale-Up-Timeout": "30"}
"""Seconds for which an Inference Endpoint that is waking up holds a question instead of refusing it."""
ASLEEP = (502, 503, 504)
"""What proxies answer while the server behind them is not up."""


class Readiness(BaseModel):
    """Whether the gateway answers, and if not, why, in words for people."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ready", "starting", "waking", "down"]
    """starting: the gateway says so; waking: a proxy answers for a server that is not up yet."""
    detail: str = ""


class AnswerChunk(BaseModel):
    """What arrived: more text, or only news of the revision that answers (empty for the base)."""

    model_config = ConfigDict(frozen=True)

    text: str = ""
    revision: str = ""
    news: str = ""
    """For people: what is being waited for before the question is asked again."""


class GatewayEvent(BaseModel):
    """One piece of the gateway's news: something happened, or (without a kind) its stream is open."""

    model_config = ConfigDict(frozen=True)

    id: str = ""
    kind: str = ""


class GatewayAwayError(GatewayError):
    """Nobody is there to answer: nothing has been said yet, so the same question may be asked again."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class GatewayClient:
    """One client for the whole app; it belongs to the event loop that first uses it.

    `pauses` are the seconds between the tries of one question; their number bounds the tries.
    """

    def __init__(self, url: str, api_key: str = "", *, pauses: tuple[float, ...] = PAUSES) -> None:
        self._pauses = pauses
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=32)
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT, limits=limits, trust_env=False)

    async def readiness(self) -> Readiness:
        """What `GET /ready` says, or what became of the question. Asking wakes what sleeps. Never raises."""
        try:
            response = await self._http.get("/ready", timeout=QUICK)
        except httpx.HTTPError as error:
            return Readiness(status="down", detail=_absence(error))
        status = response.status_code
        if response.is_success:
            return Readiness(status="ready")
        try:
            return Readiness.model_validate(response.json())
        except (ValueError, ValidationError):
            if status == 503:
                return Readiness(status="waking", detail="It sleeps while nobody asks, and has been called.")
            if status in ASLEEP:
                return Readiness(status="waking", detail=f"Its proxy answers, the model behind it not yet ({status}).")
            return Readiness(status="down", detail=f"The model server answered {status} when asked.")

    async def contestants(self) -> tuple[Contestant, ...]:
        """The base and every live persona. Raises GatewayError as `listing`."""
        return (await self.listing()).contestants

    async def listing(self) -> Listing:
        """Who can be talked to, and who is not live yet.

        Raises:
            GatewayError: the gateway cannot be reached or answers something else than a list of models.
        """
        try:
            response = await self._http.get("/v1/models", timeout=QUICK)
            await _refuse_errors(response)
            return read_listing(response.json())
        except httpx.HTTPError as error:
            raise GatewayError(UNREACHABLE) from error
        except (ValueError, KeyError, TypeError) as error:
            raise GatewayError("The model server sent a list of personas that makes no sense.") from error

    async def stream(
        self,
        contestant: str,
        messages: list[dict[str, str]],
        *,
        temperature: float,
        max_tokens: int,
        seed: int | None = None,
        user: str = "",
    ) -> AsyncGenerator[AnswerChunk]:
        """The answer, piece by piece; the request is withdrawn when the iterator is closed.

        `user` is a pseudonym that keeps a person with one revision while another is on trial. While nobody is there
        to answer, the question is asked again after each pause, and pieces of news say so.

        Raises:
            GatewayError: the request is refused, or the answer is cut off; the message is fit for people.
        """
        body: dict[str, Any] = {
            "model": contestant,
            "messages": messages,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "stream": True,
        }
        if seed is not None:
            body["seed"] = seed
        if user:
            body["user"] = user
        for pause in (*self._pauses, None):
            try:
                async with aclosing(self._try(body)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except GatewayAwayError as error:
                if pause is None:
                    raise
                wait = min(max(pause, error.retry_after), LONGEST_PAUSE)
                yield AnswerChunk(news=f"{error} Trying again in {wait:.0f} s…")
                await asyncio.sleep(wait)

    async def _try(self, body: dict[str, Any]) -> AsyncGenerator[AnswerChunk]:
        """Asks once. Raises AwayError when nobody was there, and GatewayError for every other end before the end."""
        answered = False
        try:
            async with self._http.stream("POST", "/v1/chat/completions", json=body, headers=SCALE_UP) as response:
                await _refuse_errors(response)
                answered = True
                yield AnswerChunk(revision=_revision(response.headers.get("x-understudy-revision")))
                async for piece in _pieces(response):
                    yield piece
        except httpx.ConnectTimeout as error:
            raise GatewayAwayError(UNREACHABLE) from error
        except httpx.TimeoutException as error:
            raise GatewayError("The model server took too long to answer.") from error
        except httpx.HTTPError as error:
            raise (GatewayError if answered else GatewayAwayError)(UNREACHABLE) from error

    async def news(self, last: str = "") -> AsyncGenerator[GatewayEvent]:
        """What happens at the gateway, as it happens; with `last`, what happened since that one too.

        Raises:
            GatewayError: there is no such stream, or it has broken off.
        """
        headers = {"last-event-id": last} if last else {}
        try:
            async with self._http.stream("GET", "/events", headers=headers, timeout=NEWS) as response:
                await _refuse_errors(response)
                yield GatewayEvent()
                fields: dict[str, str] = {}
                async for line in response.aiter_lines():
                    name, _, value = line.partition(":")
                    if name:
                        fields[name] = value.strip()
                    elif not line and "data" in fields:
                        yield GatewayEvent(id=fields.get("id", ""), kind=fields.get("event") or "message")
                    if not line:
                        fields = {}
        except httpx.HTTPError as error:
            raise GatewayError(UNREACHABLE) from error
        raise GatewayError("The news of the model server ended.")

    async def close(self) -> None:
        await self._http.aclose()


def pseudonym(session: str) -> str:
    """What the gateway is told about who asks: the same for one browser session, and of no use to anybody else."""
    return hashlib.sha256(f"understudy\0{session}".encode()).hexdigest()[:32] if session else ""


async def _pieces(response: httpx.Response) -> AsyncIterator[AnswerChunk]:
    """Reads server-sent events to `[DONE]`; an answer without it was cut off."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            chunk = json.loads(data)
        except ValueError as error:
            raise GatewayError("The model server sent an answer that makes no sense.") from error
        if "error" in chunk:
            raise GatewayError(_message(chunk, 500))
        choices = chunk.get("choices") or [{}]
        text = (choices[0].get("delta") or {}).get("content") or ""
        if text:
            yield AnswerChunk(text=text, revision=_revision(chunk.get("system_fingerprint")))
    raise GatewayError("The answer was cut off before its end.")


async def _refuse_errors(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        body = json.loads(await response.aread())
    except ValueError:
        body = {}
    if response.status_code in ASLEEP:
        raise GatewayAwayError(_message(body, response.status_code), _seconds(response.headers.get("retry-after")))
    raise GatewayError(_message(body, response.status_code))


def _seconds(retry_after: str | None) -> float:
    """Seconds of a Retry-After; a date in it, or nonsense, counts as none."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0


def _absence(error: httpx.HTTPError) -> str:
    """Why nobody answered, in words for people; addresses stay out of it."""
    if isinstance(error, httpx.TimeoutException):
        return "It does not answer in time."
    causes: list[BaseException] = [error]
    while following := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(following)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "Its address is not known (no DNS entry)."
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "It refuses connections: nothing runs there now."
    return UNREACHABLE


def _message(body: dict[str, Any], status: int) -> str:
    """A sentence for people from an OpenAI-shaped error."""
    error = body.get("error")
    said = str(error.get("message", "")) if isinstance(error, dict) else ""
    if "context length" in said or "max_model_len" in said or "maximum model length" in said:
        return "This is longer than the model can read. Clear the conversation, or write less."
    if status in (401, 403):
        return "The model server wants a key that this app does not have (UNDERSTUDY_API_KEY)."
    if status == 429:
        return "The model server is busy. Wait a moment and try again."
    if status == 503:
        return said or WAKING
    if status in ASLEEP:
        return f"{WAKING} (Its proxy answered {status}.)"
    return said or f"The model server refused the request ({status})."


def _revision(value: str | None) -> str:
    return "" if value in (None, "base") else str(value)[:12]
