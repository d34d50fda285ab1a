"""Passes one inference request to the engine: the model's name is resolved, the bytes of the answer flow through."""

import asyncio
import json
import logging
from collections.abc import Callable

import aiohttp
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.engine import Engine
from serve.openai_errors import error_body, error_response
from serve.routing import RoutingTable, Target
from serve.supervisor import Status
from understudy.errors import NotFoundError

log = logging.getLogger("understudy.gateway")

REVISION_HEADER = "x-understudy-revision"
PASSED_HEADERS = ("content-type", "retry-after", "x-request-id")
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
JSON = {"content-type": "application/json"}
EVENT_END = b"\n\n"
RETRY_AFTER = 5
"""Seconds after which a client may ask again while the engine is down."""


class RefusedError(Exception):
    """A request that never reaches the engine."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.response = error_response(status, message, param=param, code=code)


class Proxy:
    """An ASGI application for one OpenAI route. Plain ASGI: each streamed chunk costs next to nothing here."""

    def __init__(
        self,
        path: str,
        *,
        engine: Engine,
        table: RoutingTable,
        session: aiohttp.ClientSession,
        status: Callable[[], Status],
        authorized: Callable[[Request], bool],
        max_body: int,
    ) -> None:
        self._url = f"{engine.url}{path}"
        self._table, self._session, self._status = table, session, status
        self._authorized, self._max_body = authorized, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await self._read(request)
            status = self._status()
            if status.status != "ready":
                refusal = error_response(503, status.detail, code="engine_" + status.status, retry_after=RETRY_AFTER)
                return await refusal(scope, receive, send)
            with self._table.lease(body["model"]) as target:
                await self._while_connected(receive, self._forward(body, target, scope, receive, send))
        except ClientDisconnect:
            return None
        except RefusedError as error:
            await error.response(scope, receive, send)
        except NotFoundError as error:
            await error_response(404, str(error), param="model", code="model_not_found")(scope, receive, send)

    async def _read(self, request: Request) -> dict:
        if request.method != "POST":
            raise RefusedError(405, f"{request.method} is not possible here; use POST")
        if not self._authorized(request):
            raise RefusedError(
                401,
                "missing or wrong API key; send it as 'Authorization: Bearer KEY'",
                code="invalid_api_key",
            )
        chunks, size = [], 0
        async for chunk in request.stream():
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_body:
                raise RefusedError(413, f"the request is larger than {self._max_body:,} bytes")
        try:
            body = json.loads(b"".join(chunks), parse_constant=_refuse_constant)
            json.dumps(body, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, f"the request body is not JSON: {_reason(error)}") from None
        if not isinstance(body, dict):
            raise RefusedError(400, f"the request body must be a JSON object, found {type(body).__name__}")
        if not isinstance(body.get("model"), str):
            raise RefusedError(400, f"'model' must be a string, found {body.get('model')!r:.80}", param="model")
        if self._url.endswith("/chat/completions"):
            _check_messages(body.get("messages"))
        return body

    async def _while_connected(self, receive: Receive, work) -> None:
        """Runs `work`, but ends it when the client goes away; the engine then stops generating."""
        task = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            if not task.done():
                task.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)
        if not task.cancelled() and task.exception():
            raise task.exception()  # pyright: ignore[reportGeneralTypeIssues]

    async def _forward(self, body: dict, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        label = _Label(target)
        started = False
        try:
            data = json.dumps({**body, "model": target.engine_name}).encode()
            async with self._session.post(self._url, data=data, headers=JSON) as upstream:
                if upstream.status >= 500:
                    log.warning("the engine answered %d: %.300s", upstream.status, await upstream.text())
                    raise ConnectionError(f"it answered {upstream.status}")
                streaming = upstream.content_type == "text/event-stream"
                whole = b"" if streaming else label.put(await upstream.read())
                await send(_head(upstream, target))
                started = True
                if streaming:
                    await _stream(upstream, label, send)
                else:
                    await send({"type": "http.response.body", "body": whole})
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            message = f"the engine broke off: {error or type(error).__name__}"
            if not started:
                refusal: Response = error_response(503, message, code="engine_down", retry_after=RETRY_AFTER)
                return await refusal(scope, receive, send)
            event = b"data: " + json.dumps(error_body(503, message, code="engine_down")).encode() + EVENT_END
            await send({"type": "http.response.body", "body": event})


def _check_messages(messages: object) -> None:
    """What vLLM leaves to the chat template, which may drop it without a word: roles, and messages that say nothing."""
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, "'messages' must be a list with at least one message", param="messages")
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise RefusedError(400, f"{where} must be an object with a role of {', '.join(ROLES)}", param=where)
        if message["role"] != "assistant" and message.get("content") in (None, "", []):
            raise RefusedError(400, f"{where} ({message['role']}) has no content", param=where)


def _reason(error: Exception) -> str:
    """Why it is not JSON, in words that can be sent back whatever the body holds."""
    if isinstance(error, UnicodeEncodeError):
        return "it holds half of a surrogate pair"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are Python's, not JSON's, and would reach the sampler."""
    raise ValueError(f"{name} is no JSON")


class _Label:
    """Writes the revision that answers into the engine's JSON as `system_fingerprint`, without parsing it.

    The engine writes `"model":"persona@revision"` once in each document. The pattern cannot occur in an
    answer's text, where JSON writes each quotation mark as \\".
    """

    def __init__(self, target: Target) -> None:
        self._model = f'"model":"{target.engine_name}"'.encode()
        fingerprint = f'"system_fingerprint":"{target.revision}"'.encode()
        self._labelled = self._model + b"," + fingerprint
        self._fingerprint = fingerprint

    def put(self, document: bytes) -> bytes:
        if b'"system_fingerprint":null' in document:
            return document.replace(b'"system_fingerprint":null', self._fingerprint)
        return document.replace(self._model, self._labelled)


async def _stream(upstream: aiohttp.ClientResponse, label: _Label, send: Send) -> None:
    """Passes server-sent events on as they come, whole events at a time."""
    pending = b""
    async for chunk in upstream.content.iter_any():
        events, end, pending = (pending + chunk).rpartition(EVENT_END)
        if end:
            await send({"type": "http.response.body", "body": label.put(events + end), "more_body": True})
    await send({"type": "http.response.body", "body": pending})


def _head(upstream: aiohttp.ClientResponse, target: Target) -> dict:
    headers = [(name, upstream.headers[name]) for name in PASSED_HEADERS if name in upstream.headers]
    headers.append((REVISION_HEADER, target.revision))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": upstream.status, "headers": raw}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
