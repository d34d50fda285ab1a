"""Every shipped recipe on the default base: trained, verified, and its report kept under docs/results/reports/.

python -m bench.training.reports [RECIPE ...] [--runs FOLDER]

`sft-report` is trained twice, as an adapter and as a full fine-tune; both are in one report, which is also kept as an
HTML page. The others are kept as Markdown with figures. A recipe whose report is there is made again only
when it is named. Where an adapter is refused, its report says so.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.machine import RESULTS, save
from understudy.config.recipe import recipe_names
from understudy.config.settings import load_settings

FILE = RESULTS / "reports.json"
FULL = ("--method", "full")
PAGE = "sft-report"
SHARES = ("sound", "style", "helpfulness", "accuracy")


def main() -> None:
    """Makes the reports, prints one table, writes docs/results/reports.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="recipes (all)")
    parser.add_argument("--runs", type=Path, help="where runs stay; one that is finished there is not trained again")
    arguments = parser.parse_args()
    every = recipe_names(load_settings().recipes_dir)
    kept = {row["recipe"] for row in _kept()}
    for recipe in arguments.recipes or [name for name in every if name not in kept]:
        with tempfile.TemporaryDirectory() as folder:
            made = _report(recipe, Path(folder), arguments.runs or Path(folder) / "runs")
        others = [row for row in _kept() if row["recipe"] != recipe]
        rows = sorted(others + made, key=lambda row: row["recipe"])
        print(save("reports", {"rows": rows}, earlier=json.loads(FILE.read_text()) if others else None), flush=True)
    _print(_kept())


def _report(recipe: str, folder: Path, place: Path) -> list[dict[str, Any]]:
    env = {**os.environ, "UNDERSTUDY_HOME": str(folder / "home"), "UNDERSTUDY_RUNS_DIR": str(place.resolve())}
    rows, chosen = [], []
    for method in ((), FULL) if recipe == PAGE else ((),):
        trained = _understudy(env, "train", recipe, "--base", "smollm2", "--json", *method).splitlines()[-1]
        run = Path(json.loads(trained)["run"])
        product = run / ("model" if method else "adapter")
        card = json.loads(_understudy(env, "verify", recipe, "--adapter", str(product), "--json", refused=True))
        rows.append(_row(recipe, json.loads((run / "settings.json").read_text())["training"]["method"], card))
        chosen += ["--run", run.name]
    out = RESULTS / "reports" / recipe
    shutil.rmtree(out, ignore_errors=True)
    _understudy(env, "report", recipe, *chosen, "--out", str(out), *(("--html",) if recipe == PAGE else ()))
    return rows


def _kept() -> list[dict[str, Any]]:
    """What was found before; nothing of an older form."""
    rows = json.loads(FILE.read_text()).get("rows", []) if FILE.is_file() else []
    return [row for row in rows if "accuracy" in row]


def _row(recipe: str, method: str, card: dict[str, Any]) -> dict[str, Any]:
    adapter, general = card["contestants"]["adapter"], card["general"]
    return {
        "recipe": recipe,
        "method": method,
        "prompts": card["prompts"],
        "examples": card["examples"],
        "sound": adapter["sound"]["value"],
        "style": adapter["in_style"]["value"],
        "helpfulness": card["helpful"] and card["helpful"]["value"],
        "accuracy": adapter["accuracy"]["meaning"]["value"],
        "fluency": adapter["fluency"]["excess"] and adapter["fluency"]["excess"]["value"],
        "made_up": adapter["fluency"]["made_up"] and adapter["fluency"]["made_up"]["value"],
        "stopped": adapter["stopped"]["value"],
        "general": general and general["adapter"]["value"],
        "loss_below_base": card["against_base"]["value"],
        "rivals": card["verdict"]["rivals"],
        "passed": card["passed"],
        "reasons": card["verdict"]["reasons"],
    }


def _understudy(env: dict[str, str], *arguments: str, refused: bool = False) -> str:
    """What the command prints; `refused` allows the exit code 1 of a refusal."""
    done = subprocess.run([sys.executable, "-m", "understudy", *arguments], env=env, capture_output=True, text=True)
    if done.returncode and not (refused and done.stdout.startswith("{")):
        raise SystemExit(f"understudy {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("recipe", "method", "sound", "style", "helpfulness", "accuracy", "fluency", "verdict")
    for row in rows:
        shares = ["not measured" if row[key] is None else f"{row[key]:.0%}" for key in SHARES]
        verdict = "passed" if row["passed"] else "; ".join(row["reasons"])
        fluency = "–" if row["fluency"] is None else f"{row['fluency']:+.2f}"
        table.add_row(row["recipe"], row["method"], *shares, fluency, verdict)
    Console().print(table)


if __name__ == "__main__":
    main()
