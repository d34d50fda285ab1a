"""The running system of a test: gateway, engine and page; where test material is."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from understudy.config.settings import PROJECT, Settings
from understudy.processes import Child

SHARED = PROJECT.parent / "shared"
"""Third-party material; tests that want it skip when it is not there."""

RECIPES = PROJECT / "tests" / "recipes"
"""Simple recipes that the tiny base can learn; those in PROJECT / "recipes" need a base that knows English."""

ON_TINY = {"UNDERSTUDY_BASE": "tiny", "UNDERSTUDY_RECIPES_DIR": str(RECIPES)}
"""What every test's environment starts from: recipes with a base of their own would use it where the Hub is near."""

CHAT = {"model": "email-copy", "messages": [{"role": "user", "content": "Write about a kite."}]}


@dataclass(frozen=True)
class System:
    """The running system: what a user has after `make demo`."""

    settings: Settings
    env: dict[str, str]

    @property
    def gateway_url(self) -> str:
        return self.settings.gateway

    @property
    def space_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.space_port}"

    @property
    def admin_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.settings.admin_secret}"}

    def status(self) -> dict[str, Any]:
        """GET /admin/status."""
        return httpx.get(f"{self.gateway_url}/admin/status", headers=self.admin_headers, timeout=60).json()

    def metrics(self) -> str:
        """What Prometheus reads."""
        return httpx.get(f"{self.gateway_url}/metrics", headers=self.admin_headers, timeout=60).text

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs `understudy ...` as a person would."""
        command = [sys.executable, "-m", "understudy", *arguments]
        done = subprocess.run(command, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=240)
        if check and done.returncode:
            raise AssertionError(f"understudy {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
        return done


def wait_for(url: str, child: Child, timeout: float = 240) -> None:
    """Returns when `url` answers 200; fails with the child's last words when it does not."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        assert child.exit_code is None, f"ended with {child.exit_code}:\n{child.log_tail(40)}"
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"{url} did not answer within {timeout} s:\n{child.log_tail(40)}")


def engine_processes(system: System) -> list[int]:
    """The processes of this system's vLLM, its guard first: all that are in the guard's process group."""
    mark = f"UNDERSTUDY_HOME={system.settings.home}".encode()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            ours = b"understudy.child_guard" in command and b"api_server" in command
            if ours and mark in (path / "environ").read_bytes():
                guard = int(path.name)
                return sorted(p.pid for p in psutil.process_iter() if _group(p.pid) == guard)
        except OSError:
            continue
    return []


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
