"""Live checks of a loaded candidate: it acts, ends by itself, is no babble, is quick enough, and harms nobody else."""

import asyncio
import math
import re
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence

import aiohttp
from pydantic import BaseModel, ConfigDict

from serve.degenerate import degenerate
from serve.engine import BASE_NAME, Engine
from understudy.errors import EngineError

PROMPTS = ("Hello.", "Write about a lamp.", "What can you do?")
"""Asked when the persona's card has none."""

MAX_PROMPTS = 3
MAX_GOLDEN = 8
MAX_TOKENS = 256

ACTS = 1e-4
"""Least difference of a token's log-probability (in nats) that counts as acting; float32 noise is below 1e-5."""

NOISE = 4.0
"""It must also be so many times what the base differs from itself: in bfloat16 a batch alone moves it by 0.1."""

SAME = 0.1
"""Greatest mean difference (in nats) between two answers of one unharmed model; a spoiled engine is off by several."""

COMPARED = 32
"""Tokens of an answer that are compared."""

SLOW = 5.0
"""Times slower per token than the incumbent (or the base) at which a candidate is refused: noise is up to 2."""

SLOW_FLOOR = 0.005
"""Seconds per token on top, for engines so fast that a hiccup is a multiple."""

PACE_TOKENS = 16

GOLDEN_TEXT = 2000
"""Characters of an answer that an expectation is searched in."""

GOLDEN_TOLERANCE = 0.25
"""Share of golden prompts by which a candidate may fall behind the incumbent: one of four, none of three."""


class Answer(BaseModel):
    """One greedy answer with each of its tokens and their log-probabilities."""

    model_config = ConfigDict(frozen=True)

    text: str
    finish: str
    tokens: list[str]
    logprobs: list[float]


class ProbeReport(BaseModel):
    """Why a candidate is refused, and what was measured either way."""

    model_config = ConfigDict(frozen=True)

    problems: list[str]
    figures: dict[str, float | int | str | None]
    """`prompts` asked and how many `ended` by themselves; `logprob_difference` from the base and `noise`, what the
    base differs from itself (nats); `golden` prompts, `golden_met` by the candidate and by `golden_met_incumbent`
    (None when not asked); `seconds_per_token`, those of the `reference` and their ratio `slowdown`; `seconds` of
    the whole probe."""


async def ask(
    engine: Engine, session: aiohttp.ClientSession, model: str, prompt: str, max_tokens: int = MAX_TOKENS
) -> Answer:
    """The greedy answer of `model` to `prompt`. Raises EngineError."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": max_tokens,
        "logprobs": True,
    }
    choice = (await engine.complete(session, body))["choices"][0]
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return Answer(
        text=choice["message"]["content"] or "",
        finish=choice["finish_reason"] or "",
        tokens=[t.get("token") or "" for t in tokens],
        logprobs=[math.nan if t["logprob"] is None else t["logprob"] for t in tokens],
    )


class Probe:
    """Compares candidates with what base and incumbent said before the candidate was first asked."""

    def __init__(self, engine: Engine, session: aiohttp.ClientSession) -> None:
        self._engine, self._session = engine, session
        self._base: dict[str, Answer] = {}

    async def check(
        self,
        name: str,
        prompts: Sequence[str],
        *,
        golden: Sequence[Mapping[str, str]] = (),
        incumbent: str | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> ProbeReport:
        """Asks the loaded adapter `name`; `golden` holds pairs of `prompt` and `expect`, a regular expression.

        Never raises EngineError: an engine that cannot answer is a reason to refuse.
        """
        probing = _Probing(
            self, name, incumbent, list(prompts or PROMPTS)[:MAX_PROMPTS], golden[:MAX_GOLDEN], max_tokens
        )
        started = time.perf_counter()
        try:
            await probing.run()
        except EngineError as error:
            probing.problems.insert(0, f"the engine could not answer with it: {error}")
        probing.figures["seconds"] = round(time.perf_counter() - started, 3)
        return ProbeReport(problems=probing.problems, figures=probing.figures)

    async def base_answer(self, prompt: str) -> Answer:
        """What the base says to `prompt`; asked once. Raises EngineError."""
        if prompt not in self._base:
            answer = await self.answer(BASE_NAME, prompt)
            if not all(math.isfinite(p) for p in answer.logprobs):
                raise EngineError("the base itself no longer answers with numbers; the engine must be restarted")
            self._base[prompt] = answer
        return self._base[prompt]

    async def answer(self, model: str, prompt: str, max_tokens: int = MAX_TOKENS) -> Answer:
        """What `model` says to `prompt` now."""
        return await ask(self._engine, self._session, model, prompt, max_tokens)

    async def pace(self, model: str, prompt: str) -> float:
        """Seconds per token of a short answer."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": PACE_TOKENS,
            "ignore_eos": True,
        }
        started = time.perf_counter()
        usage = (await self._engine.complete(self._session, body)).get("usage") or {}
        return (time.perf_counter() - started) / (usage.get("completion_tokens") or PACE_TOKENS)


class _Probing:
    """One candidate's probe: what was found so far."""

    def __init__(
        self,
        probe: Probe,
        name: str,
        incumbent: str | None,
        prompts: list[str],
        golden: Sequence[Mapping[str, str]],
        max_tokens: int,
    ) -> None:
        self.probe, self.name, self.incumbent = probe, name, incumbent
        self.prompts, self.golden, self.max_tokens = prompts, golden, max_tokens
        self.problems: list[str] = []
        self.figures: dict[str, float | int | str | None] = {"prompts": len(prompts)}
        self.asked: dict[str, Answer] = {}
        """The candidate's answers."""

    async def run(self) -> None:
        """Others first, then the candidate, then the others again. Raises EngineError."""
        base = dict(zip(self.prompts, await _together(self.probe.base_answer(p) for p in self.prompts), strict=True))
        rival = await self._incumbent_answers()
        wanted = list(dict.fromkeys([*self.prompts, *(g["prompt"] for g in self.golden)]))
        self.asked = dict(zip(wanted, await _together(self._candidate(p) for p in wanted), strict=True))
        self._judge_answers()
        self._judge_golden(rival)
        noise = await self._judge_harm(BASE_NAME, "the base", base[self.prompts[0]])
        if self.incumbent:
            await self._judge_harm(self.incumbent, "the incumbent", rival[self.prompts[0]])
        self._judge_effect(base, noise)
        if not self.problems:
            await self._judge_pace()

    async def _candidate(self, prompt: str) -> Answer:
        return await self.probe.answer(self.name, prompt, self.max_tokens)

    async def _incumbent_answers(self) -> dict[str, Answer]:
        if not self.incumbent:
            return {}
        wanted = list(dict.fromkeys([self.prompts[0], *(g["prompt"] for g in self.golden)]))
        answers = await _together(self.probe.answer(self.incumbent, p, self.max_tokens) for p in wanted)
        return dict(zip(wanted, answers, strict=True))

    def _judge_answers(self) -> None:
        answers = [(prompt, self.asked[prompt]) for prompt in self.prompts]
        ended = self.figures["ended"] = sum(answer.finish == "stop" for _, answer in answers)
        if 2 * ended < len(answers):
            count = "no answer" if not ended else f"only {ended} of {len(answers)} answers"
            self.problems.append(f"{count} ended by itself within {self.max_tokens} tokens")
        for prompt, answer in answers:
            if not all(math.isfinite(p) for p in answer.logprobs):
                self.problems.append(f"its probabilities are not numbers on {prompt!r}")
            elif why := degenerate(answer.text, prompt):
                self.problems.append(f"{why} on {prompt!r}")

    def _judge_golden(self, rival: dict[str, Answer]) -> None:
        """As many expectations met as the incumbent meets, but for the tolerance; without an incumbent half."""
        total = self.figures["golden"] = len(self.golden)
        met, of_rival = (met_of(self.golden, a) if total and a else None for a in (self.asked, rival))
        self.figures |= {"golden_met": met, "golden_met_incumbent": of_rival}
        if met is None:
            return
        least = math.ceil(total / 2) if of_rival is None else of_rival - math.floor(GOLDEN_TOLERANCE * total)
        if met < least:
            than = f"the incumbent meets {of_rival}" if of_rival is not None else f"at least {least} are needed"
            missed = next(g for g in self.golden if not meets(self.asked[g["prompt"]], g["expect"]))
            self.problems.append(
                f"it meets {met} of {total} golden expectations, {than}; for instance {missed['prompt']!r} "
                f"was not answered with {missed['expect']!r}"
            )

    async def _judge_harm(self, model: str, called: str, before: Answer) -> float:
        """Whether `model` answers as before; asked again before it counts. Returns the largest difference."""
        for _ in range(2):
            after = await self.probe.answer(model, self.prompts[0], COMPARED)
            if same(before, after):
                return difference(before, after)
        self.problems.append(f"{called} answers differently since it is loaded")
        return 0.0

    def _judge_effect(self, base: dict[str, Answer], noise: float) -> None:
        effect = max(difference(self.asked[p], base[p]) for p in self.prompts)
        self.figures |= {"logprob_difference": _shown(effect), "noise": _shown(noise)}
        if effect <= max(ACTS, NOISE * noise):
            self.problems.append("its answers are those of the base: the adapter does not act")

    async def _judge_pace(self) -> None:
        reference = self.incumbent or BASE_NAME
        mine, theirs = await self._paces(reference)
        if slow(mine, theirs):
            mine, theirs = await self._paces(reference)
        if slow(mine, theirs):
            self.problems.append(
                f"it takes {mine * 1000:.0f} ms a token, {mine / theirs:.0f} times as long as {reference}"
            )
        self.figures |= {
            "seconds_per_token": round(mine, 5),
            "reference": reference,
            "reference_seconds_per_token": round(theirs, 5),
            "slowdown": round(mine / theirs, 2),
        }

    async def _paces(self, reference: str) -> tuple[float, float]:
        """The best of two each, taken in turns, so that other load falls on both."""
        mine, theirs = [], []
        for _ in range(2):
            theirs.append(await self.probe.pace(reference, self.prompts[0]))
            mine.append(await self.probe.pace(self.name, self.prompts[0]))
        return min(mine), max(min(theirs), 1e-9)


def difference(one: Answer, other: Answer) -> float:
    """Largest difference of log-probabilities over the start that both answers share.

    The token at which they part counts too: where a near-tie was decided otherwise, both are about as probable.
    """
    differences = _differences(one, other)
    if not differences:
        return 0.0 if one.text == other.text else math.inf
    return max(differences)


def same(before: Answer, after: Answer) -> bool:
    """Whether two answers come from one unharmed model; near-ties may part."""
    if not all(math.isfinite(p) for p in after.logprobs):
        return False
    differences = _differences(before, after)
    if not differences:
        return before.text == after.text
    return sum(differences) / len(differences) <= SAME


def slow(mine: float, theirs: float) -> bool:
    """Whether seconds per token are out of proportion."""
    return mine > SLOW * theirs + SLOW_FLOOR


def meets(answer: Answer, expect: str) -> bool:
    """Whether the expectation, a regular expression, is found in the answer; one that cannot be read is not met."""
    try:
        return re.search(expect, answer.text[:GOLDEN_TEXT]) is not None
    except (re.error, RecursionError):
        return False


def met_of(golden: Sequence[Mapping[str, str]], answers: Mapping[str, Answer]) -> int:
    """How many expectations the answers meet."""
    return sum(meets(answers[g["prompt"]], g["expect"]) for g in golden)


def _differences(one: Answer, other: Answer) -> list[float]:
    found = []
    pairs = zip(one.tokens, other.tokens, one.logprobs, other.logprobs, strict=False)
    for token, other_token, p, q in list(pairs)[:COMPARED]:
        found.append(abs(p - q) if math.isfinite(p) and math.isfinite(q) else math.inf)
        if token != other_token:
            break
    return found


def _shown(value: float) -> float:
    """A figure that fits into JSON."""
    return round(min(value, 1000.0), 6)


async def _together(calls: Iterable[Coroutine[object, object, Answer]]) -> list[Answer]:
    """All answers; when one fails the others are waited for, and its error is raised."""
    answers = []
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        answers.append(result)
    return answers
