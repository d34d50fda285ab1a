"""Child processes end with whoever started them; ports that are taken are named."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from understudy import processes
from understudy.errors import ConfigError
from understudy.processes import BRISK_OPENMP, ENGINE_MODULE, QUIET_OPENMP, Child, free_port, openmp, require_port

FAMILY = """
import os, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), grandchild.pid, flush=True)
time.sleep(600)
"""
"""A process with a child of its own, as vLLM has."""

STUBBORN = (
    "import signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)"
)


def running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def start(program: str, log: Path) -> tuple[Child, list[int]]:
    child = Child([sys.executable, "-c", program], log=log)
    until(lambda: log.exists() and log.read_text().strip())
    return child, [int(word) for word in log.read_text().split() if word.isdigit()]


def test_stopping_ends_the_grandchildren_too(tmp_path: Path) -> None:
    child, family = start(FAMILY, tmp_path / "log")
    assert len(family) == 2
    assert all(map(running, family))
    child.stop()
    assert not any(map(running, family))
    assert child.exit_code is not None


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_of_the_family_is_killed_the_rest_can_still_be_ended(tmp_path: Path, victim: int) -> None:
    child, family = start(FAMILY, tmp_path / "log")
    os.kill(family[victim], signal.SIGKILL)
    if victim == 0:
        until(lambda: child.exit_code is not None)
        assert child.exit_code == 128 + signal.SIGKILL
    child.stop()
    assert not any(map(running, family))


def test_when_the_guard_itself_is_killed_what_it_held_can_still_be_ended(tmp_path: Path) -> None:
    child, family = start(FAMILY, tmp_path / "log")
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: child.exit_code is not None)
    assert all(map(running, family)), "this is what must not stay so"
    child.stop()
    assert not any(map(running, family))


def test_when_the_starter_is_killed_nothing_stays_behind(tmp_path: Path) -> None:
    log = tmp_path / "log"
    starter = (
        "import sys, time; from pathlib import Path; from understudy.processes import Child\n"
        f"Child([sys.executable, '-c', {FAMILY!r}], log=Path({str(log)!r}))\ntime.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", starter])
    until(lambda: log.exists() and len(log.read_text().split()) == 2)
    family = [int(word) for word in log.read_text().split()]
    process.kill()
    process.wait()
    until(lambda: not any(map(running, family)))


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    child, _ = start(STUBBORN, tmp_path / "log")
    child.stop(timeout=0.5)
    assert child.exit_code is not None


def test_the_exit_code_is_passed_on(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "import sys; print('last words'); sys.exit(3)"], log=tmp_path / "log")
    assert child.wait(30) == 3
    assert child.log_tail() == "last words"


def test_a_taken_port_is_named_with_the_option_that_changes_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} on 127\.0\.0\.1 .*choose another with --port"):
            require_port("127.0.0.1", port, "--port")
    require_port("127.0.0.1", free_port(), "--port")


def test_a_chosen_port_is_free_and_never_one_that_an_outgoing_connection_can_get(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if outgoing.exists():
        assert int(outgoing.read_text().split()[0]) >= processes.CHOSEN_PORTS.stop
    with socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        monkeypatch.setattr(processes, "CHOSEN_PORTS", range(port, port + 1))
        with pytest.raises(ConfigError, match=f"no port from {port} to {port} is free"):
            free_port()
    assert free_port() == port


def test_a_training_beside_an_engine_or_a_busy_machine_lets_its_threads_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "process_iter", lambda _: [SimpleNamespace(info={"cmdline": None})])
    for busy, expected in ((0.0, BRISK_OPENMP), (100.0 / (psutil.cpu_count() or 1), QUIET_OPENMP)):
        used = SimpleNamespace(user=busy, nice=0.0, system=0.0, steal=50.0)
        monkeypatch.setattr(psutil, "cpu_times_percent", lambda _, used=used: used)
        assert openmp() == expected
    monkeypatch.undo()
    monkeypatch.setattr(psutil, "cpu_times_percent", lambda _: SimpleNamespace(user=0.0, nice=0.0, system=0.0))
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", ENGINE_MODULE])
    try:
        assert openmp() == QUIET_OPENMP
    finally:
        sleeper.kill()
        sleeper.wait()
