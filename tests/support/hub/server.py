"""A small Hub over real HTTP, for the real clients: huggingface_hub, transformers, datasets, TRL, PEFT, `hf`.

Reading and writing of models, data sets and Spaces, tokens, tags, LFS, webhooks; and faults on demand. Give a client
HF_ENDPOINT before it is imported: run it in a process of its own with `HubServer.env`.
"""

import json
import re
import socket
import threading
import time
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.hub.access import READ_TOKEN, TOKEN, USER
from tests.support.hub.http import Answer, Asked, Fault
from tests.support.hub.routes import respond
from tests.support.hub.store import Repo, Space, object_id

__all__ = ["READ_TOKEN", "TOKEN", "USER", "HubServer", "Repo", "Space"]


@dataclass(frozen=True)
class Webhook:
    url: str
    secret: str
    watched: re.Pattern[str]


class HubServer:
    """`with HubServer() as hub:` then fill `hub.repos` and run a client with `hub.env(home)`."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        """Models, by `owner/name`."""
        self.datasets: dict[str, Repo] = {}
        self.spaces: dict[str, Space] = {}
        self.foreign: set[str] = set()
        """Namespaces that our token may not write to."""
        self.objects: dict[str, bytes] = {}
        """What was uploaded by LFS, by SHA-256."""
        self.asked: list[str] = []
        """Every request: `METHOD /path`."""
        self.delivered: list[int] = []
        """What the receivers of webhooks answered; 0 where there was none."""
        self.lock = threading.RLock()
        self._faults: list[Fault] = []
        self._webhooks: list[Webhook] = []
        self._open: set[socket.socket] = set()
        self._server = self._listen(0)
        self._port: int = self._server.server_port
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> "HubServer":
        self._serve()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Takes the Hub down: connections are refused, open ones are closed."""
        self._server.shutdown()
        self._server.server_close()
        for connection in tuple(self._open):
            _hang_up(connection)

    def start(self) -> None:
        """Brings the Hub back after `stop`, at the same address with all it had."""
        self._server = self._listen(self._port)
        self._serve()

    def env(self, home: Path, token: str = "") -> dict[str, str]:
        """What the client's environment must say."""
        names = {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
        return names | {"HF_TOKEN": token, "HF_HUB_DISABLE_TELEMETRY": "1"}

    def fail(
        self, status: int, *, matching: str = "", times: int | None = None, retry_after: int | None = None
    ) -> None:
        """Answers matching requests with `status`. `matching` is searched for in `METHOD /path`."""
        self._faults.append(Fault(re.compile(matching), times, status=status, retry_after=retry_after))

    def slow(self, seconds: float, *, matching: str = "", times: int | None = None) -> None:
        """Answers matching requests so much later."""
        self._faults.append(Fault(re.compile(matching), times, seconds=seconds))

    def cut(self, after_bytes: int, *, matching: str = "", times: int | None = 1) -> None:
        """Closes the connection after so many bytes of a file that comes or goes."""
        self._faults.append(Fault(re.compile(matching), times, after_bytes=after_bytes))

    def heal(self) -> None:
        """Forgets all faults."""
        self._faults.clear()

    def webhook(self, url: str, secret: str, *, watching: str = "") -> None:
        """POSTs to `url` after each commit and tag in the repositories whose name `watching` is found in."""
        self._webhooks.append(Webhook(url, secret, re.compile(watching)))

    def announce(self, kind: str, name: str, ref: str, old: str | None, new: str) -> None:
        """Delivers the webhook of a change, as the routes do; for a commit that a test made by `Repo.commit`."""
        for webhook in self._webhooks:
            if webhook.watched.search(name):
                payload = self.payload(kind, name, ref, old, new)
                threading.Thread(target=self._deliver, args=(webhook, payload), daemon=True).start()

    def payload(self, kind: str, name: str, ref: str, old: str | None, new: str) -> dict[str, Any]:
        """A webhook's body, version 3 (https://huggingface.co/docs/hub/webhooks#webhook-payloads)."""
        repo = self.shelf(kind)[name]
        where = {"web": f"{self.url}/{name}", "api": f"{self.url}/api/{kind}/{name}"}
        about = {"type": kind.removesuffix("s"), "name": name, "id": object_id(name), "private": repo.private}
        about |= {"headSha": repo.refs.get("main"), "owner": {"id": object_id(name.split("/")[0])}, "url": where}
        return {
            "event": {"action": "update", "scope": "repo.content"},
            "repo": about,
            "updatedRefs": [{"ref": ref, "oldSha": old, "newSha": new}],
            "webhook": {"id": object_id("webhook"), "version": 3},
        }

    def shelf(self, kind: str) -> dict[str, Any]:
        """The repositories of a kind: `models`, `datasets` or `spaces`."""
        return {"models": self.repos, "datasets": self.datasets, "spaces": self.spaces}.get(kind, {})

    def _deliver(self, webhook: Webhook, payload: dict[str, Any]) -> None:
        headers = {"Content-Type": "application/json", "X-Webhook-Secret": webhook.secret}
        request = urllib.request.Request(webhook.url, json.dumps(payload).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                self.delivered.append(answer.status)
        except OSError as error:  # an HTTPError is one, and has the status
            self.delivered.append(getattr(error, "code", 0))

    def _listen(self, port: int) -> ThreadingHTTPServer:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                hub._open.add(self.connection)

            def finish(self) -> None:
                hub._open.discard(self.connection)
                super().finish()

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True  # the client went away, or the Hub was stopped

            def answer(self) -> None:
                hub._answer(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - named by the library

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the library
                pass

        return ThreadingHTTPServer(("127.0.0.1", port), Handler)

    def _serve(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        line = f"{request.command} {unquote(url.path)}"
        with self.lock:
            self.asked.append(line)
            faults = [fault for fault in self._faults if fault.hits(line)]
        time.sleep(sum(fault.seconds for fault in faults))
        cut = min((fault.after_bytes for fault in faults if fault.after_bytes >= 0), default=None)
        body = _body(request, cut)
        if body is None:
            return _close(request)
        refusal = next((fault for fault in faults if fault.status), None)
        token = (request.headers.get("authorization") or "").removeprefix("Bearer ")
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(request.command, url.path, dict(parse_qsl(url.query)), token, headers, body)
        answer = refusal.answer if refusal else respond(self, asked)
        return _send(request, answer, cut)


def _body(request: BaseHTTPRequestHandler, cut: int | None) -> bytes | None:
    """What the client sends; None when the connection ends within it."""
    chunks: list[bytes] = []
    if request.headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int(request.rfile.readline().split(b";")[0], 16):
            chunks.append(request.rfile.read(size))
            request.rfile.readline()
            if cut is not None and sum(map(len, chunks)) > cut:
                return None
        request.rfile.readline()
        return b"".join(chunks)
    length = int(request.headers.get("content-length") or 0)
    if cut is not None and length > cut:
        request.rfile.read(cut)
        return None
    body = request.rfile.read(length)
    return body if len(body) == length else None


def _send(request: BaseHTTPRequestHandler, answer: Answer, cut: int | None) -> None:
    request.send_response(answer.status)
    for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command == "HEAD":
        return
    request.wfile.write(answer.body[:cut])
    if cut is not None and len(answer.body) > cut:
        _close(request)


def _close(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True
    _hang_up(request.connection)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed by the other side already
