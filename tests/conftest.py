"""Fixtures: a private home for every test, and one real stage (vLLM, gateway, Space) for the whole run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest

from arena.battles.store import BattleStore
from tests.support.fake_gateway import FakeGateway
from tests.support.hub.server import HubServer
from understudy.config.settings import PROJECT, Settings, load_settings
from understudy.processes import QUIET_OPENMP, Child, free_port
from understudy.registry.database import open_database

for _name, _value in QUIET_OPENMP.items():  # torch reads them when it is imported; engines run beside the tests
    os.environ.setdefault(_name, _value)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a background job: children could not be interrupted
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("here", deadline=None)  # how long an example takes says who else is computing
hypothesis.settings.load_profile("here")

SHARED = PROJECT.parent / "shared"
"""Third-party material; tests that want it skip when it is not there."""

RECIPES = PROJECT / "tests" / "recipes"
"""Simple recipes that the tiny base can learn; those in PROJECT / "recipes" need a base that knows English."""

ON_TINY = {"UNDERSTUDY_BASE": "tiny", "UNDERSTUDY_RECIPES_DIR": str(RECIPES)}
"""What every test's environment starts from: recipes with a base of their own would use it where the Hub is near."""

os.environ.update(ON_TINY)  # fixtures of a module or of the session start before `_no_settings_from_outside`


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("UNDERSTUDY_") and n != "UNDERSTUDY_ARTIFACTS"]:
        monkeypatch.delenv(name)
    for name, value in ON_TINY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with everything private to the test."""
    return load_settings(home=tmp_path / "home", runs_dir=tmp_path / "runs", recipes_dir=tmp_path / "recipes")


@pytest.fixture
def fake() -> Iterator[FakeGateway]:
    """A gateway that says what it is told to, over real HTTP."""
    gateway = FakeGateway().start()
    yield gateway
    gateway.stop()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A small Hub over real HTTP, with nothing in it."""
    with HubServer() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> BattleStore:
    """Battles and votes in a database of the test's own."""
    return BattleStore(open_database(f"sqlite:///{tmp_path / 'space.db'}"))


@dataclass(frozen=True)
class Stage:
    """The running system: what a newcomer has after `make demo`."""

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


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Starts everything for real, trains and publishes two personas, and ends it all after the last test."""
    home = tmp_path_factory.mktemp("stage")
    env = {
        **ON_TINY,
        "UNDERSTUDY_HOME": str(home / "home"),
        "UNDERSTUDY_RUNS_DIR": str(home / "runs"),
        "UNDERSTUDY_PORT": str(free_port()),
        "UNDERSTUDY_SPACE_PORT": str(free_port()),
    }
    settings = load_settings(
        home=home / "home",
        runs_dir=home / "runs",
        port=int(env["UNDERSTUDY_PORT"]),
        space_port=int(env["UNDERSTUDY_SPACE_PORT"]),
    )
    running = Stage(settings, env)
    children = [
        Child([sys.executable, "-m", "understudy", name], log=settings.logs_dir / f"{name}.log", env=env)
        for name in ("serve", "space")
    ]
    try:
        running.cli("train", "email-copy")  # while the engine starts
        running.cli("train", "stand-up")
        wait_for(f"{settings.gateway}/ready", children[0])
        wait_for(running.space_url, children[1])
        running.cli("publish", "email-copy")
        running.cli("publish", "stand-up")
        yield running
    finally:
        for child in children:
            child.stop()


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
