"""When the machine itself stood still: on each core a process that does nothing but sleep notes that it woke late.

On a shared machine a core stops now and then for up to a second, whoever computes. A figure that such a stop fell
into says nothing about us.

python -m bench.serving.stalls [SECONDS [CORE]]
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
        """How long some core stood still within the span."""
        total, last = 0.0, begin
        for since, until in sorted(self.within(begin, end)):  # cores often stop together
            total += max(0.0, min(until, end) - max(since, last))
            last = max(last, until)
        return total


@contextlib.contextmanager
def watch_stalls() -> Iterator[Stalls]:
    """Watches every core until the block ends."""
    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "stalls"
        notes = stack.enter_context(path.open("a"))
        for core in os.sched_getaffinity(0):
            watcher = subprocess.Popen([sys.executable, "-m", "bench.serving.stalls", "86400", str(core)], stdout=notes)
            stack.callback(watcher.wait)
            stack.callback(watcher.kill)
        yield Stalls(path)


def main() -> None:
    """Prints begin and end of each stall, in seconds, until killed or the time is over."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    if len(sys.argv) > 2:
        os.sched_setaffinity(0, {int(sys.argv[2])})
    last = time.perf_counter()
    end = last + float(sys.argv[1] if len(sys.argv) > 1 else 60)
    while last < end:
        time.sleep(SLEEP)
        now = time.perf_counter()
        if now - last - SLEEP > LATE:
            sys.stdout.write(f"{last:.4f} {now:.4f}\n")  # in one piece: each core's process writes to the same file
            sys.stdout.flush()
        last = now


if __name__ == "__main__":
    main()
