"""Reads a request's body and refuses what the engine would misunderstand."""

import asyncio
import json
from collections.abc import Mapping

from starlette.requests import Request

from serve.http.errors import HttpRefusalError

BODY_TIMEOUT = 30.0
"""Seconds that a client gets to send its body; it counts as an answer in progress meanwhile."""


async def read_body(request: Request, *, max_bytes: int) -> dict:
    """Reads the body of an inference request: a JSON object that names a model.

    Raises:
        HttpRefusalError: it is something else, too large, or does not arrive; the message says what was found.
        ClientDisconnect: the client went away.
    """
    if request.method != "POST":
        raise HttpRefusalError(405, f"{request.method} is not possible here; use POST")
    body = await read_object(request, max_bytes=max_bytes)
    if not isinstance(body.get("model"), str):
        raise HttpRefusalError(400, f"'model' must be a string, found {body.get('model')!r:.80}", param="model")
    return body


async def read_object(request: Request, *, max_bytes: int) -> dict:
    """Reads the body of a request: a JSON object. Raises as `read_body`."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            raw = await _read(request, max_bytes)
    except TimeoutError:
        raise HttpRefusalError(408, f"the request body did not arrive within {BODY_TIMEOUT:.0f} s") from None
    try:
        body = json.loads(raw, parse_constant=_refuse_constant)
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise HttpRefusalError(400, f"the request body is not JSON: {_reason(error)}") from None
    if not isinstance(body, dict):
        raise HttpRefusalError(400, f"the request body must be a JSON object, found {type(body).__name__}")
    return body


def user_of(body: Mapping[str, object], headers: Mapping[str, str], caller: str) -> str:
    """Whose answer it is, so that a trial is sticky: the user that the client names, else the caller."""
    for name in (body.get("safety_identifier"), body.get("user"), headers.get("x-understudy-user")):
        if isinstance(name, str) and name:
            return name
    return caller


async def _read(request: Request, max_bytes: int) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise HttpRefusalError(413, f"the request is larger than {max_bytes:,} bytes")
    return b"".join(chunks)


def _reason(error: Exception) -> str:
    """Explain why the body is not JSON, in text that is safe to send back."""
    if isinstance(error, UnicodeEncodeError):
        return "it holds half of a surrogate pair"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are Python's, not JSON's, and would reach the sampler."""
    raise ValueError(f"{name} is not JSON")
