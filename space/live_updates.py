"""Tells every open page when to refresh: one reader of the gateway's events for the whole Space, one stream per page.

A page is told when to refresh, not what has changed: it gets that from `space.app`. Pages listen at /news. While the
gateway's own stream (`GET /events`) is away, pages poll every few seconds.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from space.backends.errors import ModelServerError
from space.backends.protocol import Backend
from space.chat.persona_cards import title
from space.i18n import ENGLISH, say
from space.status import POLL, GatewayMonitor, GatewayStatus

MAX_PAGES = 1_000
"""Pages that may listen; those beyond poll instead."""
SLOW_POLL = 30.0
"""Seconds between two refreshes of a page that gets events: win rates change without an event."""
HEARTBEAT = 15.0
"""Seconds between two signs of life, so that no proxy takes a quiet stream for a dead one."""
CLOSE_CHECK = 1.0
"""Seconds until an open stream notices that the Space is closing."""
PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds between two tries to read the gateway's events; the last one goes on."""

REFRESH, PUSH, POLLING = "refresh", "push", "poll"
"""What pages are told: refresh now; events will come; no events come, so poll."""

LISTEN = f"""() => {{
  if (window.understudyUpdates) return;
  window.understudyUpdates = true;
  const address = (window.gradio_config?.root || '') + '/news';
  let source = null, pushed = false, refreshed = Date.now(), retryAt = 0;
  const refresh = () => {{ refreshed = Date.now(); document.getElementById('refresh')?.click(); }};
  const stop = () => {{ source?.close(); source = null; pushed = false; }};
  const listen = () => {{
    if (source || document.hidden || Date.now() < retryAt) return;
    retryAt = Date.now() + 10000;
    source = new EventSource(address);
    source.onmessage = event => {{
      if (event.data !== '{REFRESH}') pushed = event.data === '{PUSH}';
      if (event.data !== '{PUSH}') refresh();
    }};
    source.onerror = () => {{ pushed = false; if (source?.readyState === EventSource.CLOSED) stop(); }};
  }};
  document.addEventListener('visibilitychange', () => {{
    if (document.hidden) return stop();
    retryAt = 0;
    listen();
    refresh();
  }});
  setInterval(() => {{
    if (document.hidden) return;
    listen();
    const calm = pushed && !document.querySelector('#banner .banner');
    if (Date.now() - refreshed >= (calm ? {1000 * SLOW_POLL:.0f} : {1000 * POLL:.0f})) refresh();
  }}, 500);
  listen();
}}"""
"""Runs in the page. A hidden tab holds no connection: browsers allow six to a host, over all tabs."""

TOASTS = '<div class="toasts" role="status" aria-live="polite">${value}</div>'
"""Template of the place for toasts; screen readers read out what is added to it."""


def toasts(before: GatewayStatus | None, now: GatewayStatus, language: str = ENGLISH) -> str:
    """HTML with a toast for each persona that is new or has a new revision.

    Empty when nothing changed, or when the page has shown no status yet. Each toast is an element with a name of its
    own, so that the page replaces one that has faded instead of changing its text.
    """
    if before is None or not (before.personas or before.ready):
        return ""
    revisions = {one.name: one.revision for one in before.personas}
    shown = []
    for one in now.personas:
        if revisions.get(one.name) != one.revision:
            key = "toast_live" if one.name in revisions else "toast_new"
            text = say(key, language, who=title(one, language), revision=one.revision)
            tag = f"toast-{one.revision if one.revision.isalnum() else 'new'}"
            shown.append(f'<{tag} class="toast">{text}</{tag}>')
    return "".join(shown)


class LiveUpdates:
    """Reads the gateway's events while any page listens, and passes them on."""

    def __init__(self, gateway: Backend, monitor: GatewayMonitor, *, pauses: tuple[float, ...] = PAUSES) -> None:
        self._gateway = gateway
        self._monitor = monitor
        self._pauses = pauses
        self._pages: set[asyncio.Queue[str]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._state = POLLING
        self._last = ""
        self._closed = threading.Event()

    async def stream(self, request: Request) -> Response:
        """The endpoint /news: an endless stream, or 503 when too many pages listen."""
        if len(self._pages) >= MAX_PAGES or self._closed.is_set():
            return PlainTextResponse("too many pages listen", 503)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self.messages(), media_type="text/event-stream", headers=headers)

    def close(self) -> None:
        """Ends every stream within about a second. May be called from any thread."""
        self._closed.set()

    async def messages(self) -> AsyncIterator[str]:
        """Server-sent events for one page."""
        with self._subscribed() as page:
            yield f"data: {self._state}\n\n"
            quiet = 0.0
            while not self._closed.is_set():
                try:
                    async with asyncio.timeout(CLOSE_CHECK):
                        message = await page.get()
                except TimeoutError:
                    quiet += CLOSE_CHECK
                    if quiet >= HEARTBEAT:
                        quiet = 0.0
                        yield ": still here\n\n"
                else:
                    quiet = 0.0
                    yield f"data: {message}\n\n"

    @contextlib.contextmanager
    def _subscribed(self) -> Iterator[asyncio.Queue[str]]:
        page: asyncio.Queue[str] = asyncio.Queue()
        self._pages.add(page)
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        try:
            yield page
        finally:
            self._pages.discard(page)
            if not self._pages:
                self._reader.cancel()
                self._reader, self._state, self._last = None, POLLING, ""

    async def _read(self) -> None:
        """Reads the gateway's events and reconnects when the stream breaks, until it is cancelled."""
        failures = 0
        while True:
            try:
                async with contextlib.aclosing(self._gateway.events(self._last)) as events:
                    async for event in events:
                        failures = 0
                        self._last = event.id or self._last
                        self._handle(event.kind)
            except ModelServerError:
                self._set_state(POLLING)
            pause = self._pauses[min(failures, len(self._pauses) - 1)]
            failures += 1
            await asyncio.sleep(pause)

    def _handle(self, kind: str) -> None:
        """An event makes pages refresh; the sign that the stream is open (no kind) makes them wait for events."""
        if kind:
            self._monitor.expire()
            self._broadcast(REFRESH)
        else:
            self._set_state(PUSH)

    def _set_state(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._broadcast(state)

    def _broadcast(self, message: str) -> None:
        for page in self._pages:
            page.put_nowait(message)
