"""What a GPU does with an 8B base and a hundred adapters: see bench/gpu.sh, which starts this.

A part that fails is told and left out; the others are measured all the same.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.goals import Goal, judge
from bench.gpu.plan import Plan, on_gpu, rehearsal
from bench.gpu.serving import few_slots, serve
from bench.gpu.training import learn
from bench.gpu.wheels import require
from bench.machine import save
from understudy.bases import Base, resolve_base

PARTS = ("serving", "few slots", "training")


def main() -> None:
    """Measures, prints the goals, writes gpu.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="a little of everything on a CPU, smollm2's shape")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="these alone")
    arguments = parser.parse_args()
    rehearses = arguments.rehearse
    plan = rehearsal() if rehearses else on_gpu()
    require(plan.variant)
    found: dict[str, Any] = {"rehearsal": rehearses, "gpu": None if rehearses else card(), "shape": plan.shape}
    minutes: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        base = _part("base", minutes, found, lambda: _base(plan, home))
        if base is None:
            raise SystemExit("gpu: without a base there is nothing to measure")
        work = {
            "serving": lambda: serve(plan, base, home),
            "few slots": lambda: few_slots(base, home),
            "training": lambda: learn(plan, base, home),
        }
        for name in PARTS:
            found[name] = _part(name, minutes, found, work[name]) if name in arguments.parts else None
    goals: list[Goal] = []
    for part in ("serving", "training"):
        goals += (found[part] or {}).pop("goals", [])
    found["mib_per_slot"] = per_slot(found)
    found["minutes"] = minutes
    print(save("gpu", {**found, **judge(goals)}))
    print(f"gpu: {sum(minutes.values()):.1f} minutes: " + ", ".join(f"{k} {v:.1f}" for k, v in minutes.items()))


def _base(plan: Plan, home: Path) -> Base:
    """The random base, made by a process of its own, which leaves nothing in the GPU's memory."""
    shape = home / "shape.json"
    shape.write_text(json.dumps(plan.shape))
    command = [sys.executable, "-m", "bench.gpu.base", str(home / "base"), str(shape), plan.device]
    subprocess.run(command, check=True)
    return resolve_base(str(home / "base"))


def card() -> str:
    """Name, memory and driver of the GPU. Raises SystemExit where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"gpu: no NVIDIA GPU answers ({error}); --rehearse needs none") from None


def per_slot(found: dict[str, Any]) -> float | None:
    """MiB of one slot, from two engines with different numbers of them."""
    if not found["serving"] or not found["few slots"]:
        return None
    many, few = found["serving"]["many"], found["few slots"]
    return round((many["mib"] - few["mib"]) / (many["slots"] - few["slots"]), 2)


def _part(name: str, minutes: dict[str, float], found: dict[str, Any], work: Callable[[], Any]) -> Any:
    """What a part found, or None where it failed, which is told and kept."""
    began = time.monotonic()
    print(f"gpu: {name}", flush=True)
    try:
        return work()
    except (Exception, SystemExit) as error:
        print(f"gpu: {name} failed: {error}", flush=True)
        found.setdefault("failed", {})[name] = f"{type(error).__name__}: {error}"[:2000]
        return None
    finally:
        minutes[name] = round((time.monotonic() - began) / 60, 2)


if __name__ == "__main__":
    main()
