"""Every bench of docs/performance.md one after the other, then the page; alone on two idle cores.

python -m bench.all [--list] [--more] [NAME ...]

The minutes are those of slow, shared machines; what each takes is printed. With --more those that are not on the
page and are linked from other pages. A bench that fails is told at the end, and the exit code is 1.
"""

import argparse
import subprocess
import sys
import time

BENCHES = {
    "first_run": 8.0,
    "startup": 2.5,
    "persona": 17.0,
    "serving.evaluation": 13.0,
    "serving.gateway": 7.0,
    "serving.peers_serving": 30.0,
    "serving.swap": 12.0,
    "serving.cpu_lora": 1.0,
    "training.train": 30.0,
    "arena.scale": 9.0,
    "arena.ranking": 3.7,
    "space.first_paint": 0.5,
    "page": 0.1,
}
"""Minutes by module, on two cores of slow, shared machines; peers_serving and swap are estimates."""

MORE = {"space.first_token": 2.0, "serving.slots": 4.0, "serving.publishes": 9.0}


def main() -> None:
    """Runs them, or lists them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="these instead of all")
    parser.add_argument("--list", action="store_true", help="only say how long each takes")
    parser.add_argument("--more", action="store_true", help="those that are not on the page")
    arguments = parser.parse_args()
    every = {**BENCHES, **MORE}
    unknown = [name for name in arguments.names if name not in every]
    if unknown:
        parser.error(f"no such bench: {', '.join(unknown)}; there are {', '.join(every)}")
    chosen = {name: every[name] for name in arguments.names} or (MORE if arguments.more else BENCHES)
    for name, minutes in chosen.items():
        print(f"{minutes:5.1f} min  python -m bench.{name}")
    print(f"{sum(chosen.values()):5.1f} min  in all, estimated", flush=True)
    failed = [] if arguments.list else [name for name in chosen if not _run(name)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _run(name: str) -> bool:
    began = time.monotonic()
    print(f"== bench.{name}", flush=True)
    code = subprocess.run([sys.executable, "-m", f"bench.{name}"]).returncode
    print(f"== bench.{name}: {(time.monotonic() - began) / 60:.1f} min, exit code {code}", flush=True)
    return code == 0


if __name__ == "__main__":
    main()
