"""From a fresh clone to the first chat answer, the second start, and `understudy --help`.

python -m bench.first_run [--rounds 1] [--keep FOLDER]

The clone is the last commit of this repository; what is not committed is not in it. The base answers first; then the
demo teaches its personas one after the other, and each answers as soon as it is live. FOLDER becomes the home
(UNDERSTUDY_HOME) with the personas that the last round has taught.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from bench.figures import save_bars
from bench.goals import Goal, judge
from bench.machine import save
from understudy.config.recipe import load_recipe, recipe_names
from understudy.config.settings import PROJECT
from understudy.processes import free_port

CLONE, SECOND = "fresh clone to", "second start to"
LIMIT = 3600
"""Seconds after which we give up."""


def main() -> None:
    """Clones this repository's last commit into a new folder and times what a newcomer waits for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="clones, each with a second start; medians are shown (1)")
    parser.add_argument("--keep", type=Path, help="where the last round's home goes; a new folder")
    chosen = parser.parse_args()
    if chosen.keep and chosen.keep.exists():
        parser.error(f"--keep {chosen.keep}: is there already")
    rounds = [_round(chosen.keep if number == chosen.rounds else None) for number in range(1, chosen.rounds + 1)]
    figures = {name: round(statistics.median(one[name] for one in rounds), 2) for name in rounds[0]}
    table = Table("what", "seconds", title="First run")
    for name, value in figures.items():
        table.add_row(name, f"{value:.2f}")
    Console().print(table)
    print(save("first-run", {"seconds": figures, "rounds": rounds, **judge(goals(figures))}))
    print(save_bars("first-run", "From a fresh clone to an answer", {"seconds": figures}, digits=1))


def goals(figures: dict[str, float]) -> list[Goal]:
    """What a newcomer may have to wait for on two cores, in seconds."""
    last = max(value for name, value in figures.items() if name.startswith(CLONE))
    return [
        Goal("fresh clone to the base's first answer, s", figures[f"{CLONE} base (s)"], 120, most=True),
        Goal("fresh clone to the last persona of the demo, s", last, 240, most=True),
        Goal("second start to the base's first answer, s", figures[f"{SECOND} base (s)"], 45, most=True),
    ]


def _round(keep: Path | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "understudy"
        subprocess.run(["git", "clone", "-q", str(PROJECT), str(clone)], check=True)
        started = time.monotonic()
        env = {**os.environ, "UV_CACHE_DIR": str(Path(folder) / "cache")}  # a newcomer has nothing in the cache
        subprocess.run(["./setup.sh"], cwd=clone, env=env, check=True, capture_output=True)
        setup = time.monotonic() - started
        found = {
            "set-up of the environment (s)": setup,
            **{f"{CLONE} {who} (s)": setup + seconds for who, seconds in _first_answers(clone).items()},
            **{f"{SECOND} {who} (s)": seconds for who, seconds in _first_answers(clone).items()},
            "understudy --help, best of 5 (s)": min(_help(clone) for _ in range(5)),
        }
        if keep:
            shutil.move(clone / ".understudy", keep)
        return found


def _first_answers(clone: Path) -> dict[str, float]:
    """Seconds until the base and each persona of the demo have answered; the demo is ended then."""
    names = [name for name in recipe_names(clone / "recipes") if load_recipe(name, clone / "recipes").demo]
    port, space_port = free_port(), free_port()
    env = {**os.environ, "UNDERSTUDY_PORT": str(port), "UNDERSTUDY_SPACE_PORT": str(space_port)}
    started, client = time.monotonic(), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
    process = subprocess.Popen(
        ["make", "-s", "demo"], cwd=clone, env=env, start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        found: dict[str, float] = {}
        while missing := [name for name in ("base", *names) if name not in found]:
            if process.poll() is not None or time.monotonic() - started > LIMIT:
                raise SystemExit(f"the demo did not come up: {', '.join(missing)} did not answer")
            found |= {name: time.monotonic() - started for name in missing if _answers(client, name)}
            time.sleep(0.5)
        return found
    finally:
        client.close()
        os.killpg(process.pid, signal.SIGTERM)  # SIGINT is ignored by what a shell has in its background
        process.wait(60)


def _answers(client: httpx.Client, model: str) -> bool:
    body = {"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "Write about a kite."}]}
    try:
        response = client.post("/v1/chat/completions", json=body)
    except httpx.TransportError:
        return False
    return response.status_code == 200 and bool(response.json()["choices"][0]["message"]["content"])


def _help(clone: Path) -> float:
    started = time.monotonic()
    subprocess.run([clone / ".venv/bin/understudy", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
