"""`understudy demo` as a newcomer runs it: one command, addresses, an answer, Ctrl-C, and nothing left behind."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from understudy.processes import free_port

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(600)]

READY = "Ctrl-C ends everything"


class Demo:
    """A running `understudy demo` with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.port, self.space_port = home, free_port(), free_port()
        env = {"UNDERSTUDY_HOME": str(home / "home"), "UNDERSTUDY_RUNS_DIR": str(home / "runs")}
        options = ["--port", str(self.port), "--space-port", str(self.space_port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "understudy", "demo", *options],
            env={**os.environ, **env},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put(None)

    def until(self, words: str, timeout: float = 400) -> str:
        """Waits for a line with `words`; returns everything said so far."""
        deadline = time.monotonic() + timeout
        while words not in "".join(self.said):
            line = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            assert line is not None, "it ended:\n" + "".join(self.said)
            self.said.append(line)
        return "".join(self.said)

    def family(self) -> set[int]:
        """Every process that carries our home in its environment."""
        mark, found = f"UNDERSTUDY_HOME={self.home / 'home'}".encode(), set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes():
                    found.add(int(path.parent.name))
            except OSError:
                continue
        return found

    def answer(self, model: str) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": "Write about a kite."}], "temperature": 0}
        response = httpx.post(f"http://127.0.0.1:{self.port}/v1/chat/completions", json=body, timeout=60)
        return response.json()["choices"][0]["message"]["content"]


def gone(demo: Demo) -> bool:
    deadline = time.monotonic() + 30
    while demo.family():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_demo_trains_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    said = demo.until(READY)
    for expected in ("email-copy: training", "stand-up: training", "email-copy@", "is live", "chat and arena", "/v1"):
        assert expected in said
    assert httpx.get(f"http://127.0.0.1:{demo.space_port}").status_code == 200
    assert len({demo.answer(model) for model in ("base", "email-copy", "stand-up")}) == 3
    assert len(demo.family()) >= 5

    demo.process.send_signal(signal.SIGINT)
    demo.until("everything is stopped")
    assert demo.process.wait(30) == 0
    assert gone(demo), demo.family()

    again = Demo(tmp_path)
    said = again.until(READY)
    assert "email-copy: trained already" in said
    assert again.answer("email-copy") == again.answer("email-copy")
    again.process.kill()
    again.process.wait()
    assert gone(again), "killed without a chance to clean up, it must leave nothing behind either"
