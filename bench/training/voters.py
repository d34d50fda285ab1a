"""Voters with a taste, or without one, who meet two models of a running gateway in blind battles."""

import random
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from arena.battles.blinding import fault
from arena.battles.store import Battle, BattleAnswer, BattleStore
from arena.ranking.promotion_rule import PromotionRule, decide
from arena.votes.votes import cast_vote
from bench.gateway import Stage
from understudy.config.recipe import load_recipe
from understudy.data.recipe_rows import training_examples

RECIPE = "stand-up"
"""The persona whose revisions are compared."""
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


def prompts_for(stage: Stage) -> list[str]:
    """Every form of question about everything that the examples are about; nothing that is held out."""
    examples = training_examples(load_recipe(RECIPE, stage.settings.recipes_dir))
    found = (re.search(r"\b(?:about|Describe) (.+)[.?]$", example.prompt[0]["content"]) for example in examples)
    things = list(dict.fromkeys(match[1] for match in found if match))
    prompts = [form.format(thing) for thing in things for form in FORMS]
    random.Random(0).shuffle(prompts)
    return prompts


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
