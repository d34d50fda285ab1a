"""Runs a command so that it and all its descendants end when the caller does, however the caller dies.

    python -m understudy.child_guard COMMAND [ARGUMENT ...]

The caller keeps our standard input open. When it closes (the caller stopped us, crashed, or was killed), or
when we are told to stop, the command gets SIGTERM, some seconds of grace, and then its whole process group
SIGKILL. vLLM needs this: its API server, killed, leaves two processes with all the memory behind.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""


def main(command: list[str]) -> int:
    """Runs `command` in our process group and returns its exit code (128 + n for signal n)."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    stopping = threading.Event()

    def stop(*_: object) -> None:
        if not stopping.is_set():
            stopping.set()
            child.terminate()
            timer = threading.Timer(GRACE, _kill_group)
            timer.daemon = True
            timer.start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=lambda: (_until_closed(0), stop()), daemon=True).start()
    code = child.wait()
    _end_remaining()
    return code if code >= 0 else 128 - code


def _until_closed(descriptor: int) -> None:
    """Returns at end of file. Unbuffered: a buffered read would hold a lock that interpreter exit needs."""
    while os.read(descriptor, 1024):
        continue


def _end_remaining() -> None:
    """End what the command left in our group, without ending ourselves."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    for pid in _others_in_group():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _others_in_group() -> list[int]:
    """Process ids of our group, without our own (Linux: field 5 of /proc/<pid>/stat is the group)."""
    group, found = os.getpgrp(), []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and int(stat.parent.name) != os.getpid():
            found.append(int(stat.parent.name))
    return found


def _kill_group() -> None:
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
