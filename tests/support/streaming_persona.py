"""A stand-in for a gateway with one persona: its streams name the live revision, and a publish is at once."""

import asyncio
import json
import threading
import time
from typing import Any, Self

from aiohttp import web

PIECES = 6


class StreamingPersona:
    """`with` starts it. `within`: answers end in the first revision of all, which a real gateway never lets happen."""

    def __init__(self, live: str, *, within: bool = False) -> None:
        self.live, self.within, self.published = live, within, [live]
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()

    def admin(self, action: str, **body: Any) -> dict[str, Any]:
        """What the bench asks of a gateway's admin routes."""
        if action == "publish":
            self.published.append(body["revision"])
        elif "revision" in body:
            assert body["revision"] in self.published
        self.live = body.get("revision", self.published[-2])[:12]
        return {"seconds": 0.01}

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        assert (await request.json())["model"] == "poet"
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        began = self.live
        for number in range(PIECES):
            name = self.published[0] if self.within and number >= PIECES // 2 else began
            piece = {"system_fingerprint": name, "choices": [{"delta": {"content": f"{time.monotonic():.3f}"}}]}
            await response.write(f"data: {json.dumps(piece, separators=(',', ':'))}\n\n".encode())
            await asyncio.sleep(0.02)
        await response.write(b"data: [DONE]\n\n")
        return response
