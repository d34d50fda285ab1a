"""`understudy rank` on as many votes as LMArena has published, beside evalica's fit of the same file.

Both start from nothing each time and take turns. Ours reads the file, and prints strengths with intervals, ties, sides
and every pair; evalica's program reads it by pandas and fits the strengths alone.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.arena.simulated_votes import Crowd, simulate
from bench.goals import Goal

VOTES, MODELS = 1_670_000, 129
WINNERS = ("model_a", "model_b", "tie", "tie (bothbad)")
EVALICA = """
import sys, evalica, pandas
votes = pandas.read_csv(sys.argv[1])
ways = {"model_a": evalica.Winner.X, "model_b": evalica.Winner.Y}
winners = votes["winner"].map(lambda one: ways.get(one, evalica.Winner.Draw))
print(evalica.bradley_terry(votes["model_a"], votes["model_b"], winners).scores)
"""


def rank_files(rounds: int) -> dict[str, Any]:
    """Seconds and most memory of each, medians of `rounds` turns."""
    with tempfile.TemporaryDirectory() as folder:
        csv, lines = Path(folder) / "votes.csv", Path(folder) / "votes.json"
        _write(csv, lines)
        rank = [str(Path(sys.executable).with_name("understudy")), "rank"]
        commands = {
            "understudy rank, CSV": [*rank, str(csv)],
            "understudy rank, JSON": [*rank, str(lines)],
            "evalica, CSV": [sys.executable, "-c", EVALICA, str(csv)],
        }
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                seen[name].append(_measured(command))
    rows = [
        {
            "what": name,
            "seconds": round(statistics.median(seconds for seconds, _ in turns), 2),
            "most_mib": round(statistics.median(mib for _, mib in turns)),
        }
        for name, turns in seen.items()
    ]
    ratios = [
        ours / theirs for (ours, _), (theirs, _) in zip(seen[rows[0]["what"]], seen[rows[2]["what"]], strict=True)
    ]
    return {"votes": VOTES, "models": MODELS, "rows": rows, "of_evalica": round(statistics.median(ratios), 3)}


def goals(found: dict[str, Any]) -> list[Goal]:
    """4 s where evalica needs 3.0 s, in 600 MB."""
    return [
        Goal("rank 1.67 million votes, of evalica's time", found["of_evalica"], 4 / 3, most=True),
        *(Goal(f"{row['what']}: MiB", row["most_mib"], 600, most=True) for row in found["rows"][:2]),
    ]


def _write(csv: Path, lines: Path) -> None:
    """The same votes as rows of CSV and as one JSON list, with LMArena's names of columns."""
    strengths = np.random.default_rng(0).normal(0, 0.8, MODELS)
    votes = simulate(Crowd(tuple(strengths), both_bad=0.15), VOTES, seed=0)
    with csv.open("w") as rows, lines.open("w") as objects:
        rows.write("model_a,model_b,winner\n")
        for number, (left, right, verdict) in enumerate(zip(votes.left, votes.right, votes.verdict, strict=True)):
            one, other, winner = votes.contestants[left], votes.contestants[right], WINNERS[verdict]
            rows.write(f"{one},{other},{winner}\n")
            row = {"model_a": one, "model_b": other, "winner": winner, "tstamp": 1.7e9 + number, "language": "English"}
            objects.write(f"{',' if number else '['}{json.dumps(row)}")
        objects.write("]")


def _measured(command: list[str]) -> tuple[float, float]:
    """Seconds from start to end, and the most memory that was resident, in MiB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, process.returncode, used = os.wait4(process.pid, 0)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:80]} failed")
    return time.perf_counter() - began, used.ru_maxrss / 1024
