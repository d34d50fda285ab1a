"""When the machine itself stood still: a process that does nothing but sleep notes that it was woken late.

On a shared machine everything stops now and then for up to a second, whoever computes. A figure that such a stop fell
into says nothing about us.

python -m bench.stalls [SECONDS]
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SLEEP = 0.005
LATE = 0.05
"""Seconds too late that count; with a raised priority, other work on all cores makes it less than a tenth of that."""


class Stalls:
    """What the sleeping process has noted so far; times are those of `time.perf_counter`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def within(self, begin: float, end: float) -> list[tuple[float, float]]:
        """Begin and end of each stall that overlaps the span."""
        stalls = [tuple(map(float, line.split())) for line in self._path.read_text().splitlines()]
        return [(since, until) for since, until in stalls if since < end and until > begin]

    def seconds(self, begin: float, end: float) -> float:
        """How long the machine stood still within the span."""
        return sum(min(until, end) - max(since, begin) for since, until in self.within(begin, end))


@contextlib.contextmanager
def watch_stalls() -> Iterator[Stalls]:
    """Watches the machine in a process of its own until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stalls"
        path.touch()
        with path.open("a") as notes:
            watcher = subprocess.Popen([sys.executable, "-m", "bench.stalls", "86400"], stdout=notes)
        try:
            yield Stalls(path)
        finally:
            watcher.kill()
            watcher.wait()


def main() -> None:
    """Prints begin and end of each stall, in seconds, until killed or the time is over."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    last = time.perf_counter()
    end = last + float(sys.argv[1] if len(sys.argv) > 1 else 60)
    while last < end:
        time.sleep(SLEEP)
        now = time.perf_counter()
        if now - last - SLEEP > LATE:
            print(f"{last:.4f} {now:.4f}", flush=True)
        last = now


if __name__ == "__main__":
    main()
