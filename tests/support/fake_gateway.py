"""A small honest gateway over real HTTP: queued answers, held streams, outages. It keeps what it was asked."""

import asyncio
import json
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from understudy.processes import free_port

EMAIL = "3fa91c0d2b7e"
STAND_UP = "b04e77aa9c51"


def card(name: str, title: str, voice: str, prompts: list[str], revision: str) -> dict[str, Any]:
    """One item of `GET /v1/models`."""
    return {
        "id": name,
        "object": "model",
        "owned_by": "understudy",
        "created": 1_780_000_000,
        "understudy": {
            "kind": "base" if name == "base" else "persona",
            "title": title,
            "voice": voice,
            "prompts": prompts,
            "sampling": {"temperature": 0.6, "max_tokens": 200},
            "revision": revision,
        },
    }


def cards() -> dict[str, dict[str, Any]]:
    """The base and two personas."""
    email = ["Write an email that announces our summer sale.", "Remind a customer about an unpaid invoice."]
    jokes = ["Tell me about your first day at the gym.", "What is wrong with airports?"]
    models = [
        card("base", "Base model", "The shared model, without any voice of its own.", ["Explain rain."], ""),
        card("email-copy", "Email copywriter", "Short, warm emails with one clear ask.", email, EMAIL),
        card("stand-up", "Stand-up comedian", "Dry one-liners that turn on the last word.", jokes, STAND_UP),
    ]
    return {model["id"]: model for model in models}


@dataclass
class Answer:
    """One answer in the queue of a model."""

    text: str = "All right."
    status: int = 200
    """Anything but 200 is refused with `text` as the message, `code` and `param`."""
    code: str = ""
    param: str | None = None
    hold_after: int | None = None
    """Pieces after which the stream waits for `release`."""
    release: threading.Event = field(default_factory=threading.Event)
    cut: bool = False
    """The stream ends without `[DONE]`."""
    pause: float = 0.0
    """Seconds between pieces."""


class FakeGateway:
    """Start it, queue answers with `say`, change `models` or `status` at any time."""

    def __init__(self, api_key: str = "") -> None:
        self.api_key = api_key
        self.models = cards()
        self.learning: Any = []
        """What /v1/models lists as personas that are not live yet."""
        self.status = "ready"
        self.detail = ""
        self.asleep = 0
        """Status that a proxy answers everything with while it is not 0, as in front of an endpoint that sleeps."""
        self.tells = False
        """Whether there are news at /events; without them people have to look for themselves."""
        self.listening = 0
        """Who listens to the news now."""
        self._news: list[tuple[int, str]] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        """Every PUT /admin/learning: the persona, and what was said of it."""
        self.refusals: dict[str, list[str]] = {}
        """Why a publish of a persona is refused; everybody else goes live."""
        self.headers: list[dict[str, str]] = []
        """Headers of every chat request."""
        self.answers: dict[str, deque[Answer]] = defaultdict(deque)
        self.requests: list[dict[str, Any]] = []
        self.withdrawn: list[str] = []
        """Models whose answer was given up by the client before its end."""
        self.port = free_port()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def say(self, model: str, answer: Answer | str) -> Answer:
        """Queues an answer for `model`; without one it says something of its own."""
        answer = Answer(answer) if isinstance(answer, str) else answer
        self.answers[model].append(answer)
        return answer

    def announce(self, kind: str = "live") -> None:
        """Tells everybody who listens."""
        self._news.append((len(self._news) + 1, kind))

    def start(self) -> "FakeGateway":
        routes = [
            Route("/ready", self._ready),
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/events", self._events),
            Route("/admin/learning/{persona}", self._learning, methods=["PUT"]),
            Route("/admin/publish", self._publish, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), port=self.port, log_level="error", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError(f"the fake gateway did not start on port {self.port}")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """The port refuses connections afterwards; `start` brings it back."""
        if self._server and self._thread:
            self._server.should_exit = True
            self._thread.join(10)
            self._server = self._thread = None

    async def _ready(self, request: Request) -> Response:
        if self.asleep:
            return PlainTextResponse("Service Unavailable", self.asleep)
        if self.status == "ready":
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": self.status, "detail": self.detail}, 503)

    async def _models(self, request: Request) -> Response:
        if self.asleep:
            return PlainTextResponse("Service Unavailable", self.asleep)
        listed = {"object": "list", "data": list(self.models.values()), "learning": self.learning}
        return self._refusal(request) or JSONResponse(listed)

    async def _learning(self, request: Request) -> Response:
        body = await request.json()
        self.told.append((request.path_params["persona"], body))
        return JSONResponse(body)

    async def _publish(self, request: Request) -> Response:
        body = await request.json()
        persona = body["persona"]
        if self.status != "ready":
            self.status = "ready"  # as an engine that was starting again when it was asked
            return _error(503, "The engine is starting.")
        if reasons := self.refusals.get(persona):
            error = {"message": f"{persona} was refused by probe: {reasons[0]}", "code": "refused", "reasons": reasons}
            return JSONResponse({"error": error}, 409)
        return JSONResponse({"persona": persona, "revision": body["revision"], "changed": True, "seconds": 0.1})

    async def _chat(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if self.asleep:
            return PlainTextResponse("Service Unavailable", self.asleep)
        name = body["model"]
        if refusal := self._refusal(request):
            return refusal
        if name not in self.models:
            return _error(404, f"no model {name!r}; known: {', '.join(self.models)}")
        if self.status != "ready":
            return _error(503, self.detail or "The engine is starting.", {"Retry-After": "5"})
        queue = self.answers[name]
        answer = queue.popleft() if queue else Answer(_own_words(name, body["messages"]))
        if answer.status != 200:
            return _error(answer.status, answer.text, code=answer.code, param=answer.param)
        revision = self.models[name]["understudy"]["revision"] or "base"
        headers = {"x-understudy-revision": revision}
        stream = self._stream(name, revision, answer)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    async def _stream(self, name: str, revision: str, answer: Answer) -> AsyncIterator[str]:
        pieces = re.findall(r"\S+\s*|\s+", answer.text)
        try:
            for number, piece in enumerate(pieces):
                while number == answer.hold_after and not answer.release.is_set():
                    await asyncio.sleep(0.02)
                await asyncio.sleep(answer.pause)
                yield _chunk(name, revision, {"content": piece}, None)
            if not answer.cut:
                yield _chunk(name, revision, {}, "stop") + "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.withdrawn.append(name)
            raise

    async def _events(self, request: Request) -> Response:
        if self.asleep:
            return PlainTextResponse("Service Unavailable", self.asleep)
        if not self.tells:
            return _error(404, "no such route")
        last = int(request.headers.get("last-event-id") or len(self._news))
        return StreamingResponse(self._telling(last), media_type="text/event-stream")

    async def _telling(self, last: int) -> AsyncIterator[str]:
        self.listening += 1
        try:
            yield ": the fake gateway's news\n\n"
            while self.tells and self._server and not self._server.should_exit:
                for number, kind in self._news[last:]:
                    last = number
                    yield f'id: {number}\nevent: {kind}\ndata: {{"id": {number}}}\n\n'
                await asyncio.sleep(0.02)
        finally:
            self.listening -= 1

    def _refusal(self, request: Request) -> Response | None:
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return _error(401, "wrong or missing key")
        return None


def _own_words(name: str, messages: list[dict[str, str]]) -> str:
    """Different for every model, and silent about its name."""
    asked = messages[-1]["content"]
    opening = {"base": "Here is a plain reply.", "email-copy": "Hello there! One quick thing:"}
    return f"{opening.get(name, 'So, get this.')} You said: {asked}"


def _chunk(name: str, revision: str, delta: dict[str, str], finish: str | None) -> str:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_780_000_000,
        "model": name,
        "system_fingerprint": revision,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return f"data: {json.dumps(chunk)}\n\n"


def _error(
    status: int, message: str, headers: dict[str, str] | None = None, *, code: str = "", param: str | None = None
) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code or status}
    return JSONResponse({"error": error}, status, headers)
