"""Asks the engine for answers with log-probabilities, and compares two of them."""

import math
import time

import aiohttp
from pydantic import BaseModel, ConfigDict

from serve.engine.vllm import Engine

MAX_TOKENS = 256
SAME = 0.1
"""Greatest mean difference (in nats) between two answers of one unharmed model; a damaged engine differs by several."""

SEED = 0

COMPARED = 16
"""Number of tokens of an answer that are compared with the base's."""


class ScoredAnswer(BaseModel):
    """One answer with each of its tokens and their log-probabilities."""

    model_config = ConfigDict(frozen=True)

    text: str
    finish: str
    tokens: list[str]
    logprobs: list[float]
    seconds: float = 0.0
    """From the request to the end of the answer."""

    @property
    def pace(self) -> float:
        """Seconds per token."""
        return self.seconds / max(len(self.tokens), 1)


async def ask(
    engine: Engine,
    session: aiohttp.ClientSession,
    model: str,
    prompt: str,
    max_tokens: int = MAX_TOKENS,
    *,
    to_the_end: bool = True,
    sampled: bool = False,
) -> ScoredAnswer:
    """Asks `model` to answer `prompt`, with exactly `max_tokens` tokens unless `to_the_end`.

    Greedy, or `sampled` with the base's own parameters (vLLM reads its generation_config.json) and a fixed seed.

    Raises:
        EngineError: the engine did not answer.
    """
    chosen = {"seed": SEED} if sampled else {"temperature": 0}
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        **chosen,
        "max_tokens": max_tokens,
        "logprobs": True,
        "ignore_eos": not to_the_end,
    }
    started = time.perf_counter()
    choice = (await engine.complete(session, body))["choices"][0]
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return ScoredAnswer(
        text=choice["message"]["content"] or "",
        finish=choice["finish_reason"] or "",
        tokens=[t.get("token") or "" for t in tokens],
        logprobs=[math.nan if t["logprob"] is None else t["logprob"] for t in tokens],
        seconds=time.perf_counter() - started,
    )


def difference(one: ScoredAnswer, other: ScoredAnswer) -> float:
    """Largest difference of log-probabilities over the start that both answers share.

    The first token that differs counts, too: after a near-tie that fell differently, both are about as probable.
    """
    differences = _differences(one, other)
    if not differences:
        return 0.0 if one.text == other.text else math.inf
    return max(differences)


def same(before: ScoredAnswer, after: ScoredAnswer) -> bool:
    """Whether two answers can come from one unharmed model; they may differ at near-ties."""
    if not all(math.isfinite(p) for p in after.logprobs):
        return False
    differences = _differences(before, after)
    if not differences:
        return before.text == after.text
    return sum(differences) / len(differences) <= SAME


def _differences(one: ScoredAnswer, other: ScoredAnswer) -> list[float]:
    found = []
    pairs = zip(one.tokens, other.tokens, one.logprobs, other.logprobs, strict=False)
    for token, other_token, p, q in list(pairs)[:COMPARED]:
        found.append(abs(p - q) if math.isfinite(p) and math.isfinite(q) else math.inf)
        if token != other_token:
            break
    return found
