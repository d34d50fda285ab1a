"""What stands before a Space on Hugging Face: HTTPS outside, HTTP inside, and X-Forwarded-* in between."""

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.support.served import Served

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "x-forwarded-for"}
METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]


class HubProxy(Served):
    """Passes everything on to `inside`, and says that it came from `visitor`."""

    def __init__(self, inside: str, folder: Path, visitor: str = "198.51.100.77") -> None:
        super().__init__()
        self.inside = inside
        self.visitor = visitor
        self.certificate = folder / "hub.pem", folder / "hub.key"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-keyout", str(self.certificate[1]), "-out", str(self.certificate[0])),
            ],
            check=True,
            capture_output=True,
        )

    def app(self) -> Starlette:
        self._http = httpx.AsyncClient(base_url=self.inside, timeout=120)
        return Starlette(routes=[Route("/{path:path}", self._forward, methods=METHODS)])

    async def _forward(self, request: Request) -> Response:
        headers = [*_passed(request.headers.items()), ("x-forwarded-for", self.visitor), ("x-forwarded-proto", "https")]
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        asked = self._http.build_request(request.method, path, headers=headers, content=await request.body())
        answer = await self._http.send(asked, stream=True)
        back = StreamingResponse(_body(answer), answer.status_code, background=BackgroundTask(answer.aclose))
        back.raw_headers = [(name.encode(), value.encode()) for name, value in _passed(answer.headers.multi_items())]
        return back


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    with contextlib.suppress(httpx.HTTPError):  # the Space has gone; so does the answer
        async for part in answer.aiter_raw():
            yield part


def _passed(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]
