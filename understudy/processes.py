"""Child processes that never outlive us, and checks of ports."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from understudy.errors import ConfigError

QUIET_OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""Idle OpenMP threads sleep: with two trainers or engines on the same cores, spinning costs a factor of 25."""
BRISK_OPENMP = {"GOMP_SPINCOUNT": "300000"}
"""Idle OpenMP threads spin as long as libgomp lets them by default (its manual, GOMP_SPINCOUNT): faster on idle
cores, much slower on shared ones. With less, a training step waits for threads that have to wake up."""
ENGINE_MODULE = "vllm.entrypoints.openai.api_server"
BUSY = 0.5
"""Busy cores from which on the machine counts as shared."""
CHOSEN_PORTS = range(20_000, 32_000)
"""Below the ports of outgoing connections: 32768 to 60999 on Linux, 49152 to 65535 by RFC 6335."""


def openmp() -> dict[str, str]:
    """Return how OpenMP threads of a training wait: they sleep beside an engine or other work, else they spin."""
    import psutil

    if any(ENGINE_MODULE in (process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])):
        return QUIET_OPENMP
    return QUIET_OPENMP if busy_cores() > BUSY else BRISK_OPENMP


def busy_cores() -> float:
    """Return how many cores of this machine are computing, over a third of a second."""
    import psutil

    times = psutil.cpu_times_percent(0.3)  # without the time that other machines of the host steal
    return (times.user + times.nice + times.system) / 100 * (psutil.cpu_count() or 1)


class Child:
    """A command under `understudy.child_guard`, in its own process group, its output in a log file."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path | None,
        env: Mapping[str, str] | None = None,
        piped: bool = False,
        niceness: int = 0,
    ) -> None:
        """Start `command` with our environment and `env`. Without a log it writes to our own output.

        `piped`: its standard output is for `lines`, and only its errors go to the log.
        `niceness`: added to the priority value of the command and everything it starts (0 to 19).
        """
        self.log = log
        output = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            output = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "understudy.child_guard", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if piped else output,
            stderr=output if piped else subprocess.STDOUT if output else None,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        if output is not None:
            output.close()
        if niceness:
            self._lower_priority(niceness)

    def _lower_priority(self, niceness: int) -> None:
        """Lower the priority of the process group; processes that start in it later inherit it."""
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            os.setpriority(os.PRIO_PGRP, self._process.pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
        # Where Linux groups processes by session for scheduling, niceness alone counts within the session only.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self._process.pid}/autogroup").write_text(str(niceness))

    @property
    def pid(self) -> int:
        """Process id of the guard, which is also the process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self, timeout: float = 15.0) -> None:
        """End the command and every process it started; return when they are gone."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._end_group()

    def _end_group(self) -> None:
        """End what the guard left behind, which is nothing unless the guard itself was killed."""
        with contextlib.suppress(ProcessLookupError):  # the group is empty
            for _ in range(100):  # a process that has ended but is not reaped is still in the group
                os.killpg(self._process.pid, signal.SIGKILL)
                time.sleep(0.02)

    def lines(self) -> Iterator[str]:
        """Yield its standard output, line by line, until it is closed; for a command that was started `piped`."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield line.decode(errors="replace").rstrip("\n")

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the command and return its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout)

    def log_tail(self, lines: int = 12) -> str:
        """Return the last lines of its output, for error messages."""
        if self.log is None or not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def free_port() -> int:
    """Return a port that nobody listens on now and that outgoing connections do not take.

    The system's own choice (port 0) lies in the range of outgoing connections, where one of those, or another program
    that asked likewise, can get it before the program that it was chosen for.

    Raises:
        ConfigError: a hundred ports in a row were taken.
    """
    for _ in range(100):
        port = secrets.choice(CHOSEN_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    ports = f"{CHOSEN_PORTS.start} to {CHOSEN_PORTS.stop - 1}"
    raise ConfigError(f"no port from {ports} is free; close what listens on them", code="port")


def require_port(host: str, port: int, option: str) -> None:
    """Check that `port` is free.

    Raises:
        ConfigError: the port is taken; the message names the port and `option`, which changes it.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            text = f"port {port} on {host} cannot be used ({error.strerror}); choose another with {option}"
            raise ConfigError(text, code="port") from None
