"""As much of the Hub as submitting a job takes: who one is, a private bucket with its chunk store, and jobs with logs.

The client is the real huggingface_hub with its Xet uploader, in a process of its own with `JobsServer.env`.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "hf_secret_of_ann"
JOB = "687fb701029421ae5549d998"


class JobsServer:
    """`with JobsServer() as hub:`; say before how the job is to end, and look after at what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """Every request: `METHOD /path`."""
        self.submitted: list[dict[str, Any]] = []
        """What jobs were asked for."""
        self.uploaded: list[str] = []
        """Paths in the bucket."""
        self.stored = 0
        """Bytes that the chunk store was given."""
        self.log = ["loading libraries and base", "8 steps in 3.1 s"]
        self.stage, self.message = "COMPLETED", ""
        """How the job ends."""
        self.started_at = ""
        """When the job began to run, as the Hub writes it; empty while it waits."""
        self.refusal = 0
        """Status that a submission is refused with; 0 takes it."""
        self.running = threading.Event()
        """Set when somebody reads the log."""
        self.may_end = threading.Event()
        """The log, and with it the job, ends when this is set."""
        self.may_end.set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            def do_HEAD(self) -> None:
                hub.answer(self)

            def do_POST(self) -> None:
                hub.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the library
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "JobsServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_end.set()
        self._server.shutdown()
        self._server.server_close()

    def env(self, home: Path) -> dict[str, str]:
        """What the client's environment must say."""
        names = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}
        return names | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = _body(request)
        self.asked.append(f"{request.command} {request.path}")
        if request.path.startswith(f"/api/jobs/ann/{JOB}/logs"):
            self._stream(request)
            return
        status, value = self._answer(request.command, request.path, body)
        data = json.dumps(value).encode()
        request.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(data))}.items():
            request.send_header(name, text)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        bucket = "/api/buckets/ann/jobs-artifacts"
        if path == "/api/whoami-v2":
            return 200, {"name": "ann", "type": "user"}
        if path == f"{bucket}/xet-write-token":
            return 200, {"casUrl": f"{self.url}/cas", "accessToken": "t", "exp": 4_000_000_000}
        if path == f"{bucket}/batch":
            self.uploaded += [json.loads(line)["path"] for line in body.splitlines()]
            return 200, {"success": True, "failed": []}
        if path == bucket:
            return 200, {"url": f"{self.url}/buckets/ann/jobs-artifacts"}
        if path.startswith("/cas/v1/xorbs/"):
            self.stored += len(body)
            return 200, {"was_inserted": True}
        if path == "/cas/v2/shards":
            return 200, {"type": "result", "result": 1}
        if (method, path) == ("POST", "/api/jobs/ann"):
            if self.refusal:
                return self.refusal, {"error": "no"}
            self.submitted.append(json.loads(body))
            return 200, self._job("SCHEDULING")
        if path == f"/api/jobs/ann/{JOB}":
            return 200, self._job(self.stage if self.may_end.is_set() else "RUNNING")
        return 404, {"error": "no such route"}

    def _job(self, stage: str) -> dict[str, Any]:
        owner = {"id": "1", "name": "ann", "type": "user"}
        asked = self.submitted[-1] if self.submitted else {}
        ports = asked.get("expose", {}).get("ports", [])
        status = {"stage": stage, "message": self.message, "exposeUrls": [f"https://{JOB}--{p}.hf.jobs" for p in ports]}
        facts = {"volumes": asked.get("volumes", []), "startedAt": self.started_at}
        return {"id": JOB, "owner": owner, "status": status, **facts}

    def _stream(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        for name, text in {"Content-Type": "text/event-stream", "Connection": "close"}.items():
            request.send_header(name, text)
        request.end_headers()
        for line in self.log:
            event = json.dumps({"timestamp": "2026-01-01T00:00:00.000Z", "data": line})
            request.wfile.write(f"data: {event}\n\n".encode())
        request.wfile.flush()
        self.running.set()
        self.may_end.wait(60)
        request.close_connection = True


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if size := request.headers.get("Content-Length"):
        return request.rfile.read(int(size))
    body = bytearray()
    if request.headers.get("Transfer-Encoding") == "chunked":
        while size := int(request.rfile.readline(), 16):
            body += request.rfile.read(size)
            request.rfile.readline()
        request.rfile.readline()
    return bytes(body)
