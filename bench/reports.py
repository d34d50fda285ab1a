"""Every shipped recipe on the default base: trained, verified, and its report kept under docs/results/reports/.

python -m bench.reports [RECIPE ...]

`sft-report` is trained twice, as an adapter and as a full fine-tune, and both stand in one report.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.machine import RESULTS, save
from understudy.recipes import recipe_names
from understudy.settings import load_settings

FULL = ("--method", "full")


def main() -> None:
    """Makes the reports, prints one table, writes docs/results/reports.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="recipes (all)")
    wanted = parser.parse_args().recipes or recipe_names(load_settings().recipes_dir)
    rows = []
    for recipe in wanted:
        with tempfile.TemporaryDirectory() as folder:
            rows += _report(recipe, Path(folder))
    _print(rows)
    if len(wanted) > 1:
        print(save("reports", {"rows": rows}))


def _report(recipe: str, folder: Path) -> list[dict[str, Any]]:
    env = {**os.environ, "UNDERSTUDY_HOME": str(folder / "home"), "UNDERSTUDY_RUNS_DIR": str(folder / "runs")}
    rows, runs = [], []
    for method in ((), FULL) if recipe == "sft-report" else ((),):
        _understudy(env, "train", recipe, "--base", "smollm2", *method)
        pack = json.loads(_understudy(env, "verify", recipe, "--json", refused=True))
        (made,) = [path for path in (folder / "runs" / recipe).iterdir() if path.name not in runs]
        runs.append(made.name)
        settings = json.loads((made / "settings.json").read_text())
        rows.append(_row(recipe, settings["training"]["method"], pack))
    out = RESULTS / "reports" / recipe
    _understudy(env, "report", recipe, *(part for run in runs for part in ("--run", run)), "--out", str(out))
    return rows


def _row(recipe: str, method: str, pack: dict[str, Any]) -> dict[str, Any]:
    adapter = pack["contestants"]["adapter"]
    return {
        "recipe": recipe,
        "method": method,
        "prompts": pack["prompts"],
        "examples": pack["examples"],
        "in_style": adapter["in_style"]["value"],
        "stopped": adapter["stopped"]["value"],
        "loss_below_base": pack["against_base"]["value"],
        "loss_below_few_shot": pack["against_few_shot"]["value"],
        "copied": pack["copied"]["value"],
        "passed": pack["passed"],
        "reasons": pack["reasons"],
    }


def _understudy(env: dict[str, str], *arguments: str, refused: bool = False) -> str:
    """What the command prints; `refused` allows the exit code 1 of a refusal."""
    done = subprocess.run([sys.executable, "-m", "understudy", *arguments], env=env, capture_output=True, text=True)
    if done.returncode and not (refused and done.stdout.startswith("{")):
        raise SystemExit(f"understudy {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("recipe", "method", "in style", "end", "below base", "below few-shot", "copied", "verdict")
    for row in rows:
        shares = [f"{row[key]:.0%}" for key in ("in_style", "stopped")]
        losses = [f"{row[key]:.2f}" for key in ("loss_below_base", "loss_below_few_shot")]
        verdict = "passed" if row["passed"] else "; ".join(row["reasons"])
        table.add_row(row["recipe"], row["method"], *shares, *losses, f"{row['copied']:.0%}", verdict)
    Console().print(table)


if __name__ == "__main__":
    main()
