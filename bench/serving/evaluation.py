"""Do people wait longer for their first token while an adapter is evaluated on the same engine?

python -m bench.serving.evaluation [email-copy] [--seconds 60]

Trains the recipe, publishes it, and asks it every few seconds: alone, then while `understudy verify --engine gateway`
runs. Prints medians and their ratio, and how long the evaluation took.
"""

import argparse
import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.gateway import Stage, open_stage, train
from bench.goals import Goal, judge
from bench.machine import save
from understudy.config.recipe import load_recipe
from understudy.config.settings import PROJECT

PAUSE = (1.0, 4.0)
"""Seconds between two questions, evenly drawn: nobody comes in step with the engine."""


def main() -> None:
    """Measures, prints, writes docs/results/evaluation.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="email-copy")
    parser.add_argument("--base", default="smollm2")
    parser.add_argument("--seconds", type=float, default=60, help="of asking alone (60)")
    arguments = parser.parse_args()
    prompts = load_recipe(arguments.recipe, PROJECT / "recipes").prompts
    with tempfile.TemporaryDirectory() as home:
        train(arguments.recipe, Path(home), arguments.base)
        with open_stage(Path(home), base=arguments.base) as stage:
            stage.admin("publish", persona=arguments.recipe)
            _first_tokens(stage, arguments.recipe, prompts, 10)
            alone = _first_tokens(stage, arguments.recipe, prompts, arguments.seconds)
            started = time.perf_counter()
            verify = _verify(stage, arguments.recipe)
            beside = _first_tokens(stage, arguments.recipe, prompts, math.inf, verify)
            code = verify.wait()
            took = time.perf_counter() - started
    found: dict[str, Any] = {
        "alone": _figures(alone),
        "beside": _figures(beside),
        "ratio": round(statistics.median(beside) / statistics.median(alone), 2),
        "verify_seconds": round(took, 1),
        "verify_exit_code": code,
    }
    print(json.dumps(found, indent=1))
    slower = Goal("first token beside an evaluation, of that without", found["ratio"], 1.3, most=True)
    print(save("evaluation", {"recipe": arguments.recipe, "base": arguments.base, **found, **judge([slower])}))


def _verify(stage: Stage, recipe: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "understudy", "verify", recipe, "--engine", "gateway", "--json"]
    return subprocess.Popen(command, env={**os.environ, **stage.env}, stdout=subprocess.DEVNULL)


def _first_tokens(
    stage: Stage, model: str, prompts: list[str], seconds: float, beside: subprocess.Popen[bytes] | None = None
) -> list[float]:
    """Milliseconds to the first token of one question after the other, for `seconds` or until `beside` has ended."""
    chance, found, until = random.Random(0), [], time.perf_counter() + seconds
    for prompt in itertools.cycle(prompts):
        if time.perf_counter() > until or (beside is not None and beside.poll() is not None):
            return found
        time.sleep(chance.uniform(*PAUSE))
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 24, "stream": True}
        started = time.perf_counter()
        with httpx.stream("POST", f"{stage.url}/v1/chat/completions", json=body, timeout=120) as answer:
            for line in answer.iter_lines():
                if '"content":"' in line and '"content":""' not in line:
                    found.append(1000 * (time.perf_counter() - started))
                    break
    return found


def _figures(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "questions": len(values),
        "first_token_ms_p50": round(statistics.median(ordered), 1),
        "first_token_ms_p90": round(ordered[int(0.9 * (len(ordered) - 1))], 1),
    }


if __name__ == "__main__":
    main()
