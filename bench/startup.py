"""Where the time goes before anything answers, and what each process of `understudy demo` weighs.

python -m bench.startup [--rounds 3] [--parts commands imports demo]

Commands: from the start to the end, or to the first optimiser step. Imports: processor seconds and modules of what
each part imports, and the packages that take most of it (python -X importtime, self times added up by package). Demo:
from nothing to a base that answers with each of its lines as it comes, then memory a process, shared pages once.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import save_bars
from bench.machine import save
from bench.startup_demo import demo, private
from bench.training.trainers.run import run
from bench.training.trainers.ways import Command

PROGRAM = (sys.executable, "-m", "understudy")
COMMANDS = {"--help": ["--help"], "personas": ["personas"], "validate": ["validate", "."]}
"""Cheap commands by what they need: nothing, the registry, the checks of an adapter (a folder that is none)."""
PARTS = {
    "command line": "import understudy.cli.app",
    "trainer": "import train.sft",
    "verification": "import evaluate.report_card",
    "gateway": "import serve.app, serve.state",
    "Space": "import space.app",
    "engine (vLLM's server)": "import vllm.entrypoints.openai.api_server",
}
TOP = 10
WIDTH = 150
"""Of the tables, in characters: they are read in logs too."""


def main() -> None:
    """Measures, prints a table each, writes docs/results/startup.json and .svg."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each command and import (3)")
    everything = ("commands", "imports", "demo")
    parser.add_argument("--parts", nargs="+", choices=everything, default=everything)
    arguments = parser.parse_args()
    console, figures = Console(width=WIDTH), {"rounds": arguments.rounds}
    if "commands" in arguments.parts:
        figures["commands"] = commands(arguments.rounds)
        _print(console, "Commands, seconds", ("command", "seconds"), list(figures["commands"].items()))
    if "imports" in arguments.parts:
        figures["imports"] = {name: imports(code, arguments.rounds) for name, code in PARTS.items()}
        _print_imports(console, figures["imports"])
    if "demo" in arguments.parts:
        figures["demo"] = demo()
        _print(console, "Demo, seconds from its start", ("line", "seconds"), figures["demo"]["lines"])
        rows = [(one["what"], one["mib"], one["most_mib"]) for one in figures["demo"]["processes"]]
        _print(console, "Demo, memory in MiB", ("process", "now", "most resident"), rows)
    print(save("startup", figures))
    if "imports" in arguments.parts:
        bars = {name: found["cpu_s"] for name, found in figures["imports"].items()}
        print(save_bars("startup", "What each part imports", {"processor seconds": bars}, digits=1))


def commands(rounds: int) -> dict[str, float]:
    """Median seconds of cheap commands, and of training from its start to the first optimiser step."""
    found = {f"understudy {name}": [_seconds(*words) for _ in range(rounds)] for name, words in COMMANDS.items()}
    found["understudy train stand-up, first optimiser step"] = [_first_step() for _ in range(rounds)]
    return {name: round(statistics.median(times), 2) for name, times in found.items()}


def imports(code: str, rounds: int) -> dict[str, Any]:
    """Processor and wall seconds, modules, MiB, and the packages that take most, of importing what `code` does."""
    asked = "import re, sys, time; w = time.monotonic(); t = time.process_time()\n"
    told = (
        "\nprint(time.process_time() - t, time.monotonic() - w, len(sys.modules), "
        "int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024)"
    )
    runs = []
    for _ in range(rounds):
        done = _python("-W", "ignore", "-c", asked + code + told)
        runs.append([float(word) for word in done.stdout.splitlines()[-1].split()])
    cpu, wall, modules, memory = (statistics.median(column) for column in zip(*runs, strict=True))
    return {
        "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2),
        "modules": int(modules),
        "mib": round(memory),
        "packages_s": packages(_python("-W", "ignore", "-X", "importtime", "-c", code).stderr),
    }


def packages(importtime: str) -> dict[str, float]:
    """Self times in seconds by package, the greatest first, of what `python -X importtime` writes."""
    times: Counter[str] = Counter()
    for microseconds, module in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", importtime, re.MULTILINE):
        times[module.split(".")[0]] += int(microseconds)
    return {package: round(microseconds / 1e6, 3) for package, microseconds in times.most_common(TOP)}


def _first_step() -> float:
    with tempfile.TemporaryDirectory() as home:
        words = [*PROGRAM, "train", "stand-up", "--base", "tiny", "--epochs", "1"]
        return run(Command(words, "runs/stand-up/*/adapter", private(Path(home))), Path(home))[0]["first_step_s"]


def _seconds(*words: str) -> float:
    with tempfile.TemporaryDirectory() as home:
        started = time.monotonic()
        subprocess.run([*PROGRAM, *words], env={**os.environ, **private(Path(home))}, capture_output=True)
        return time.monotonic() - started


def _python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)


def _print(console: Console, title: str, columns: tuple[str, ...], rows: list[Any]) -> None:
    table = Table(*columns, title=title)
    for name, *values in rows:
        table.add_row(str(name), *("-" if value is None else f"{value:,.1f}" for value in values))
    console.print(table)


def _print_imports(console: Console, found: dict[str, dict[str, Any]]) -> None:
    table = Table("part", "cpu s", "wall s", "modules", "MiB", f"its {TOP} slowest packages, s", title="Imports")
    for name, one in found.items():
        slow = ", ".join(f"{package} {seconds:.2f}" for package, seconds in one["packages_s"].items())
        table.add_row(name, f"{one['cpu_s']:.2f}", f"{one['wall_s']:.2f}", str(one["modules"]), str(one["mib"]), slow)
    console.print(table)


if __name__ == "__main__":
    main()
