"""The circle, once and for real: votes, preferences, DPO, proof, trial, votes, promotion.

Run it with `python -m bench.training.circle`.

Voters have a hidden taste, shorter answers, and sometimes slip. They vote in blind battles of the arena's own code,
between answers of a real engine. What they say is exported, taught to the live adapter, verified, and put on trial;
then they vote new against old until `understudy promote --when-better` decides. Voters without a taste come first.
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

from bench.gateway import Stage, open_stage, vary
from bench.machine import save
from bench.training.voters import (
    ALPHA,
    MAX_TOKENS,
    RECIPE,
    SLIPS,
    TEMPERATURE,
    Crowd,
    Fought,
    false_alarms,
    indifferent,
    prompts_for,
    shorter,
)
from understudy.processes import Child
from understudy.registry.adapters import content_revision, short
from understudy.statistics.confidence_sequences import win_rate
from understudy.statistics.intervals import bootstrap_mean


def turn(
    stage: Stage, *, votes: int = 120, trial_votes: int = 400, idle_votes: int = 60, options: Sequence[str] = ()
) -> dict[str, Any]:
    """One turn of the circle on a running stage, and its figures.

    Args:
        votes: decisive or not, that preferences are made of.
        trial_votes: the most that may be cast on the new revision by voters with the taste.
        idle_votes: those by voters without one, who come first.
        options: for `understudy train --method dpo`.
    """
    prompts = prompts_for(stage)
    _run(stage, "train", RECIPE, "--base", "tiny", "--epochs", "8")
    trained = stage.registry.revision(RECIPE)
    old, rival = trained.id, vary(stage.registry, trained, 1).id
    _run(stage, "publish", RECIPE, "--revision", rival)
    _run(stage, "publish", RECIPE, "--revision", old)
    crowd = Crowd(stage, prompts, shorter, seed=1)
    fought = crowd.vote(_name(old), _name(rival), votes)
    exported = json.loads(_run(stage, "preferences", RECIPE, "--out", str(stage.settings.home / "p.jsonl"), "--json"))
    started = time.perf_counter()
    told = _run(stage, "train", RECIPE, "--method", "dpo", *options)
    seconds = time.perf_counter() - started
    new = stage.registry.revision(RECIPE).id
    proofs = {"before": _verify(stage, old), "after": _verify(stage, new)}
    idle = _trial(stage, Crowd(stage, prompts, indifferent, seed=2), new, old, idle_votes)
    keen = _trial(stage, Crowd(stage, prompts, shorter, seed=3), new, old, trial_votes)
    return {
        "recipe": RECIPE,
        "asked_for": {"votes": votes, "trial_votes": trial_votes, "idle_votes": idle_votes, "options": list(options)},
        "taste": {"wants": "fewer words", "slips": SLIPS},
        "sampling": {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS},
        "collected": {"battles_voted": len(fought), **{k: v for k, v in exported.items() if isinstance(v, int)}},
        "dpo": {**_result(stage, new), "seconds_with_imports": round(seconds, 1), "told": told.strip().splitlines()},
        "verify": proofs,
        "indifferent": idle,
        "taste_decides": keen,
        "live_at_the_end": "new" if stage.registry.persona(RECIPE).live == new else "old",
        "false_alarms": false_alarms(),
    }


def _trial(stage: Stage, crowd: Crowd, new: str, old: str, votes: int) -> dict[str, Any]:
    """Puts `new` on trial and lets the crowd vote while `promote --when-better` watches."""
    _run(stage, "publish", RECIPE, "--revision", new, "--canary", "50%")
    wait = ["--when-better", "--alpha", str(ALPHA), "--timeout", "900"]
    log = stage.settings.home / f"promote-{crowd.taste.__name__}.log"
    watcher = Child([sys.executable, "-m", "understudy", "promote", RECIPE, *wait], log=log, env=stage.env)
    fought = crowd.vote(_name(new), _name(old), votes, until=lambda: watcher.exit_code is not None)
    watcher.stop()
    looked = _code(stage, "promote", RECIPE, "--when-better", "--alpha", str(ALPHA), "--timeout", "0")
    event = stage.registry.history(RECIPE)[0]
    if stage.registry.persona(RECIPE).candidate:
        _run(stage, "rollback", RECIPE)
    wins = sum(one.winner == _name(new) for one in fought)
    losses = sum(one.winner == _name(old) for one in fought)
    rate = win_rate(wins, losses, confidence=1 - ALPHA)
    return {
        "votes": len(fought),
        "wins": wins,
        "losses": losses,
        "ties": len(fought) - wins - losses,
        "win_rate": [rate.value, rate.low, rate.high],
        "promoted": stage.registry.persona(RECIPE).live == new,
        "exit_code": watcher.exit_code if looked == 1 else looked,
        "said": log.read_text().strip().splitlines()[-2:],
        "history": {"action": event.action, "actor": event.actor if event.actor == "gateway" else "person"}
        | {"reason": event.detail.get("reason")},
        "words": {"old": _words(fought, _name(old)), "new": _words(fought, _name(new))},
    }


def _words(fought: Sequence[Fought], model: str) -> dict[str, float]:
    counts = [one.words[model] for one in fought]
    mean = bootstrap_mean(counts)
    return {"mean": round(mean.value, 2), "low": round(mean.low, 2), "high": round(mean.high, 2)} | {
        "median": statistics.median(counts)
    }


def _verify(stage: Stage, revision: str) -> dict[str, Any]:
    run = _folder(stage, revision)
    done = _command(stage, "verify", RECIPE, "--adapter", str(run / "adapter"))
    if not (run / "proof.json").is_file():
        raise SystemExit(f"verify failed:\n{done.stdout}{done.stderr}")
    pack = json.loads((run / "proof.json").read_text())
    adapter = pack["contestants"]["adapter"]
    names = ("in_style", "stopped", "on_topic", "echoes", "degenerate", "words", "loss")
    shown = {name: [round(adapter[name][end], 3) for end in ("value", "low", "high")] for name in names}
    return {
        "passed": done.returncode == 0,
        **shown,
        "worse": pack["verdict"]["worse"],
        "reasons": pack["verdict"]["reasons"],
    }


def _result(stage: Stage, revision: str) -> dict[str, Any]:
    return json.loads((_folder(stage, revision) / "result.json").read_text())


def _folder(stage: Stage, revision: str) -> Path:
    """The run that made a revision."""
    runs = (stage.settings.runs_dir / RECIPE).glob("*/adapter")
    return next(adapter.parent for adapter in runs if content_revision(adapter) == revision)


def _name(revision: str) -> str:
    return f"{RECIPE}@{short(revision)}"


def _run(stage: Stage, *arguments: str) -> str:
    """`understudy ARGUMENTS`; its standard output, or its messages where there is none."""
    done = _command(stage, *arguments)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout or done.stderr


def _code(stage: Stage, *arguments: str) -> int:
    return _command(stage, *arguments).returncode


def _command(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "understudy", *arguments]
    return subprocess.run(command, env={**os.environ, **stage.env}, capture_output=True, text=True)


def main() -> None:
    """Runs the circle, prints what happened, writes docs/results/circle.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=120, help="votes that preferences are made of (120)")
    parser.add_argument("--trial-votes", type=int, default=400, help="the most votes on the new revision (400)")
    parser.add_argument("--idle-votes", type=int, default=60, help="votes of those without a taste (60)")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE for the training; repeatable")
    arguments = parser.parse_args()
    options = [part for setting in arguments.set for part in ("--set", setting)]
    counts = {"votes": arguments.votes, "trial_votes": arguments.trial_votes, "idle_votes": arguments.idle_votes}
    with tempfile.TemporaryDirectory() as folder, open_stage(Path(folder)) as stage:
        figures = turn(stage, **counts, options=options)
    Console().print_json(json.dumps(figures))
    print(save("circle", figures))


if __name__ == "__main__":
    main()
