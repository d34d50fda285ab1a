"""News of the gateway for everyone who has the page open: one reader a Space, and a stream for each page.

A page is told when to look, not what there is to see: what it shows it gets as always (`space.app`). Pages listen at
/news. While the gateway's own stream (`GET /events`) is not to be had they are told so, and look every few seconds.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from space.backends.gateway import GatewayClient
from space.status import POLL, GatewayMonitor
from understudy.errors import GatewayError

LISTENERS = 1_000
"""Pages that may listen; those beyond look every few seconds instead."""
SLOW = 30.0
"""Seconds between two looks of a page that would be told of news: win rates change without any."""
HEARTBEAT = 15.0
"""Seconds between two signs of life, so that no proxy takes a quiet stream for a dead one."""
GLANCE = 1.0
"""Seconds until an open stream notices that the page is closing down."""
PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds between two tries to hear the gateway's news; the last one goes on."""

LOOK, TOLD, ALONE = "look", "told", "alone"
"""What pages hear: look now; you will be told; nobody tells you anything, so look yourself."""

LISTEN = f"""() => {{
  if (window.understudyNews) return;
  window.understudyNews = true;
  const address = (window.gradio_config?.root || '') + '/news';
  let source = null, told = false, looked = Date.now(), again = 0;
  const look = () => {{ looked = Date.now(); document.getElementById('look')?.click(); }};
  const hush = () => {{ source?.close(); source = null; told = false; }};
  const listen = () => {{
    if (source || document.hidden || Date.now() < again) return;
    again = Date.now() + 10000;
    source = new EventSource(address);
    source.onmessage = event => {{
      if (event.data !== '{LOOK}') told = event.data === '{TOLD}';
      if (event.data !== '{TOLD}') look();
    }};
    source.onerror = () => {{ told = false; if (source?.readyState === EventSource.CLOSED) hush(); }};
  }};
  document.addEventListener('visibilitychange', () => {{
    if (document.hidden) return hush();
    again = 0;
    listen();
    look();
  }});
  setInterval(() => {{
    if (document.hidden) return;
    listen();
    const calm = told && !document.querySelector('#banner .banner');
    if (Date.now() - looked >= (calm ? {1000 * SLOW:.0f} : {1000 * POLL:.0f})) look();
  }}, 500);
  listen();
}}"""
"""In the page. A tab that nobody sees holds no connection: browsers allow six to a host, over all tabs."""


class LiveUpdates:
    """Reads the gateway's news while anybody listens."""

    def __init__(self, gateway: GatewayClient, backend: GatewayMonitor, *, pauses: tuple[float, ...] = PAUSES) -> None:
        self._gateway = gateway
        self._backend = backend
        self._pauses = pauses
        self._pages: set[asyncio.Queue[str]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._state = ALONE
        self._last = ""
        self._closed = threading.Event()

    async def stream(self, request: Request) -> Response:
        """The endpoint /news: an endless stream, or 503 when too many listen."""
        if len(self._pages) >= LISTENERS or self._closed.is_set():
            return PlainTextResponse("too many pages listen", 503)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._told(), media_type="text/event-stream", headers=headers)

    def close(self) -> None:
        """Ends every stream within about a second. May be called from any thread."""
        self._closed.set()

    async def _told(self) -> AsyncIterator[str]:
        with self._listening() as page:
            yield f"data: {self._state}\n\n"
            quiet = 0.0
            while not self._closed.is_set():
                try:
                    async with asyncio.timeout(GLANCE):
                        news = await page.get()
                except TimeoutError:
                    quiet += GLANCE
                    if quiet >= HEARTBEAT:
                        quiet = 0.0
                        yield ": still here\n\n"
                else:
                    quiet = 0.0
                    yield f"data: {news}\n\n"

    @contextlib.contextmanager
    def _listening(self) -> Iterator[asyncio.Queue[str]]:
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
                self._reader, self._state, self._last = None, ALONE, ""

    async def _read(self) -> None:
        """Passes the gateway's news on, and comes back to a stream that broke; never ends by itself."""
        misses = 0
        while True:
            try:
                async with contextlib.aclosing(self._gateway.news(self._last)) as bulletins:
                    async for bulletin in bulletins:
                        misses = 0
                        self._last = bulletin.id or self._last
                        self._hear(bulletin.kind)
            except GatewayError:
                self._set(ALONE)
            pause = self._pauses[min(misses, len(self._pauses) - 1)]
            misses += 1
            await asyncio.sleep(pause)

    def _hear(self, kind: str) -> None:
        if kind:
            self._backend.expire()
            self._tell(LOOK)
        else:
            self._set(TOLD)

    def _set(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._tell(state)

    def _tell(self, what: str) -> None:
        for page in self._pages:
            page.put_nowait(what)
