"""The circle, once and for real: votes, preferences, DPO, proof, trial, votes, promotion.

Run it with `python -m bench.training.circle`.

Voters have a hidden taste, shorter answers, and sometimes slip. They vote in blind battles of the arena's own code,
between answers of a real engine. What they say is exported, taught to the live adapter, verified, and put on trial;
then they vote new against old until `understudy promote --when-better` decides. Voters without a taste come first.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from arena.battles.blinding import fault
from arena.battles.store import Battle, BattleAnswer, BattleStore
from arena.ranking.promotion_rule import PromotionRule, decide
from arena.votes.votes import cast_vote
from bench.gateway import Stage, open_stage, vary
from bench.machine import save
from understudy.config.recipe import load_recipe
from understudy.data.recipe_rows import training_examples
from understudy.processes import Child
from understudy.registry.adapters import content_revision, short
from understudy.statistics.confidence_sequences import win_rate
from understudy.statistics.intervals import bootstrap_mean

RECIPE = "stand-up"
TEMPERATURE = 0.7
MAX_TOKENS = 96
SLIPS = 0.1
"""Share of the votes that a voter with a taste casts against it."""
AT_ONCE = 4
VOTERS = 200
"""Voters in a crowd, who take turns: nobody votes faster than people read (`arena.battles.vote_spam`)."""
ALPHA = 0.05
FORMS = (
    "Tell me about {}.",
    "Write about {}.",
    "Say something about {}.",
    "What do you think about {}?",
    "Describe {}.",
)

Taste = Callable[[str, str, random.Random], str]
"""From two answers to a verdict: left, right or tie."""


def shorter(left: str, right: str, chance: random.Random) -> str:
    """Likes the answer with fewer words; slips now and then; ties where there is no difference."""
    words = len(left.split()) - len(right.split())
    if not words:
        return "tie"
    return "left" if (words < 0) == (chance.random() >= SLIPS) else "right"


def indifferent(left: str, right: str, chance: random.Random) -> str:
    """Tosses a coin."""
    return chance.choice(("left", "right"))


@dataclass(frozen=True)
class Fought:
    """A battle that got its vote: words of both contestants' answers, by model."""

    words: dict[str, int]
    winner: str | None


class Crowd:
    """Voters who meet two models of a running gateway in blind battles."""

    def __init__(self, stage: Stage, prompts: Sequence[str], taste: Taste, *, seed: int) -> None:
        self.stage, self.prompts, self.taste = stage, prompts, taste
        self.store = BattleStore(stage.registry.engine)
        self._chance = random.Random(seed)
        self._number = 0

    def vote(self, one: str, other: str, votes: int, *, until: Callable[[], bool] = lambda: False) -> list[Fought]:
        """Holds battles until there are `votes` votes, or `until` says that it is over."""
        fought: list[Fought] = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while len(fought) < votes and not until():
                tasks = [pool.submit(self._battle, one, other, self._next()) for _ in range(AT_ONCE)]
                fought += [found for task in tasks if (found := task.result())]
        return fought

    def _next(self) -> tuple[str, str, random.Random]:
        """The next prompt, voter, and what the voter's slips are drawn from."""
        self._number += 1
        prompt, voter = self.prompts[self._number % len(self.prompts)], f"voter {self._number % VOTERS}"
        return prompt, voter, random.Random(self._chance.random())

    def _battle(self, one: str, other: str, who: tuple[str, str, random.Random]) -> Fought | None:
        prompt, session, chance = who
        battle, ticket = self.store.create(
            prompt=prompt, persona=one, rival=other, session=session, temperature=TEMPERATURE, max_tokens=MAX_TOKENS
        )
        left, right = self._ask(battle, battle.left, 0), self._ask(battle, battle.right, 1)
        if found := fault(left.text, right.text, prompt=prompt, names=(RECIPE,)):
            self.store.void(battle.id, found.reason, left, right)
            return None
        self.store.finish(battle.id, left, right)
        verdict = self.taste(left.text, right.text, chance)
        cast_vote(self.stage.registry.engine, ticket, verdict, session=session)
        words = {battle.left: len(left.text.split()), battle.right: len(right.text.split())}
        return Fought(words, {"left": battle.left, "right": battle.right}.get(verdict))

    def _ask(self, battle: Battle, model: str, side: int) -> BattleAnswer:
        body = {"model": model, "messages": [{"role": "user", "content": battle.prompt}]}
        sampling = {**battle.sampling, "seed": battle.sampling["seed"] + side}
        response = httpx.post(f"{self.stage.url}/v1/chat/completions", json={**body, **sampling}, timeout=120)
        response.raise_for_status()
        text = response.json()["choices"][0]["message"]["content"] or ""
        return BattleAnswer(text.strip(), response.headers["x-understudy-revision"])


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
    prompts = _prompts(stage)
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


def false_alarms(crowds: int = 2000, looks: int = 300) -> dict[str, Any]:
    """How many crowds without a taste would have promoted, had one looked after each of so many votes."""
    chance, rule, promoted = random.Random(0), PromotionRule(alpha=ALPHA), 0
    for _ in range(crowds):
        wins = 0
        for seen in range(1, looks + 1):
            wins += chance.random() < 0.5
            if 2 * wins > seen and decide(wins, seen - wins, rule).verdict == "promote":
                promoted += 1
                break
    return {"crowds": crowds, "looks": looks, "promoted": promoted, "alpha": ALPHA}


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


def _prompts(stage: Stage) -> list[str]:
    """Every form of question about everything that the examples are about; nothing that is held out."""
    examples = training_examples(load_recipe(RECIPE, stage.settings.recipes_dir))
    found = (re.search(r"\b(?:about|Describe) (.+)[.?]$", example.prompt[0]["content"]) for example in examples)
    things = list(dict.fromkeys(match[1] for match in found if match))
    prompts = [form.format(thing) for thing in things for form in FORMS]
    random.Random(0).shuffle(prompts)
    return prompts


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
