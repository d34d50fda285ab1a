"""Our trainer against TRL's command, TRL tuned by hand and LLaMA-Factory: same base, rows, settings; one judge.

python -m bench.training.train [--rounds 3] [--epochs 3] [--cases "LoRA, bf16" "QLoRA, bf16"]

Each runs as people run it, a command that ends with an adapter on disk, in turn with the others. Tokens are counted
without padding, between the first and the last optimiser step. Times are from the start of the command; memory is
that of all its processes. The held-out loss of every product is taken by one judge, so that nobody is faster by
learning less, and our gateway's static check says whether the product could be published as it is.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import save_bars
from bench.machine import save
from bench.training.trainers.environment import REQUIREMENTS, PeerError
from bench.training.trainers.run import Found, run
from bench.training.trainers.ways import BATCH, CASES, ONLY_FIRST, TUNED, WAYS, common, write_rows
from understudy.config.settings import load_settings
from understudy.processes import QUIET_OPENMP

WIDTH = 150
"""Of the table, in characters: it is read in logs too."""

Pair = tuple[str, str]
"""A case and a way."""


def main() -> None:
    """Measures, prints one table, writes docs/results/train.json and .svg."""
    arguments = _arguments()
    console = Console(width=WIDTH)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder, load_settings().recipes_dir)
        runs, why = _all_runs(folder, arguments, console)
        judged = _judged(folder, runs)
    seen = judged["tokens"] * arguments.epochs
    shown = [_row(pair, runs, why.get(pair), judged, seen) for pair in _pairs(arguments.cases)]
    _print(console, shown, judged["base"])
    figures = {
        "rounds": arguments.rounds,
        "epochs": arguments.epochs,
        "rows_trained": judged["rows"],
        "tokens": judged["tokens"],
    }
    figures |= {"batch": BATCH, "openmp_sleeps": arguments.quiet_openmp, "base_heldout_loss": judged["base"]}
    print(save("train", {**figures, "peers": _peer_versions(), "rows": shown}))
    print(_figure(shown, arguments.cases[0]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn (3)")
    parser.add_argument("--epochs", type=int, default=3, help="passes over the rows (3)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="of these (all)")
    parser.add_argument("--quiet-openmp", action="store_true", help="the others' idle threads sleep too, as ours do")
    return parser.parse_args()


def _pairs(cases: list[str]) -> list[Pair]:
    return [(case, way) for case in cases for way in WAYS if way != ONLY_FIRST or case == cases[0]]


def _all_runs(
    folder: Path, arguments: argparse.Namespace, console: Console
) -> tuple[dict[Pair, list[Found]], dict[Pair, str]]:
    """What each run measured, and why a pair did not run. Products stay in `folder`."""
    runs: dict[Pair, list[Found]] = {}
    why: dict[Pair, str] = {}
    for turn in range(arguments.rounds):
        for number, (case, way) in enumerate(_pairs(arguments.cases)):
            if (case, way) in why:
                continue
            place = folder / f"{turn}-{number}"
            place.mkdir()
            console.print(f"{case}: {way}", style="dim")
            try:
                command = WAYS[way](place, folder, common(case, arguments.epochs))
                found, product = run(command, place, quiet=arguments.quiet_openmp)
            except PeerError as error:
                why[case, way] = str(error)
                continue
            runs.setdefault((case, way), []).append(found)
            (folder / "products.jsonl").open("a").write(json.dumps([case, way, turn, str(product)]) + "\n")
    return runs, why


def _judged(folder: Path, runs: dict[Pair, list[Found]]) -> dict[str, Any]:
    """What the judge says of the rows, of the base, and of every product: `found` by "case|way|round"."""
    if not runs:
        raise SystemExit("no trainer ran")
    made = [json.loads(line) for line in (folder / "products.jsonl").read_text().splitlines()]
    products = {f"{case}|{way}|{turn}": product for case, way, turn, product in made}
    job = folder / "judge.json"
    files = {name: str(folder / "voice" / f"{name}.jsonl") for name in ("examples", "heldout")}
    job.write_text(json.dumps({**files, "products": products}))
    command = [sys.executable, "-m", "bench.training.trainers.judge", str(job)]
    done = subprocess.run(command, env={**os.environ, **QUIET_OPENMP}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the judge failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _row(
    pair: Pair, measured: dict[Pair, list[Found]], reason: str | None, judged: dict[str, Any], tokens: int
) -> dict[str, Any]:
    """The medians of a pair, or the reason why it has none. `tokens`: of all epochs."""
    (case, way), runs = pair, measured.get(pair, [])
    if reason or not runs:
        return {"case": case, "way": way, "reason": reason or "not run"}
    speeds, tuned = ([_speed(run, tokens) for run in measured.get((case, w), [])] for w in (way, TUNED))
    verdicts = [judged["found"][f"{case}|{way}|{turn}"] for turn in range(len(runs))]
    return {
        "case": case,
        "way": way,
        "tokens_per_second": _median(speeds),
        "of_tuned": of_tuned(speeds, tuned),
        "peak_memory_mib": _median([run["peak_memory_mib"] for run in runs]),
        "first_step_s": _median([run["first_step_s"] for run in runs]),
        "to_adapter_s": _median([run["seconds"] for run in runs]),
        "steps": int(runs[0]["steps"]),
        "heldout_loss": _median([verdict["heldout_loss"] for verdict in verdicts]),
        "problems": verdicts[0]["problems"],
    }


def of_tuned(speeds: Sequence[float], tuned: Sequence[float]) -> float | None:
    """The median of the ratios round by round: a machine that slows down for minutes slows both down."""
    return _median([one / other for one, other in zip(speeds, tuned, strict=False)]) if speeds and tuned else None


def _speed(run: Found, tokens: int) -> float:
    """Tokens of all steps but the first over their time."""
    return tokens * (run["steps"] - 1) / run["steps"] / run["stepping_s"]


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 3)


def _print(console: Console, rows: list[dict[str, Any]], base_loss: float) -> None:
    table = Table(title=f"Training; the base's held-out loss is {base_loss:.3f}")
    for name in ("", "trainer", "tokens/s", "of tuned", "peak MiB", "first step s", "adapter s", "held-out loss", "?"):
        table.add_column(name, justify="left" if name in ("", "trainer", "?") else "right")
    for row in rows:
        if "reason" in row:
            table.add_row(row["case"], row["way"], *("-" for _ in range(6)), row["reason"])
            continue
        table.add_row(
            row["case"],
            row["way"],
            f"{row['tokens_per_second']:,.0f}",
            f"{row['of_tuned']:.2f}" if row["of_tuned"] else "-",
            f"{row['peak_memory_mib']:,.0f}",
            f"{row['first_step_s']:.1f}",
            f"{row['to_adapter_s']:.1f}",
            f"{row['heldout_loss']:.3f}",
            "; ".join(row["problems"]) or "loadable",
        )
    console.print(table)


def _figure(rows: list[dict[str, Any]], case: str) -> Path:
    """The first case: what a newcomer waits for, and what it takes."""
    panels = {
        "from the command to an adapter on disk, seconds": "to_adapter_s",
        "from the command to the first optimiser step, seconds": "first_step_s",
        "tokens a second": "tokens_per_second",
        "most memory, MiB": "peak_memory_mib",
    }
    of_case = [row for row in rows if row["case"] == case]
    bars = {title: {row["way"]: row.get(key) for row in of_case} for title, key in panels.items()}
    return save_bars("train", f"Training a voice ({case})", bars)


def _peer_versions() -> dict[str, str]:
    """What LLaMA-Factory's environment pins; the other trainers run in ours."""
    pins = dict(line.split("==") for line in REQUIREMENTS.read_text().split())
    return {name: pins[name] for name in ("llamafactory", "torch", "transformers", "peft", "trl", "bitsandbytes")}


if __name__ == "__main__":
    main()
