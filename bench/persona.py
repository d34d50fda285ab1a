"""From 17 rows to a live persona, verification included: train, verify, publish, first answer.

python -m bench.persona [--recipe email-copy] [--rounds 3]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from bench.figures import save_bars
from bench.gateway import Stage, open_stage
from bench.goals import Goal, judge
from bench.machine import save

PARTS = ("train", "verify", "publish", "first answer", "total")


def main() -> None:
    """Measures, prints one table, writes docs/results/persona.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="email-copy", help="a shipped recipe (email-copy)")
    parser.add_argument("--base", default="smollm2", help="smollm2, a folder or a Hub id (smollm2)")
    parser.add_argument("--rounds", type=int, default=3, help="how often (3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_stage(Path(folder), base=arguments.base) as stage:
        rows = [_round(stage, arguments.recipe) for _ in range(arguments.rounds)]
    medians = {part: statistics.median(row[part] for row in rows) for part in PARTS}
    table = Table("step", "seconds", title=f"From the rows of {arguments.recipe} to a verified, live persona")
    for part, seconds in medians.items():
        table.add_row(part, f"{seconds:.1f}")
    Console().print(table)
    told = {"recipe": arguments.recipe, "base": arguments.base, "rows": rows, "median_seconds": medians}
    print(save("persona", {**told, **judge(goals(medians))}))
    print(save_bars("persona", "From rows to a verified, live persona", {"seconds": medians}, digits=1))


def goals(seconds: dict[str, float]) -> list[Goal]:
    """What 17 rows may take on the default base and two cores, in seconds."""
    return [
        Goal("17 rows to an adapter, imports included, s", seconds["train"], 30, most=True),
        Goal("its verification beside a running engine, s", seconds["verify"], 75, most=True),
        Goal("17 rows to a verified, live persona, s", seconds["total"], 150, most=True),
    ]


def _round(stage: Stage, recipe: str) -> dict[str, Any]:
    for kept in (stage.settings.runs_dir / recipe).glob("rivals-*.json"):
        kept.unlink()  # what the base says is asked anew each time, as it is for somebody's first adapter
    seconds = {part: _command(stage, *command) for part, command in _commands(recipe).items()}
    started = time.perf_counter()
    body = {"model": recipe, "messages": [{"role": "user", "content": "Write about a kite shop."}]}
    httpx.post(f"{stage.url}/v1/chat/completions", json=body, timeout=60).raise_for_status()
    seconds["first answer"] = time.perf_counter() - started
    return {**seconds, "total": sum(seconds.values())}


def _commands(recipe: str) -> dict[str, tuple[str, ...]]:
    return {
        "train": ("train", recipe, "--fresh"),
        "verify": ("verify", recipe),
        "publish": ("publish", recipe),
    }


def _command(stage: Stage, *arguments: str) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "understudy", *arguments]
    done = subprocess.run(command, env={**os.environ, **stage.env}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
