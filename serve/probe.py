"""Live checks of a loaded candidate: it acts, it ends by itself, it is no babble, and it harms nobody else."""

import math
from collections import Counter
from collections.abc import Sequence

import aiohttp
from pydantic import BaseModel, ConfigDict

from serve.engine import BASE_NAME, Engine
from understudy.errors import EngineError

PROMPTS = ("Hello.", "Write about a lamp.", "What can you do?")
"""Asked when the persona's card has none."""

MAX_PROMPTS = 3
MAX_TOKENS = 256
ACTS = 1e-4
"""Least difference of a token's log-probability (in nats) that counts as acting; noise is below 1e-5."""

SAME = 1e-2
"""Greatest difference of the base's log-probabilities before and after a load."""


class Answer(BaseModel):
    """One greedy answer with the log-probability of each of its tokens."""

    model_config = ConfigDict(frozen=True)

    text: str
    finish: str
    logprobs: list[float]


async def ask(engine: Engine, session: aiohttp.ClientSession, model: str, prompt: str) -> Answer:
    """The greedy answer of `model` to `prompt`. Raises EngineError."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
        "logprobs": True,
    }
    choice = (await engine.complete(session, body))["choices"][0]
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return Answer(
        text=choice["message"]["content"] or "",
        finish=choice["finish_reason"],
        logprobs=[math.nan if t["logprob"] is None else t["logprob"] for t in tokens],
    )


class Probe:
    """Compares candidates with what the base said when nothing was loaded yet."""

    def __init__(self, engine: Engine, session: aiohttp.ClientSession) -> None:
        self._engine, self._session = engine, session
        self._base: dict[str, Answer] = {}

    async def check(self, name: str, prompts: Sequence[str]) -> list[str]:
        """Reasons to refuse the loaded adapter `name`; empty when there are none."""
        prompts = list(prompts or PROMPTS)[:MAX_PROMPTS]
        try:
            before = [await self.base_answer(prompt) for prompt in prompts]
            answers = [await ask(self._engine, self._session, name, prompt) for prompt in prompts]
            after = await ask(self._engine, self._session, BASE_NAME, prompts[0])
        except EngineError as error:
            return [f"the engine could not answer with it: {error}"]
        problems = []
        if not any(acts(answer, base) for answer, base in zip(answers, before, strict=True)):
            problems.append("its answers are those of the base: the adapter does not act")
        if not any(answer.finish == "stop" for answer in answers):
            problems.append(f"no answer ended by itself within {MAX_TOKENS} tokens")
        problems += [f"{why} on {p!r}" for a, p in zip(answers, prompts, strict=True) if (why := degenerate(a))]
        if not same(before[0], after):
            problems.append("the base answers differently since it is loaded")
        return problems

    async def base_answer(self, prompt: str) -> Answer:
        """What the base says to `prompt`; asked once."""
        if prompt not in self._base:
            self._base[prompt] = await ask(self._engine, self._session, BASE_NAME, prompt)
        return self._base[prompt]


def acts(answer: Answer, base: Answer) -> bool:
    """Whether the adapter changes anything: another text, or the same with other probabilities."""
    if answer.text != base.text or len(answer.logprobs) != len(base.logprobs):
        return True
    return any(abs(a - b) > ACTS for a, b in zip(answer.logprobs, base.logprobs, strict=True))


def same(before: Answer, after: Answer) -> bool:
    """Whether the base still says the same; near-ties may part, so only the common start is compared."""
    if any(not math.isfinite(p) for p in after.logprobs):
        return False
    first = list(zip(before.logprobs, after.logprobs, strict=False))[:1]
    return bool(first) and all(abs(a - b) <= SAME for a, b in first)


def degenerate(answer: Answer) -> str:
    """Why an answer is no answer, or an empty string."""
    words = answer.text.split()
    if not words:
        return "it answers nothing"
    if any(not math.isfinite(p) for p in answer.logprobs):
        return "its probabilities are not numbers"
    if len(words) >= 20:
        triples = Counter(zip(words, words[1:], words[2:], strict=False))
        if triples.most_common(1)[0][1] > len(words) / 5:
            return "it repeats itself"
    return ""
