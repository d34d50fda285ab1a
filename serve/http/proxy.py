"""Passes one inference request to the engine: who asks, which revision answers, the bytes of the answer, the books."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from serve.engine.evaluation import Traffic
from serve.engine.fair_scheduler import FairScheduler
from serve.engine.supervisor import Status
from serve.engine.vllm import Engine
from serve.http.auth import AdmittedRequest, Authenticator, Caller, NotAdmittedError
from serve.http.errors import error_body
from serve.http.request import HttpRefusalError, check_messages, read_body, user_of
from serve.http.response import EVENT_END, ResponseRewriter, with_usage
from serve.logs import REQUEST_ID, access_record
from serve.metrics import Metrics, Refusal, RequestTimer
from serve.rollout.canary import AnswerOutcome
from serve.rollout.routing import Loaded, RoutingTable, Target
from understudy.errors import NotFoundError

log = logging.getLogger("understudy.gateway")

REVISION_HEADER = "x-understudy-revision"
PASSED_HEADERS = ("content-type", "retry-after")
JSON = {"content-type": "application/json"}
RETRY_AFTER = 5
"""Seconds after which a client may ask again while the engine is down."""

REASONS: dict[str, Refusal] = {"overloaded": "overloaded", "rate_limit_exceeded": "rate_limit"}
"""Of refusals at the door; the others are about the key."""


@dataclass(frozen=True)
class ProxyContext:
    """What every passed route shares."""

    engine: Engine
    table: RoutingTable
    slots: FairScheduler
    session: aiohttp.ClientSession
    admission: Authenticator
    metrics: Metrics
    status: Callable[[], Status]
    answered: Callable[[Loaded | None, AnswerOutcome], None]
    max_body: int
    ensure_loaded: Callable[[str], Awaitable[str]] | None = None
    """Fetches adapters that are asked for by their Hub id; returns the name under which the table knows them."""
    traffic: Traffic = field(default_factory=Traffic)
    """Knows whether anybody is being served."""


class Proxy:
    """An ASGI application for one OpenAI route. Plain ASGI: each streamed chunk costs next to nothing here."""

    def __init__(self, path: str, desk: ProxyContext) -> None:
        self._path, self._desk = path, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        desk, request = self._desk, Request(scope, receive)
        started, caller = desk.metrics.clock(), ""
        try:
            who = await self._caller(request)
            caller = who.id
            async with desk.admission.enter(who) as ticket:
                body = await self._body(request)
                user = user_of(body, request.headers, caller)
                model = await self._present(body["model"], receive)
                with desk.traffic, desk.table.lease(model, user) as target:
                    exchange = ProxiedRequest(self._path, desk, target, ticket, body)
                    connected = await _while_connected(receive, exchange.run(send))
            if connected:  # only now, with its place given back, does the client see the end: it may ask again at once
                await send({"type": "http.response.body", "body": exchange.end})
            return
        except ClientDisconnect:
            desk.metrics.client_gone()
            return
        except HttpRefusalError as error:
            refused = error
        except NotAdmittedError as error:
            reason: Refusal = REASONS.get(error.code, "key")
            refused = HttpRefusalError(
                error.status, error.message, reason=reason, code=error.code, retry_after=error.retry_after
            )
        except NotFoundError as error:
            refused = HttpRefusalError(404, str(error), reason="unknown_model", param="model", code="model_not_found")
        desk.metrics.refused(refused.reason)
        seconds = desk.metrics.clock() - started
        access_record(route=self._path, status=refused.status, outcome="refused", seconds=seconds, caller=caller)
        await refused.response(scope, receive, send)

    async def _caller(self, request: Request) -> Caller:
        address = request.client.host if request.client else ""
        caller = await self._desk.admission.caller(request.headers.get("authorization", ""), address)
        if caller.id.startswith("key:"):
            self._desk.metrics.key_used(caller.id.removeprefix("key:"))
        return caller

    async def _present(self, model: str, receive: Receive) -> str:
        """The name under which the table knows `model`; it is loaded first if need be. Raises HttpRefusalError."""
        ensure_loaded, found = self._desk.ensure_loaded, [model]
        if ensure_loaded is None or ("/" not in model and not self._desk.table.is_unloaded(model)):
            return model

        async def look() -> None:
            found[0] = await ensure_loaded(model)

        if not await _while_connected(receive, look()):
            raise ClientDisconnect
        return found[0]

    async def _body(self, request: Request) -> dict:
        body = await read_body(request, max_bytes=self._desk.max_body)
        status = self._desk.status()
        if status.status != "ready":
            raise HttpRefusalError(
                503, status.detail, reason="engine", code=f"engine_{status.status}", retry_after=RETRY_AFTER
            )
        if self._path.endswith("/chat/completions"):
            check_messages(body.get("messages"))
        return body


class ProxiedRequest:
    """One admitted request and its answer."""

    def __init__(self, path: str, desk: ProxyContext, target: Target, ticket: AdmittedRequest, body: dict) -> None:
        self._path, self._desk, self._target, self._ticket = path, desk, target, ticket
        asks_itself = path.endswith("/responses")  # its last event tells the usage unasked
        self._body, drop = (body, False) if asks_itself else with_usage(body)
        self._answer = ResponseRewriter(target.engine_name, target.revision, drop_usage=drop)
        self._started = False
        """Whether the head of the answer has left."""
        self.end = b""
        """The last bytes of the answer, to be sent when `run` is over."""

    async def run(self, send: Send) -> None:
        """Waits for the adapter's turn, forwards all but the end, and does the books, however it ends."""
        with self._desk.metrics.watch(self._target.persona, self._target.revision) as watch:
            status = 499
            try:
                async with self._turn():
                    status = await self._forward(send, watch)
            finally:
                self._settle(watch, status)

    def _turn(self) -> contextlib.AbstractAsyncContextManager[None]:
        if self._target.loaded is None:
            return contextlib.nullcontext()
        return self._desk.slots.turn(self._target.engine_name)

    async def _forward(self, send: Send, watch: RequestTimer) -> int:
        """The status that the client got; 502 and 503 when the engine failed, even if the head had left before."""
        for pause in self._desk.engine.retries:  # as long as nothing has left, another replica may answer
            status = await self._attempt(send, watch, last=False)
            if status is not None:
                return status
            await asyncio.sleep(pause)
        return await self._attempt(send, watch, last=True) or 503

    async def _attempt(self, send: Send, watch: RequestTimer, *, last: bool) -> int | None:
        """As `_forward`; None when the engine failed before the answer had begun, unless this is the last attempt."""
        data = json.dumps({**self._body, "model": self._target.engine_name}).encode()
        headers = {**JSON, "x-request-id": REQUEST_ID.get()}
        try:
            async with self._desk.session.post(
                f"{self._desk.engine.url}{self._path}", data=data, headers=headers
            ) as upstream:
                if upstream.status >= 500:
                    return await self._engine_error(upstream, send, last=last)
                if upstream.content_type == "text/event-stream":
                    await self._head(upstream, send)
                    await self._stream(upstream, watch, send)
                else:
                    whole = self._answer.document(await upstream.read())
                    watch.chunk(self._desk.metrics.clock())
                    await self._head(upstream, send)
                    self.end = whole
                return 502 if self._answer.failed else upstream.status
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            if not last and not self._started:
                log.warning("the engine broke off before its answer: %s", error or type(error).__name__)
                return None
            return await self._broken(f"the engine broke off: {error or type(error).__name__}", send)

    async def _stream(self, upstream: aiohttp.ClientResponse, watch: RequestTimer, send: Send) -> None:
        """Passes server-sent events on as they come, whole events at a time."""
        pending, answer, clock = b"", self._answer, self._desk.metrics.clock
        async for chunk in upstream.content.iter_any():
            events, end, pending = (pending + chunk).rpartition(EVENT_END)
            if end:
                block, content = answer.block(events + end)
                if answer.ended:
                    self.end += block
                elif block:
                    await send({"type": "http.response.body", "body": block, "more_body": True})
                if content:
                    watch.chunk(clock())
        if not answer.ended and not answer.failed:
            raise ConnectionError("its answer has no end")
        self.end += pending

    async def _head(self, upstream: aiohttp.ClientResponse, send: Send) -> None:
        headers = [(name, upstream.headers[name]) for name in PASSED_HEADERS if name in upstream.headers]
        headers += [(REVISION_HEADER, self._target.revision), *self._ticket.headers()]
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": upstream.status, "headers": raw})
        self._started = True

    async def _engine_error(self, upstream: aiohttp.ClientResponse, send: Send, *, last: bool) -> int | None:
        """A 500 of an engine that is well is about this request; else the engine is going down."""
        log.warning("the engine answered %d: %.300s", upstream.status, await upstream.text())
        if not last:
            return None
        if not await self._desk.engine.healthy(self._desk.session):
            return await self._broken(f"the engine broke off: it answered {upstream.status}", send)
        await self._refuse(HttpRefusalError(502, "the engine failed on this request", code="engine_error"), send)
        return 502

    async def _broken(self, message: str, send: Send) -> int:
        if self._started:
            self.end = b"data: " + json.dumps(error_body(503, message, code="engine_down")).encode() + EVENT_END
        else:
            await self._refuse(HttpRefusalError(503, message, code="engine_down", retry_after=RETRY_AFTER), send)
        self._answer.failed = True
        return 503

    async def _refuse(self, error: HttpRefusalError, send: Send) -> None:
        response = error.response
        await send({"type": "http.response.start", "status": error.status, "headers": response.raw_headers})
        self.end = bytes(response.body)

    def _settle(self, watch: RequestTimer, status: int) -> None:
        """Metrics, the caller's tokens, the trial's evidence, and one line in the log."""
        answer, target = self._answer, self._target
        written = answer.completion_tokens or answer.events
        if status == 499:
            watch.gone()
        else:
            watch.done(status, answer.prompt_tokens, written)
        self._ticket.charge(answer.prompt_tokens + written)
        if status in (200, 502):  # 503 is the engine's fault, 499 and 4xx the client's: they say nothing about it
            failed = status != 200 or answer.failed or not written
            self._desk.answered(target.loaded, AnswerOutcome(failed=failed, tokens=written, seconds=watch.seconds))
        outcomes = {499: "client_gone", 502: "engine_down", 503: "engine_down"}
        access_record(
            route=self._path,
            status=status,
            outcome=outcomes.get(status, "ok"),  # pyright: ignore[reportArgumentType]
            seconds=watch.seconds,
            caller=self._ticket.caller.id,
            persona=target.persona,
            revision=target.revision,
            first_token_seconds=watch.first_token_seconds,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=written,
            streamed=self._body.get("stream") is True,
        )


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Runs `work`, but ends it when the client goes away (False); the engine then stops generating."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)
    if task.cancelled():
        return False
    if error := task.exception():
        raise error
    return True


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
