"""HTTP client of the gateway: readiness, the list of personas, streamed answers, and events.

The gateway may be starting, asleep (an Inference Endpoint scaled to zero answers 503 and wakes up), behind a proxy that
answers 502 or 504, or gone. A question whose answer has not begun is asked again a few times.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import httpx

from space.backends.errors import (
    GatewayAwayError,
    ModelServerError,
    Readiness,
    readiness_of,
    refusal,
    unreachable,
)
from space.backends.listing import Contestant, Listing, read_listing
from space.backends.protocol import AnswerChunk, GatewayEvent, Messages, Question
from space.i18n import notice

TIMEOUT = httpx.Timeout(60, connect=5, pool=30)
"""Seconds. An answer may take long as a whole, but never this long between two pieces."""
QUICK = httpx.Timeout(5)
EVENTS = httpx.Timeout(45, connect=5)
"""Seconds: the gateway sends a sign of life every 15."""
PAUSES = (1.0, 2.0, 4.0)
"""Seconds between the tries of one question while the gateway is away."""
LONGEST_PAUSE = 10.0
"""Upper bound in seconds of a Retry-After that is waited for before the next try."""
SCALE_UP = {"X-Scale-Up-Timeout": "30"}
"""Seconds for which an Inference Endpoint that is waking up holds a question instead of refusing it."""


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
        """Asks `GET /ready`, which wakes a gateway that sleeps. Never raises."""
        try:
            response = await self._http.get("/ready", timeout=QUICK)
        except httpx.HTTPError as error:
            return Readiness(status="down", detail=unreachable(error))
        return readiness_of(response)

    async def contestants(self) -> tuple[Contestant, ...]:
        """The base and every live persona. Raises ModelServerError as `listing`."""
        return (await self.listing()).contestants

    async def listing(self) -> Listing:
        """Lists the base, the live personas, and the personas that are not live yet.

        Raises:
            ModelServerError: the gateway cannot be reached, or its answer is no list of models.
        """
        try:
            response = await self._http.get("/v1/models", timeout=QUICK)
            await _refuse_errors(response)
            return read_listing(response.json())
        except httpx.HTTPError as error:
            raise ModelServerError(notice("error_unreachable")) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ModelServerError(notice("error_bad_list")) from error

    async def stream(
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

        `user` is a pseudonym that keeps a person with one revision while another is on trial. While the gateway is
        away, the question is asked again after each pause, and chunks with `waiting` say so.

        Raises:
            ModelServerError: the request is refused, or the answer is cut off.
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
                async with aclosing(self._try(body)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except GatewayAwayError as error:
                if pause is None:
                    raise
                wait = min(max(pause, error.retry_after), LONGEST_PAUSE)
                yield AnswerChunk(waiting=notice("chat_retrying", reason=error.notice, seconds=f"{wait:.0f}"))
                await asyncio.sleep(wait)

    def battle(
        self,
        questions: Sequence[Question],
        *,
        temperature: float,
        max_tokens: int,
        seed: int | None = None,
        user: str = "",
    ) -> list[AsyncGenerator[AnswerChunk]]:
        """Streams the answers of one battle, asked at once; vLLM's batches do the rest."""
        sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "user": user}
        return [self.stream(one.contestant, one.messages, **sampling) for one in questions]

    async def _try(self, body: dict[str, Any]) -> AsyncGenerator[AnswerChunk]:
        """Asks once.

        Raises:
            GatewayAwayError: no answer has begun, so the question may be asked again.
            ModelServerError: everything else that ends the answer early.
        """
        answered = False
        try:
            async with self._http.stream("POST", "/v1/chat/completions", json=body, headers=SCALE_UP) as response:
                await _refuse_errors(response)
                answered = True
                yield AnswerChunk(revision=_revision(response.headers.get("x-understudy-revision")))
                async for chunk in _chunks(response):
                    yield chunk
        except httpx.ConnectTimeout as error:
            raise GatewayAwayError(notice("error_unreachable")) from error
        except httpx.TimeoutException as error:
            raise ModelServerError(notice("error_timeout")) from error
        except httpx.HTTPError as error:
            raise (ModelServerError if answered else GatewayAwayError)(notice("error_unreachable")) from error

    async def events(self, last: str = "") -> AsyncGenerator[GatewayEvent]:
        """Streams the gateway's events as they happen; with `last`, an event's id, those since then come first.

        Raises:
            ModelServerError: there is no such stream, or it has broken off.
        """
        headers = {"last-event-id": last} if last else {}
        try:
            async with self._http.stream("GET", "/events", headers=headers, timeout=EVENTS) as response:
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
            raise ModelServerError(notice("error_unreachable")) from error
        raise ModelServerError(notice("error_events_ended"))

    async def close(self) -> None:
        await self._http.aclose()


async def _chunks(response: httpx.Response) -> AsyncIterator[AnswerChunk]:
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
            raise ModelServerError(notice("error_bad_answer")) from error
        if "error" in chunk:
            raise refusal(chunk, 500)
        choices = chunk.get("choices") or [{}]
        text = (choices[0].get("delta") or {}).get("content") or ""
        if text:
            yield AnswerChunk(text=text, revision=_revision(chunk.get("system_fingerprint")))
    raise ModelServerError(notice("error_cut_off"))


async def _refuse_errors(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        body = json.loads(await response.aread())
    except ValueError:
        body = {}
    raise refusal(body, response.status_code, response.headers.get("retry-after"))


def _revision(value: str | None) -> str:
    return "" if value in (None, "base") else str(value)[:12]
