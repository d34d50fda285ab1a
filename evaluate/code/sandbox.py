"""Runs one untrusted Python program: its own process, limits, no network where the kernel allows it, proof of the end.

**What this protects from**: the accidents and tricks that generated code comes with. Endless loops, memory and
process bombs, floods of output, files left behind, processes left running, and programs that claim to have passed:
`sys.exit(0)`, `os._exit(0)`, printed success messages, a look at the stack, at file descriptors, at /proc. Where the
kernel allows unprivileged namespaces (Linux with CONFIG_USER_NS, which some distributions and most container runtimes
switch off), there is also no network, no other process to be seen or signalled, and nothing but the program's own
small folder can be written to. `ProgramRun.network_cut` and `ProgramRun.writes_confined` say whether that was so.

**What it does not protect from**: it is no security boundary against a determined attacker. The program may read every
file that its user may read; it runs on the same kernel; made-up bytecode can do anything to its own process. Run
untrusted models' code in a container or a virtual machine that holds nothing of value.

**What it cannot tell**: the tests run in the program's own interpreter, as HumanEval and MBPP define it. A program
that answers with objects whose `__eq__` always agrees, or that replaces functions which the tests call, such as
`math.isclose`, or that changes the tests from a thread of its own, makes the tests themselves pass, and passes.
"""

import contextlib
import hmac
import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field

from understudy.errors import ExamplesError

Outcome = Literal["passed", "failed", "error", "timeout", "memory", "syntax"]

LAUNCHER = Path(__file__).with_name("sandbox_launcher.py")
SYNTAX_ERROR = 65
"""The launcher's exit code for a program that does not compile."""
KILLED, OUT_OF_CPU = 128 + signal.SIGKILL, 128 + signal.SIGXCPU
KEPT = 65536
"""Bytes of each pipe's end that are held, so that a traceback is recognised however little of it is wanted."""
GRACE = 10.0
"""Seconds beyond the time limit after which the launcher itself is given up."""


class SandboxLimits(BaseModel):
    """What one program may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=5.0, gt=0, le=3600)
    """Wall-clock time from the program's start. A busy machine makes programs slower: leave room."""
    memory_mib: int = Field(default=1024, ge=64)
    """Address space of each process in MiB; an interpreter alone needs about 40."""
    processes: int = Field(default=16, ge=1)
    """Processes and threads at one time."""
    file_mib: int = Field(default=16, ge=0)
    """Largest file in MiB."""
    folder_mib: int = Field(default=64, ge=1)
    """All files together in MiB (and 4096 files), where the kernel allows namespaces; elsewhere only time limits it."""
    open_files: int = Field(default=64, ge=16)
    """File descriptors of each process."""
    isolate: bool = True
    """Use namespaces where the kernel allows them: no network, no other processes, no writing elsewhere."""
    output_chars: int = Field(default=10_000, ge=0)
    """How much of the end of standard output, and of standard error, is kept."""


class ProgramRun(BaseModel):
    """How one program ended."""

    model_config = ConfigDict(frozen=True)

    outcome: Outcome
    """passed: all parts ran to their end, and this is proved. failed: an assertion did not hold. error: any other
    exception, exit or crash. timeout: too long. memory: too much memory. syntax: the program does not compile."""
    exit_code: int
    """Of the process; 128 + n if signal n ended it."""
    seconds: float
    """Wall-clock time from the program's start to its end."""
    stdout: str
    """The end of it."""
    stderr: str
    """The end of it, with the traceback if there was one."""
    network_cut: bool
    """Whether the program had no network."""
    writes_confined: bool
    """Whether the program could write to its own folder only."""


def run_program(
    program: str, tests: Sequence[str] = (), *, setup: str = "", limits: SandboxLimits | None = None
) -> ProgramRun:
    """Runs `setup`, then `program`, then each of `tests`, in one namespace of one fresh interpreter (`-I -S`).

    The interpreter has an empty folder of its own, an empty environment, no standard input and no site-packages.
    `passed` means that each part ran to its end; without tests, that the program did. Each part is compiled on its
    own, so the program cannot leave a string open around the tests. The module is not named `__main__`.

    Blocks until everything that the program started is gone. Safe to call from several threads.

    Raises:
        ExamplesError: this system has no such limits (not Linux), or the launcher did not report.
    """
    if not sys.platform.startswith("linux"):
        raise ExamplesError(f"running untrusted code needs Linux, found {sys.platform}; use a Linux container")
    limits = limits or SandboxLimits()
    token = secrets.token_hex(32)
    parts = [("setup", setup), ("program", program), *(("tests", test) for test in tests)]
    job = {
        "parts": parts,
        "token": token,
        "seconds": limits.seconds,
        "isolate": limits.isolate,
        "limits": {
            "cpu_seconds": int(limits.seconds) + 2,
            **limits.model_dump(include={"memory_mib", "processes", "file_mib", "folder_mib", "open_files"}),
        },
    }
    folder, started = tempfile.mkdtemp(prefix="understudy-run-"), time.monotonic()
    try:
        report, stdout, stderr = _launch(json.dumps(job).encode(), folder, limits)
        seconds = time.monotonic() - started
    finally:
        _remove(folder)
    lines = report.splitlines()
    if not lines:
        raise ExamplesError(f"the sandbox did not start; it said: {stderr.strip()[-300:] or 'nothing'}")
    before = json.loads(lines[0])
    # A program that ended its launcher (only possible without namespaces) has not passed.
    gone = {"exit_code": KILLED, "timed_out": seconds >= limits.seconds, "seconds": seconds, "proof": ""}
    after = json.loads(lines[1]) if len(lines) > 1 else gone
    proved = hmac.compare_digest(bytes.fromhex(after["proof"]), token.encode())
    return ProgramRun(
        outcome="error" if after is gone and not after["timed_out"] else _outcome(after, proved, stderr),
        exit_code=after["exit_code"],
        seconds=after["seconds"],
        stdout=_end(stdout, limits.output_chars),
        stderr=_end(stderr, limits.output_chars),
        network_cut=before["isolated"],
        writes_confined=before["writes_confined"],
    )


def _remove(folder: str) -> None:
    """Removes what the program left behind: folders nested deeper than Python can follow, or locked ones, too."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
            subprocess.run([*command, "--", folder], capture_output=True, check=False)


def _end(text: str, most: int) -> str:
    return text[max(len(text) - most, 0) :]


def _outcome(report: dict, proved: bool, stderr: str) -> Outcome:
    """Only `passed` needs proof. For the rest we believe the last line of the traceback; none of it is a success."""
    code = report["exit_code"]
    if report["timed_out"] or code == OUT_OF_CPU:
        return "timeout"
    if proved and code == 0:
        return "passed"
    if code == SYNTAX_ERROR:
        return "syntax"
    exception = _exception(stderr)
    if code == KILLED or exception.startswith("MemoryError"):
        return "memory"
    return "failed" if exception.startswith("AssertionError") else "error"


def _exception(stderr: str) -> str:
    """The line that names the exception: the first after the last traceback that is not indented."""
    traceback = stderr.rpartition("Traceback (most recent call last):\n")[2]
    return next((line for line in traceback.splitlines() if line.strip() and not line[0].isspace()), "")


def _launch(job: bytes, folder: str, limits: SandboxLimits) -> tuple[str, ...]:
    """The launcher's report, and the ends of standard output and error."""
    report_end, report_start = os.pipe()
    launcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-u", str(LAUNCHER), str(report_start)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={},
        pass_fds=(report_start,),
        start_new_session=True,
    )
    os.close(report_start)
    with launcher, os.fdopen(report_end, "rb", buffering=0) as report:
        try:
            assert launcher.stdin
            assert launcher.stdout
            assert launcher.stderr
            with contextlib.suppress(BrokenPipeError):  # it says on stderr why it ended
                launcher.stdin.write(job)
                launcher.stdin.close()
            pipes = (report, launcher.stdout, launcher.stderr)
            reports, *output = _read_all(pipes, KEPT, time.monotonic() + limits.seconds + GRACE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)
    return reports, *output


def _read_all(pipes: tuple[IO[bytes], ...], most: int, deadline: float) -> list[str]:
    """The last `most` bytes of each pipe as text, once all are closed or the deadline has passed."""
    ends = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, 65536)
                pipe = key.fileobj
                if not chunk:
                    selector.unregister(pipe)
                ends[pipe] = (ends[pipe] + chunk)[-most:]  # pyright: ignore[reportArgumentType]
    return [ends[pipe].decode("utf-8", "replace") for pipe in pipes]
