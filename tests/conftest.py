"""Fixtures: a private home for every test, and one running system (vLLM, gateway, Space) for the whole run."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from arena.battles.store import BattleStore
from tests.support.command_line import understudy
from tests.support.fake_gateway import FakeGateway
from tests.support.hub.server import HubServer
from tests.support.system import ON_TINY, System, wait_for
from understudy.config.settings import Settings, load_settings
from understudy.processes import QUIET_OPENMP, Child, free_port
from understudy.registry.database import open_database
from understudy.registry.registry import open_registry
from understudy.workflows.personas import register

for _name, _value in QUIET_OPENMP.items():  # torch reads them when it is imported; engines run beside the tests
    os.environ.setdefault(_name, _value)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a background job: children could not be interrupted
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("here", deadline=None)  # how long an example takes says who else is computing
hypothesis.settings.register_profile("long", deadline=None, max_examples=500)
hypothesis.settings.load_profile("here")

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


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The adapter of one of the tests' recipes, trained once by whichever process of the run asks first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "trained"
    folder.mkdir(exist_ok=True)

    def adapter(recipe: str) -> Path:
        places = {"UNDERSTUDY_HOME": str(folder / "home"), "UNDERSTUDY_RUNS_DIR": str(folder / "runs")}
        with FileLock(folder / f"{recipe}.lock"):
            if not list((folder / "runs" / recipe).glob("*/result.json")):
                done = understudy("train", recipe, env={**ON_TINY, **places})
                assert done.returncode == 0, done.stderr
        (run,) = (folder / "runs" / recipe).iterdir()
        return run / "adapter"

    return adapter


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory, trained: Callable[[str], Path]) -> Iterator[System]:
    """Starts everything for real, publishes two personas, and ends it all after the last test."""
    home = tmp_path_factory.mktemp("system")
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
    running = System(settings, env)
    children = [
        Child([sys.executable, "-m", "understudy", name], log=settings.logs_dir / f"{name}.log", env=env)
        for name in ("serve", "space")
    ]
    try:
        registry = open_registry(settings)
        for recipe in ("email-copy", "stand-up"):  # while the engine starts
            register(settings, registry, recipe, trained(recipe))
        wait_for(f"{settings.gateway}/ready", children[0])
        wait_for(running.space_url, children[1])
        running.cli("publish", "email-copy")
        running.cli("publish", "stand-up")
        yield running
    finally:
        for child in children:
            child.stop()
