"""Proxies one inference request: authenticate, route to a revision, stream the answer, record the usage."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from serve.engine.evaluation import Traffic
from serve.engine.fair_scheduler import FairScheduler
from serve.engine.supervisor import Status
from serve.engine.vllm import Engine
from serve.http.auth import AdmittedRequest, Authenticator, Caller
from serve.http.errors import HttpRefusalError, engine_not_ready, error_body
from serve.http.request import read_body, user_of
from serve.http.response import EVENT_END, ResponseRewriter, with_usage
from serve.logs import REQUEST_ID, access_record
from serve.metrics import Metrics
from serve.openai_api.chat_template import ChatTemplate
from serve.openai_api.check import check_request
from serve.openai_api.engine_errors import one_line
from serve.openai_api.tool_calls import ToolCallCheck
from serve.request_metrics import RequestTimer
from serve.rollout.canary import AnswerOutcome
from serve.rollout.loaded import Loaded
from serve.rollout.routing import RoutingTable, Target
from understudy.errors import NotFoundError

log = logging.getLogger("understudy.gateway")

T = TypeVar("T")

REVISION_HEADER = "x-understudy-revision"
PASSED_HEADERS = ("content-type", "retry-after")
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class ProxyContext:
    """What every passed route shares."""

    engine: Engine
    table: RoutingTable
    scheduler: FairScheduler
    session: aiohttp.ClientSession
    authenticator: Authenticator
    metrics: Metrics
    status: Callable[[], Status]
    answered: Callable[[Loaded | None, AnswerOutcome], None]
    max_body: int
    """Bytes."""
    ensure_loaded: Callable[[str], Awaitable[str]]
    """Loads a model that the engine does not have yet; returns the name under which the table knows it."""
    traffic: Traffic = field(default_factory=Traffic)
    """Knows whether any request is being served."""
    chat_template: Callable[[], ChatTemplate | None] = lambda: None
    """The base's; None where it cannot be read here."""


class Proxy:
    """An ASGI application for one OpenAI route. Plain ASGI, because each streamed chunk passes through it."""

    def __init__(self, path: str, context: ProxyContext) -> None:
        self._path, self._context = path, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context, request = self._context, Request(scope, receive)
        started, caller = context.metrics.clock(), ""
        try:
            who = await self._caller(request)
            caller = who.id
            async with context.authenticator.enter(who) as admitted:
                body, tools = await self._body(request)
                user = user_of(body, request.headers, caller)
                end = await _while_connected(receive, self._answer(body, tools, user, admitted, send))
            if end is not None:  # sent after the place is given back: the client may ask again at once
                await send({"type": "http.response.body", "body": end})
            return
        except ClientDisconnect:
            context.metrics.client_gone()
            return
        except HttpRefusalError as error:
            refused = error
        except NotFoundError as error:
            refused = HttpRefusalError(404, str(error), reason="unknown_model", param="model", code="model_not_found")
        context.metrics.refused(refused.reason)
        seconds = context.metrics.clock() - started
        access_record(route=self._path, status=refused.status, outcome="refused", seconds=seconds, caller=caller)
        await refused.response(scope, receive, send)

    async def _caller(self, request: Request) -> Caller:
        address = request.client.host if request.client else ""
        caller = await self._context.authenticator.caller(request.headers.get("authorization", ""), address)
        if caller.id.startswith("key:"):
            self._context.metrics.key_used(caller.id.removeprefix("key:"))
        return caller

    async def _body(self, request: Request) -> tuple[dict, ToolCallCheck | None]:
        body = await read_body(request, max_bytes=self._context.max_body)
        status = self._context.status()
        if not status.answers:
            raise engine_not_ready(status.detail, f"engine_{status.status}")
        return body, check_request(self._path, body, self._context.chat_template())

    async def _answer(
        self, body: dict, tools: ToolCallCheck | None, user: str, admitted: AdmittedRequest, send: Send
    ) -> bytes:
        """Loads the model if need be and sends all of the answer but its end, which it returns.

        Raises:
            HttpRefusalError: the model cannot be loaded now.
            NotFoundError: there is no such model.
        """
        context = self._context
        try:
            model = await context.ensure_loaded(body["model"])
        except asyncio.CancelledError:
            context.metrics.client_gone()
            raise
        with context.traffic, context.table.lease(model, user) as target:
            request = ProxiedRequest(self._path, context, target, admitted, body)
            request.tools = tools
            await request.run(send)
        return request.end


class ProxiedRequest:
    """One admitted request and its answer."""

    tools: ToolCallCheck | None = None
    """How the calls of tools in its answer are checked."""

    def __init__(self, path: str, context: ProxyContext, target: Target, admitted: AdmittedRequest, body: dict) -> None:
        self._path, self._context, self._target, self._admitted = path, context, target, admitted
        always = path.endswith("/responses")  # its last event always holds the usage
        self._body, drop = (body, False) if always else with_usage(body)
        self._answer = ResponseRewriter(target.engine_name, target.revision, drop_usage=drop)
        self._started = False
        """Whether the head of the answer has left."""
        self.end = b""
        """The last bytes of the answer, to be sent after `run`."""

    async def run(self, send: Send) -> None:
        """Waits for the adapter's turn, forwards all but the end, and records the usage however it ends."""
        with self._context.metrics.watch(self._target.persona, self._target.revision) as watch:
            status = 499
            try:
                async with self._turn():
                    status = await self._forward(send, watch)
            finally:
                self._record(watch, status)

    def _turn(self) -> contextlib.AbstractAsyncContextManager[None]:
        if self._target.loaded is None:
            return contextlib.nullcontext()
        return self._context.scheduler.turn(self._target.engine_name)

    async def _forward(self, send: Send, watch: RequestTimer) -> int:
        """Returns the status that the client got; 502 or 503 when the engine failed, even after the head was sent."""
        for pause in self._context.engine.retries:  # while nothing is sent, another replica may answer
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
            async with self._context.session.post(
                f"{self._context.engine.url}{self._path}", data=data, headers=headers
            ) as upstream:
                if upstream.status >= 500:
                    return await self._engine_error(upstream, send, last=last)
                if upstream.content_type == "text/event-stream":
                    await self._head(upstream, send)
                    await self._stream(upstream, watch, send)
                else:
                    raw = await upstream.read()
                    if upstream.status >= 400:
                        raw = one_line(raw, asked=self._body["model"], engine_name=self._target.engine_name)
                    whole = self._answer.document(raw)
                    watch.chunk(self._context.metrics.clock())
                    if upstream.status == 200 and self.tools and (wrong := self.tools.refusal(raw)):
                        await self._refuse(wrong, send)
                        return wrong.status
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
        pending, answer, clock = b"", self._answer, self._context.metrics.clock
        async for chunk in upstream.content.iter_any():
            events, end, pending = (pending + chunk).rpartition(EVENT_END)
            if end:
                block, content = answer.block(events + end)
                if self.tools:
                    self.tools.read(events + end)
                if answer.ended:
                    self.end += block
                elif block:
                    await send({"type": "http.response.body", "body": block, "more_body": True})
                if content:
                    watch.chunk(clock())
        if not answer.ended and not answer.failed:
            raise ConnectionError("its answer has no end")
        self.end += pending
        if self.tools and not answer.failed and (wrong := self.tools.stream_refusal()):
            self.end = b"data: " + bytes(wrong.response.body) + EVENT_END

    async def _head(self, upstream: aiohttp.ClientResponse, send: Send) -> None:
        headers = [(name, upstream.headers[name]) for name in PASSED_HEADERS if name in upstream.headers]
        headers += [(REVISION_HEADER, self._target.revision), *self._admitted.headers()]
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": upstream.status, "headers": raw})
        self._started = True

    async def _engine_error(self, upstream: aiohttp.ClientResponse, send: Send, *, last: bool) -> int | None:
        """A 5xx of a healthy engine is about this request; otherwise the engine is going down."""
        log.warning("the engine answered %d: %.300s", upstream.status, await upstream.text())
        if not last:
            return None
        if not await self._context.engine.healthy(self._context.session):
            return await self._broken(f"the engine broke off: it answered {upstream.status}", send)
        await self._refuse(HttpRefusalError(502, "the engine failed on this request", code="engine_error"), send)
        return 502

    async def _broken(self, message: str, send: Send) -> int:
        if self._started:
            self.end = b"data: " + json.dumps(error_body(503, message, code="engine_down")).encode() + EVENT_END
        else:
            await self._refuse(engine_not_ready(message), send)
        self._answer.failed = True
        return 503

    async def _refuse(self, error: HttpRefusalError, send: Send) -> None:
        response = error.response
        await send({"type": "http.response.start", "status": error.status, "headers": response.raw_headers})
        self.end = bytes(response.body)

    def _record(self, watch: RequestTimer, status: int) -> None:
        """Updates the metrics, the caller's token budget and the trial's evidence, and writes one log record."""
        answer, target = self._answer, self._target
        written = answer.completion_tokens or answer.events
        if status == 499:
            watch.gone()
        else:
            watch.done(status, answer.prompt_tokens, written)
        self._admitted.charge(answer.prompt_tokens + written)
        if status in (200, 502):  # 503 is the engine's fault, 499 and 4xx are the client's
            failed = status != 200 or answer.failed or not written
            self._context.answered(target.loaded, AnswerOutcome(failed=failed, tokens=written, seconds=watch.seconds))
        outcomes = {499: "client_gone", 502: "engine_down", 503: "engine_down"}
        access_record(
            route=self._path,
            status=status,
            outcome=outcomes.get(status, "ok"),  # pyright: ignore[reportArgumentType]
            seconds=watch.seconds,
            caller=self._admitted.caller.id,
            persona=target.persona,
            revision=target.revision,
            first_token_seconds=watch.first_token_seconds,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=written,
            streamed=self._body.get("stream") is True,
        )


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Returns the result of `work`; cancels it and returns None when the client leaves, so that the engine stops."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)
    return None if task.cancelled() else task.result()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
