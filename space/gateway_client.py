"""The gateway over HTTP: is it ready, whom can we talk to, and the answer as it is being written."""

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from understudy.errors import GatewayError
from understudy.recipes import Sampling

TIMEOUT = httpx.Timeout(60, connect=5, pool=30)
"""Seconds. An answer may take long as a whole, but never this long between two pieces."""
QUICK = httpx.Timeout(5)
UNREACHABLE = "The model server cannot be reached right now."


class Readiness(BaseModel):
    """Whether the gateway answers, and if not, why, in words for people."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ready", "starting", "down"]
    detail: str = ""


class Contestant(BaseModel):
    """Someone to talk to: the base or a persona, as `GET /v1/models` describes it."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Literal["base", "persona"]
    title: str
    voice: str = ""
    prompts: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    revision: str = ""
    """12 characters; empty for the base."""


class Piece(BaseModel):
    """What arrived: more text, or only news of the revision that answers (empty for the base)."""

    model_config = ConfigDict(frozen=True)

    text: str = ""
    revision: str = ""


class GatewayClient:
    """One client for the whole app; it belongs to the event loop that first uses it."""

    def __init__(self, url: str, api_key: str = "") -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=32)
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT, limits=limits, trust_env=False)

    async def readiness(self) -> Readiness:
        """What `GET /ready` says; a gateway that does not answer is down. Never raises."""
        try:
            response = await self._http.get("/ready", timeout=QUICK)
        except httpx.HTTPError:
            return Readiness(status="down", detail=UNREACHABLE)
        if response.is_success:
            return Readiness(status="ready")
        try:
            return Readiness.model_validate(response.json())
        except (ValueError, ValidationError):
            return Readiness(status="down", detail=f"The model server answered {response.status_code} when asked.")

    async def contestants(self) -> tuple[Contestant, ...]:
        """The base and every live persona.

        Raises:
            GatewayError: the gateway cannot be reached or answers something else than a list of models.
        """
        try:
            response = await self._http.get("/v1/models", timeout=QUICK)
            await _refuse_errors(response)
            return tuple(_contestant(item) for item in response.json()["data"])
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
    ) -> AsyncGenerator[Piece]:
        """The answer, piece by piece; the request is withdrawn when the iterator is closed.

        `user` is a pseudonym that keeps a person with one revision while another is on trial.

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
        try:
            async with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
                await _refuse_errors(response)
                yield Piece(revision=_revision(response.headers.get("x-understudy-revision")))
                async for piece in _pieces(response):
                    yield piece
        except httpx.TimeoutException as error:
            raise GatewayError("The model server took too long to answer.") from error
        except httpx.HTTPError as error:
            raise GatewayError(UNREACHABLE) from error

    async def close(self) -> None:
        await self._http.aclose()


def pseudonym(session: str) -> str:
    """What the gateway is told about who asks: the same for one browser session, and of no use to anybody else."""
    return hashlib.sha256(f"understudy\0{session}".encode()).hexdigest()[:32] if session else ""


async def _pieces(response: httpx.Response) -> AsyncIterator[Piece]:
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
            yield Piece(text=text, revision=_revision(chunk.get("system_fingerprint")))
    raise GatewayError("The answer was cut off before its end.")


async def _refuse_errors(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        body = json.loads(await response.aread())
    except ValueError:
        body = {}
    raise GatewayError(_message(body, response.status_code))


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
        return said or "The model server is starting."
    return said or f"The model server refused the request ({status})."


def _contestant(item: dict[str, Any]) -> Contestant:
    card = dict(item.get("understudy") or {})
    kind = card.get("kind") or ("base" if item["id"] == "base" else "persona")
    known = {key: value for key, value in card.items() if key in Contestant.model_fields and value is not None}
    return Contestant.model_validate(
        {**known, "name": item["id"], "kind": kind, "title": card.get("title") or item["id"]}
    )


def _revision(value: str | None) -> str:
    return "" if value in (None, "base") else str(value)[:12]
