"""`understudy demo` from nothing to its open doors: when each line came, and what each of its processes weighs."""

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from understudy.processes import Child, free_port

READY = "Ctrl-C ends everything"
TOLD = ("✓", "•", "registered", "Understudy is on")
"""How lines begin that tell what a demo has done."""
LIMIT = 600
"""Seconds after which a demo is given up."""


def demo() -> dict[str, Any]:
    """From nothing to open doors: when each line came, and the processes once it is on."""
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "demo.log"
        port, space = free_port(), free_port()
        words = [sys.executable, "-m", "understudy", "demo", "--port", str(port), "--space-port", str(space)]
        gateway = f"http://127.0.0.1:{port}"
        doors = {"gateway answers": f"{gateway}/health", "engine ready": f"{gateway}/ready"}
        doors["Space answers"] = f"http://127.0.0.1:{space}"
        child = Child(words, log=log, env=private(Path(home)))
        try:
            lines = _lines(child, log, doors)
            time.sleep(2)
            return {"lines": lines, "processes": _weights(psutil.Process(child.pid))}
        finally:
            child.stop(60)


def _lines(child: Child, log: Path, doors: dict[str, str]) -> list[tuple[str, float]]:
    """What the demo says about its parts, and the doors that open, with the seconds after which each was there."""
    started, seen, closed = time.monotonic(), 0, dict(doors)
    lines: list[tuple[str, float]] = []
    while True:
        time.sleep(0.1)
        said = log.read_text().replace(str(log.parent), "...")
        now = round(time.monotonic() - started, 1)
        there = [line.strip() for line in said.splitlines() if line.strip().startswith(TOLD)]
        lines += [(line, now) for line in there[seen:]]
        seen = len(there)
        for what in [what for what, url in closed.items() if _opens(url)]:
            del closed[what]
            lines.append((what, now))
        if READY in said and not closed:
            return lines
        if child.exit_code is not None or now > LIMIT:
            raise SystemExit(f"the demo did not come up:\n{child.log_tail()}")


def _opens(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _weights(guard: psutil.Process) -> list[dict[str, Any]]:
    """Memory of every process under the demo."""
    found = []
    for process in [guard, *guard.children(recursive=True)]:
        memory, words = process.memory_full_info(), process.cmdline()
        most = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        if words:
            found.append(
                {
                    "what": _what(words),
                    "mib": round(memory.pss / 2**20, 1),
                    "most_mib": round(int(most[1]) / 1024) if most else None,
                }
            )
    return found


def _what(words: list[str]) -> str:
    """A process by its job."""
    if "understudy.child_guard" in words:
        return "guard of " + _what(words[words.index("understudy.child_guard") + 1 :])
    line = " ".join(words).strip()
    jobs = {
        "api_server": "engine: vLLM's server",
        "VLLM::EngineCore": "engine: vLLM's core",
        "understudy serve": "gateway",
        "understudy space": "Space",
        "understudy demo": "demo",
        "understudy train": "training",
        "resource_tracker": "engine: resource tracker",
    }
    return next((name for mark, name in jobs.items() if mark in line), Path(words[0]).name)


def private(home: Path) -> dict[str, str]:
    """A state and runs of its own."""
    return {"UNDERSTUDY_HOME": str(home / "home"), "UNDERSTUDY_RUNS_DIR": str(home / "runs")}
