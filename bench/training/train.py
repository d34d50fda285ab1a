"""Our trainer against TRL tuned by hand, TRL's command and LLaMA-Factory: same base, rows, settings; one judge.

python -m bench.training.train [--rounds 2] [--cases "17 rows, LoRA" "200 rows, QLoRA" ...] [--ways ...]

Each runs as people run it, a command that ends with an adapter on disk. Ours and the tuned one take turns for all
rounds, the others run in the first one; cases with 200 rows end after six steps. Tokens are counted without padding,
between the first and the last optimiser step. Times are from the start of the command; memory is that of all its
processes. The held-out loss of each product of the first round is taken by one judge, so that nobody is faster by
learning less, and our gateway's static check says whether it could be published as it is.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.goals import judge as judge_goals
from bench.machine import save
from bench.training.train_tables import draw, goals, show
from bench.training.trainers.environment import REQUIREMENTS, PeerError
from bench.training.trainers.rows import ROWS, rows_of, write_rows
from bench.training.trainers.run import Found, run
from bench.training.trainers.ways import ASKED, CASES, OURS, TUNED, WAYS, Job, settings_of, tokens_of
from understudy.bases import Base, resolve_base
from understudy.config.settings import load_settings
from understudy.processes import QUIET_OPENMP

Pair = tuple[str, str]
"""A case and a way."""


def main() -> None:
    """Measures, prints the table and the goals, writes docs/results/train.json and .svg."""
    arguments = _arguments()
    console, began = Console(width=150), time.monotonic()
    base = resolve_base(arguments.base)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in {CASES[case]["rows"] for case in arguments.cases}:
            write_rows(folder / rows, *rows_of(rows, load_settings().recipes_dir))
        runs, why, products = _all_runs(folder, base, arguments, console)
        judged = _judged(folder, base, products)
    shown = [_row(pair, runs, why.get(pair), judged) for pair in _pairs(arguments)]
    show(console, shown)
    told = {"base": arguments.base, "rounds": arguments.rounds, "sets": judged["sets"]}
    told |= {"settings": {case: settings_of(case) for case in arguments.cases}, "openmp_sleeps": arguments.quiet_openmp}
    told |= {"minutes": round((time.monotonic() - began) / 60, 1), **judge_goals(goals(shown))}
    print(save("train", {**told, "peers": _peer_versions(), "rows": shown}))
    print(draw(shown, arguments.cases[0]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2", help="a known base or a folder (smollm2)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of ours and of TRL tuned by hand, in turn (2)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="of these (all)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="of these (all)")
    parser.add_argument("--quiet-openmp", action="store_true", help="the others' idle threads sleep too, as ours do")
    return parser.parse_args()


def _pairs(arguments: argparse.Namespace) -> list[Pair]:
    return [(case, way) for case in arguments.cases for way in arguments.ways if case in ASKED.get(way, CASES)]


def _all_runs(
    folder: Path, base: Base, arguments: argparse.Namespace, console: Console
) -> tuple[dict[Pair, list[Found]], dict[Pair, str], dict[Pair, Path]]:
    """What each run measured, why a pair did not run, and the products of the first round, which stay in `folder`."""
    runs: dict[Pair, list[Found]] = {}
    why: dict[Pair, str] = {}
    products: dict[Pair, Path] = {}
    for turn in range(arguments.rounds):
        for number, (case, way) in enumerate(_pairs(arguments)):
            if (case, way) in why or (turn and way not in (OURS, TUNED)):
                continue
            place = folder / f"{turn}-{number}"
            place.mkdir()
            try:
                job = Job(base, folder / CASES[case]["rows"], place, settings_of(case))
                found, product = run(WAYS[way](job), place, quiet=arguments.quiet_openmp)
            except PeerError as error:
                why[case, way] = str(error)
                continue
            finally:
                console.print(f"round {turn + 1}, {case}: {way}", style="dim")
            runs.setdefault((case, way), []).append(found)
            products.setdefault((case, way), product)
    return runs, why, products


def _judged(folder: Path, base: Base, products: dict[Pair, Path]) -> dict[str, Any]:
    """What the judge says of the sets of rows, of the base, and of each product: `found` by "case|way"."""
    if not products:
        raise SystemExit("no trainer ran")
    job = folder / "judge.json"
    told = {
        "base": base.name,
        "sets": {name: str(folder / name / "voice") for name in ROWS if (folder / name).is_dir()},
        "products": {
            f"{case}|{way}": {"rows": CASES[case]["rows"], "folder": str(product)}
            for (case, way), product in products.items()
        },
    }
    job.write_text(json.dumps(told))
    command = [sys.executable, "-m", "bench.training.trainers.judge", str(job)]
    done = subprocess.run(command, env={**os.environ, **QUIET_OPENMP}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the judge failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _row(pair: Pair, measured: dict[Pair, list[Found]], reason: str | None, judged: dict[str, Any]) -> dict[str, Any]:
    """The medians of a pair, or the reason why it has none."""
    (case, way), runs = pair, measured.get(pair, [])
    if reason or not runs:
        return {"case": case, "way": way, "reason": reason or "not run"}
    learnt = judged["sets"][CASES[case]["rows"]]
    tokens = tokens_of(case, learnt["rows"], learnt["tokens"], runs[0]["steps"])
    speeds, tuned = ([speed(run, tokens) for run in measured.get((case, w), [])] for w in (way, TUNED))
    ratios = of_tuned(speeds, tuned)
    found = judged["found"][f"{case}|{way}"]
    return {
        "case": case,
        "way": way,
        "rounds": len(runs),
        "tokens_per_second": _median(speeds),
        "of_tuned": _median(ratios) if ratios else None,
        "of_tuned_least": round(min(ratios), 3) if ratios else None,
        "peak_memory_mib": _median([run["peak_memory_mib"] for run in runs]),
        "first_step_s": _median([run["first_step_s"] for run in runs]),
        "to_adapter_s": _median([run["seconds"] for run in runs]),
        "steps": int(runs[0]["steps"]),
        "heldout_loss": round(found["heldout_loss"], 3),
        "problems": found["problems"],
    }


def of_tuned(speeds: Sequence[float], tuned: Sequence[float]) -> list[float]:
    """The ratios round by round: a machine that slows down for minutes slows both down."""
    return [one / other for one, other in zip(speeds, tuned, strict=False)]


def speed(run: Found, tokens: float) -> float:
    """Tokens of all steps but the first over their time; `tokens` are those of all steps."""
    return tokens * (run["steps"] - 1) / run["steps"] / run["stepping_s"]


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)


def _peer_versions() -> dict[str, str]:
    """What LLaMA-Factory's environment pins; the other trainers run in ours."""
    pins = dict(line.split("==") for line in REQUIREMENTS.read_text().split())
    return {name: pins[name] for name in ("llamafactory", "torch", "transformers", "peft", "trl", "bitsandbytes")}


if __name__ == "__main__":
    main()
