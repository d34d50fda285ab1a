"""Streams what happens in the gateway at GET /events as server-sent events: "a new revision of poet just went live".

A client that reconnects with `Last-Event-ID` gets the events that it missed, as far as they are remembered (`0` gets
all of those). An event `missed` says that some were lost.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import anyio
from pydantic import BaseModel, ConfigDict
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.http.errors import error_response

log = logging.getLogger("understudy.events")

Kind: TypeAlias = Literal[
    "learning", "live", "canary", "promoted", "rolled_back", "refused", "hub_trouble", "engine_ready", "engine_down"
]

HISTORY = 200
"""Events remembered for clients that reconnect."""

QUEUE = 64
"""Events queued for a slow client; beyond that it loses the oldest."""

SUBSCRIBERS = 500
"""Clients that may listen at the same time."""

HEARTBEAT = 15.0
"""Seconds between two pings on a quiet stream."""

SEND_TIMEOUT = 30.0
"""Seconds after which a client that reads nothing is disconnected."""

RETRY_AFTER = 30
"""Seconds after which a client may try again when too many listen."""

RECONNECT = 3000
"""Milliseconds that a browser waits before it comes back."""

FAREWELL = 1.0
"""Seconds that streams get to end by themselves when the server stops."""


class EventMessage(BaseModel):
    """One event, as it is sent."""

    model_config = ConfigDict(frozen=True)

    id: int
    """Milliseconds since 1970, or one more than the event before: it grows, across restarts, too."""
    at: datetime
    kind: Kind
    persona: str
    """Empty for events of the engine."""
    revision: str
    previous: str | None
    title: str
    """The persona's title, for people."""
    text: str


class TooManySubscribersError(Exception):
    """The limit of subscribers is reached, or the stream is closed."""


class Subscriber:
    """One connected client and the events still to be sent to it."""

    def __init__(self, size: int, backlog: list[EventMessage], lost: bool) -> None:
        self._queue: asyncio.Queue[EventMessage | None] = asyncio.Queue(size)
        self._backlog = backlog
        self._lost = lost
        self._missed = 0

    def put(self, item: EventMessage) -> None:
        """Queues `item` without waiting; a full queue drops its oldest item."""
        self._make_room()
        self._queue.put_nowait(item)

    def end(self) -> None:
        """Ends the stream after what is queued."""
        self._make_room()
        self._queue.put_nowait(None)

    def _make_room(self) -> None:
        if self._queue.full():
            self._missed += self._queue.get_nowait() is not None

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """Yields the events for this client until `end`."""
        yield ServerSentEvent(comment="understudy events", retry=RECONNECT)
        if self._lost:
            yield _missed(None)
        for item in self._backlog:
            yield _event(item)
        while (item := await self._queue.get()) is not None:
            if self._missed:
                missed, self._missed = self._missed, 0
                yield _missed(missed)
            yield _event(item)


def _event(item: EventMessage) -> ServerSentEvent:
    return ServerSentEvent(item.model_dump_json(), event=item.kind, id=str(item.id))


def _missed(count: int | None) -> ServerSentEvent:
    """`count` is None when it is unknown. The event has no id, so the client keeps its last one."""
    return ServerSentEvent(f'{{"missed": {"null" if count is None else count}}}', event="missed")


class EventStream:
    """Sends events to all subscribers. To be used on the event loop's thread."""

    def __init__(
        self,
        *,
        history: int = HISTORY,
        queue: int = QUEUE,
        subscribers: int = SUBSCRIBERS,
        heartbeat: float = HEARTBEAT,
        send_timeout: float = SEND_TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._history: deque[EventMessage] = deque(maxlen=history)
        self._queue, self._limit, self._clock = queue, subscribers, clock
        self._heartbeat, self._send_timeout = heartbeat, send_timeout
        self._subscribers: set[Subscriber] = set()
        self._last = self._forgotten = int(clock() * 1000)
        self._closed = False

    @property
    def listening(self) -> int:
        """Clients that listen now."""
        return len(self._subscribers)

    def announce(
        self,
        kind: Kind,
        persona: str = "",
        revision: str = "",
        text: str = "",
        *,
        previous: str | None = None,
        title: str = "",
    ) -> EventMessage:
        """Queues an event for every subscriber, without waiting."""
        now = self._clock()
        self._last = max(self._last + 1, int(now * 1000))
        item = EventMessage(
            id=self._last,
            at=datetime.fromtimestamp(now, UTC),
            kind=kind,
            persona=persona,
            revision=revision,
            previous=previous,
            title=title or persona,
            text=text,
        )
        if self._history.maxlen and len(self._history) == self._history.maxlen:
            self._forgotten = self._history[0].id
        self._history.append(item)
        for subscriber in self._subscribers:
            subscriber.put(item)
        return item

    def stream(self, request: Request) -> Response:
        """The endpoint GET /events: an endless stream, or 503 when too many listen or the gateway is stopping."""
        return _Stream(self, request.headers.get("last-event-id", ""))

    @contextlib.contextmanager
    def subscribe(self, last_event_id: str = "") -> Iterator[Subscriber]:
        """Subscribes a client for as long as the block lasts.

        Raises:
            TooManySubscribersError: the limit is reached, or the stream is closed.
        """
        if self._closed or self.listening >= self._limit:
            raise TooManySubscribersError
        known = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else self._last
        backlog = [item for item in self._history if item.id > known]
        subscriber = Subscriber(self._queue, backlog, lost=0 < known < self._forgotten)
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    def close(self) -> None:
        """Ends all streams and accepts no more; a server that drains before it stops calls this first.

        Without it they end by themselves within a second of uvicorn's SIGTERM.
        """
        self._closed = True
        for subscriber in self._subscribers:
            subscriber.end()

    async def respond(self, last_event_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one client until it or the server stops."""
        try:
            with self.subscribe(last_event_id[:19]) as subscriber:
                stopping = anyio.Event()

                async def end_on_stop() -> None:
                    await stopping.wait()
                    subscriber.end()

                await EventSourceResponse(
                    subscriber.events(),
                    ping=self._heartbeat,
                    send_timeout=self._send_timeout,
                    data_sender_callable=end_on_stop,
                    shutdown_event=stopping,
                    shutdown_grace_period=FAREWELL,
                )(scope, receive, send)
        except TooManySubscribersError:
            message = "too many clients read /events, or the gateway is stopping; try again later"
            await error_response(503, message, code="overloaded", retry_after=RETRY_AFTER)(scope, receive, send)
        except SendTimeoutError:
            log.info("a client of /events read nothing for %.0f s and was disconnected", self._send_timeout)


class _Stream(Response):
    """The subscription begins when the response is sent and ends with it, so that none is left behind."""

    def __init__(self, events: EventStream, last_event_id: str) -> None:
        super().__init__()
        self._events, self._last_event_id = events, last_event_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._events.respond(self._last_event_id, scope, receive, send)
