"""`understudy demo` as a newcomer runs it: one command, addresses, personas that come while one chats, Ctrl-C, and
nothing left behind.
"""

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.system import RECIPES
from understudy.processes import free_port

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(1200)]

READY = "Ctrl-C ends everything"
TRAINING = b"understudy\0train"
"""What the command line of the training process contains."""


class Demo:
    """A running `understudy demo` with a home of its own."""

    def __init__(self, home: Path, recipes: Path = RECIPES) -> None:
        self.home, self.port, self.space_port = home, free_port(), free_port()
        env = {
            "UNDERSTUDY_BASE": "tiny",
            "UNDERSTUDY_RECIPES_DIR": str(recipes),
            "UNDERSTUDY_HOME": str(home / "home"),
            "UNDERSTUDY_RUNS_DIR": str(home / "runs"),
        }
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

    def until(self, words: str, timeout: float = 600) -> str:
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

    def training(self) -> list[int]:
        """Niceness of each process that trains."""
        found = []
        for pid in self.family():
            with contextlib.suppress(OSError):
                if TRAINING in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(os.getpriority(os.PRIO_PROCESS, pid))
        return found

    def learning(self) -> list[dict[str, Any]]:
        """What /v1/models says of personas that are not live yet."""
        return httpx.get(f"http://127.0.0.1:{self.port}/v1/models", timeout=60).json()["learning"]

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


def stopped(demo: Demo) -> bool:
    """Ends it as a person does; whether nothing is left."""
    demo.process.send_signal(signal.SIGINT)
    demo.until("everything is stopped")
    assert demo.process.wait(30) == 0
    return gone(demo)


def test_people_chat_while_a_persona_is_trained_and_nothing_is_left_behind(tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    shutil.copytree(RECIPES / "email-copy", recipes / "email-copy")
    broken = recipes / "broken"
    shutil.copytree(RECIPES / "stand-up", broken)
    (broken / "examples.jsonl").write_text("{oops\n")

    demo = Demo(tmp_path, recipes)
    said = demo.until(READY)
    assert re.search(r"Understudy is on after \d+ s: base; teaching broken, email-copy\n", said)
    for expected in (
        "chat and arena",
        "/v1",
        'ask email-copy "Write a marketing email for my bakery."',
        "GiB resident",
    ):
        assert expected in said
    assert "is live after" not in said, "the base answers first"
    assert demo.answer("base")
    assert httpx.get(f"http://127.0.0.1:{demo.space_port}").status_code == 200

    said = demo.until("email-copy is learning, ")
    assert "✗ broken was refused: " in said
    assert "examples.jsonl:1: not JSON" in said
    assert demo.answer("base"), "it answers beside a training, too"
    (niceness,) = set(demo.training())
    assert niceness == min(19, os.nice(0) + 10)
    (refused, learner) = demo.learning()
    assert (refused["persona"], refused["state"]) == ("broken", "refused")
    assert "not JSON" in refused["reason"]
    assert (learner["persona"], learner["title"], learner["state"]) == ("email-copy", "Email copywriter", "learning")

    demo.until("email-copy@")
    assert "email-copy" not in [one["persona"] for one in demo.learning()]
    assert demo.answer("base") != (said_before := demo.answer("email-copy"))
    assert len(demo.family()) >= 5
    demo.process.kill()
    demo.process.wait()
    assert gone(demo), "killed without a chance to clean up, it must leave nothing behind"

    shutil.rmtree(broken)
    shutil.copytree(RECIPES / "stand-up", recipes / "stand-up")
    again = Demo(tmp_path, recipes)
    said = again.until(READY)
    assert re.search(r"Understudy is on after \d+ s: base, email-copy; teaching stand-up\n", said)
    again.until("stand-up is learning\n")
    deadline = time.monotonic() + 60
    while not again.training():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert again.answer("email-copy") == said_before
    assert stopped(again), again.family()
