"""Where the time goes before anything answers, and what each process of `understudy demo` weighs.

python -m bench.startup [--rounds 3] [--parts commands imports demo]

Commands: from the start to the end, or to the first optimiser step. Imports: processor seconds and modules of what
each part imports, and the packages that take most of it (python -X importtime, self times added up by package). Demo:
from nothing to live personas with each of its lines as it comes, then memory a process, shared pages counted once.
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

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from bench.figures import save_bars
from bench.machine import save
from bench.training.trainers.run import run
from bench.training.trainers.ways import Command
from understudy.processes import Child, free_port

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
READY = "Ctrl-C ends everything"
TOLD = ("✓", "•", "registered", "Understudy is on")
"""How lines begin that tell what a demo has done."""
LIMIT = 600
"""Seconds after which a demo is given up."""


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


def demo() -> dict[str, Any]:
    """From nothing to live personas: when each line came, and the processes once it is on."""
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "demo.log"
        port, space = free_port(), free_port()
        words = [*PROGRAM, "demo", "--port", str(port), "--space-port", str(space)]
        gateway = f"http://127.0.0.1:{port}"
        doors = {"gateway answers": f"{gateway}/health", "engine ready": f"{gateway}/ready"}
        doors["Space answers"] = f"http://127.0.0.1:{space}"
        child = Child(words, log=log, env=_private(Path(home)))
        try:
            lines = _lines(child, log, doors)
            time.sleep(2)
            return {"lines": lines, "processes": _weights(psutil.Process(child.pid))}
        finally:
            child.stop(60)


def _lines(child: Child, log: Path, doors: dict[str, str]) -> list[tuple[str, float]]:
    """What the demo says about its parts, and the doors that open, with the seconds after which each was there."""
    started, seen, closed = time.monotonic(), 0, dict(doors)
    lines: list[tuple[str, float]] = []
    while True:
        time.sleep(0.1)
        said = log.read_text().replace(str(log.parent), "...")
        now = round(time.monotonic() - started, 1)
        there = [line.strip() for line in said.splitlines() if line.strip().startswith(TOLD)]
        lines += [(line, now) for line in there[seen:]]
        seen = len(there)
        for what in [what for what, url in closed.items() if _opens(url)]:
            del closed[what]
            lines.append((what, now))
        if READY in said and not closed:
            return lines
        if child.exit_code is not None or now > LIMIT:
            raise SystemExit(f"the demo did not come up:\n{child.log_tail()}")


def _opens(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _weights(leash: psutil.Process) -> list[dict[str, Any]]:
    """Memory of every process under the demo."""
    found = []
    for process in [leash, *leash.children(recursive=True)]:
        memory, words = process.memory_full_info(), process.cmdline()
        most = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        if words:
            found.append(
                {
                    "what": _what(words),
                    "mib": round(memory.pss / 2**20, 1),
                    "most_mib": round(int(most[1]) / 1024) if most else None,
                }
            )
    return found


def _what(words: list[str]) -> str:
    """A process by its job."""
    if "understudy.child_guard" in words:
        return "leash of " + _what(words[words.index("understudy.child_guard") + 1 :])
    line = " ".join(words).strip()
    jobs = {
        "api_server": "engine: vLLM's server",
        "VLLM::EngineCore": "engine: vLLM's core",
        "understudy serve": "gateway",
        "understudy space": "Space",
        "understudy demo": "demo",
        "resource_tracker": "engine: resource tracker",
    }
    return next((name for mark, name in jobs.items() if mark in line), line[:40])


def _first_step() -> float:
    with tempfile.TemporaryDirectory() as home:
        words = [*PROGRAM, "train", "stand-up", "--base", "tiny", "--epochs", "1"]
        return run(Command(words, "runs/stand-up/*/adapter", _private(Path(home))), Path(home))[0]["first_step_s"]


def _seconds(*words: str) -> float:
    with tempfile.TemporaryDirectory() as home:
        started = time.monotonic()
        subprocess.run([*PROGRAM, *words], env={**os.environ, **_private(Path(home))}, capture_output=True)
        return time.monotonic() - started


def _private(home: Path) -> dict[str, str]:
    return {"UNDERSTUDY_HOME": str(home / "home"), "UNDERSTUDY_RUNS_DIR": str(home / "runs")}


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
