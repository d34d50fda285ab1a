"""Asks a page in headless Chromium what it says: llama.cpp in the WebAssembly that the page's visitors run."""

import functools
import http.server
import itertools
import json
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from train.export.runtimes import GENERATED, Progress, Questions, RuntimeAnswers
from understudy.errors import AdapterError
from understudy.processes import Child

SCRIPT = Path(__file__).with_name("browser.mjs")
PAGE = b'<!doctype html><meta charset="utf-8"><script type="module" src="ask.mjs"></script>'
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
)
PART = "\ufffd"
"""What a part of a character is decoded to."""
PATIENCE = 300.0
"""Seconds without a sign of life after which the page is given up: loading, or one prompt on a busy machine."""


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome on this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


def ask_page(
    folder: Path,
    persona: str,
    chats: Sequence[list[dict[str, str]]],
    questions: Questions,
    chromium: str,
    *,
    marks: Mapping[str, int],
    decode: Callable[[Sequence[int]], str],
    headers: Mapping[str, str],
    on_progress: Progress,
) -> tuple[RuntimeAnswers, str]:
    """Asks the page in `folder` with one persona at full strength. Returns its answers and the browser's version.

    Args:
        chats: the prompts, which the page renders itself.
        marks: special tokens that they have, and their ids.
        decode: the text of tokens, with U+FFFD for a part of a character.
        headers: what the page is served with; those that isolate it let it use several threads.

    Raises:
        AdapterError: the page does not start, or breaks off; one line says why.
    """
    said: queue.Queue[tuple[str, Any]] = queue.Queue()
    runs = [whole_runs(answer, decode) for answer in questions.answers]
    told = {"persona": persona, "chats": chats, "marks": dict(marks), "runs": runs, "generated": GENERATED}
    job = {**told, **asdict(questions)}
    with _served(folder, json.dumps(job).encode(), headers, said) as url, tempfile.TemporaryDirectory() as home:
        own = [f"--user-data-dir={home}/profile", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        child = Child([chromium, *FLAGS, *own, f"{url}/ask.html"], log=Path(home) / "chromium.log")
        try:
            found = _followed(said, child, on_progress)
        finally:
            child.stop(1)
    answers = RuntimeAnswers(found["tokens"], found["answers"], found["next"], found["ends"], found["template"])
    return answers, found["browser"]


def whole_runs(answer: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[dict[str, Any]]:
    """Divides an answer into runs of tokens that are whole characters.

    A token that is a part of a character is in no run. The last run ends with the answer, and may be empty. A run has
    its `start` in the answer, the text `before` it, its `tokens`, and in `pieces` what each adds to the text.
    """
    runs: list[dict[str, Any]] = []
    start = 0
    for end in range(len(answer) + 1):
        if end < len(answer) and PART not in decode(answer[end : end + 1]):
            continue
        before = decode(answer[:start])
        if not before.endswith(PART) and (end > start or end == len(answer)):
            texts = [decode(answer[:place]) for place in range(start, end + 1)]
            pieces = [text.removeprefix(so_far) for so_far, text in itertools.pairwise(texts)]
            runs.append({"start": start, "before": before, "tokens": list(answer[start:end]), "pieces": pieces})
        start = end + 1
    return runs


def _followed(said: "queue.Queue[tuple[str, Any]]", child: Child, on_progress: Progress) -> dict[str, Any]:
    """Tells of progress until the result is there."""
    waited = 0.0
    while True:
        try:
            what, body = said.get(timeout=1)
        except queue.Empty:
            waited += 1
            if child.exit_code is not None:
                raise AdapterError(f"Chromium ended: {child.log_tail(1) or 'no reason given'}") from None
            if waited > PATIENCE:
                raise AdapterError(f"the page said nothing for {PATIENCE:.0f} s") from None
            continue
        waited = 0.0
        if what == "progress":
            on_progress(*body)
        elif what == "failure":
            raise AdapterError(f"the page stopped: {body[:300]}")
        else:
            return body


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the folder, what is asked of the page, and takes what it says."""

    def __init__(self, *args: Any, job: bytes, headers_too: Mapping[str, str], said: Any, **options: Any) -> None:
        self.added = {"/ask.html": PAGE, "/ask.mjs": SCRIPT.read_bytes(), "/ask.json": job}
        self.headers_too, self.said = headers_too, said
        super().__init__(*args, **options)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def end_headers(self) -> None:
        for name, value in self.headers_too.items():
            self.send_header(name, value)
        super().end_headers()

    def do_GET(self) -> None:
        content = self.added.get(self.path)
        if content is None:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(self.path))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.said.put((self.path.strip("/"), json.loads(body)))
        self.send_response(204)
        self.end_headers()


@contextmanager
def _served(folder: Path, job: bytes, headers: Mapping[str, str], said: Any) -> Iterator[str]:
    handler = functools.partial(_Handler, directory=str(folder), job=job, headers_too=headers, said=said)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
