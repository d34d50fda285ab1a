"""Probes a loaded candidate: it has an effect, ends its answers, is coherent and fast, and changes no other model."""

import asyncio
import math
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence

import aiohttp

from serve.engine.adapter_engine import BASE_NAME, ProbeReport
from serve.engine.logprobs import COMPARED, MAX_TOKENS, SAME, ScoredAnswer, ask, difference, same
from serve.engine.vllm import Engine
from serve.rollout.judgement import NO_EFFECT, PROMPTS, judge_golden, odd_answers
from understudy.bases.sampling import base_sampling
from understudy.errors import EngineError

MAX_PROMPTS = 3
MAX_GOLDEN = 8

ACTS = 1e-4
"""Least difference of a token's log-probability (nats) that counts as an effect; float32 noise is below 1e-5."""

NOISE = 4.0
"""The effect must also be this multiple of the base's difference from itself: in bfloat16 a batch alone causes 0.1."""

SHORT_ANSWER = 8
"""Tokens asked of the base and the live revision, to compare them with before and to measure their speed."""

SLOW = 5.0
"""A candidate is refused above this multiple of the live revision's (or base's) time per token: noise is up to 2."""

SLOW_FLOOR = 0.005
"""Seconds per token on top, for engines so fast that a single pause is a multiple."""

REMEMBERED = 32
"""Candidates that passed and whose answers are kept, to compare the next candidate with."""


class Probe:
    """Compares candidates with the answers that base and live revision gave before the candidate was asked."""

    def __init__(self, engine: Engine, session: aiohttp.ClientSession) -> None:
        self._engine, self._session = engine, session
        self._sampled = bool(base_sampling(engine.plan.base))
        """A base with sampling parameters of its own may repeat itself under greedy decoding."""
        self._base: dict[str, ScoredAnswer] = {}
        self._passed: dict[str, dict[str, ScoredAnswer]] = {}

    async def check(
        self,
        name: str,
        prompts: Sequence[str],
        *,
        golden: Sequence[Mapping[str, str]] = (),
        live: str | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> ProbeReport:
        """Probes the loaded adapter `name`; `golden` holds pairs of `prompt` and `expect`, a regular expression.

        Never raises EngineError: an engine that cannot answer is a reason to refuse.
        """
        probing = _Probing(self, name, live, list(prompts or PROMPTS)[:MAX_PROMPTS], golden[:MAX_GOLDEN], max_tokens)
        started = time.perf_counter()
        try:
            await probing.run()
        except EngineError as error:
            probing.problems.insert(0, f"the engine could not answer with it: {error}")
        if not probing.problems:
            self._remember(name, probing.asked)
        probing.figures["seconds"] = round(time.perf_counter() - started, 3)
        return ProbeReport(problems=probing.problems, figures=probing.figures)

    async def base_answer(self, prompt: str) -> ScoredAnswer:
        """The start of the base's answer to `prompt`; asked once. Raises EngineError."""
        if prompt not in self._base:
            answer = await self.start(BASE_NAME, prompt)
            if not all(math.isfinite(p) for p in answer.logprobs):
                raise EngineError("the base itself no longer answers with numbers; the engine must be restarted")
            self._base[prompt] = answer
        return self._base[prompt]

    async def live_answer(self, name: str, prompt: str, max_tokens: int) -> ScoredAnswer:
        """The live revision's answer to `prompt`, kept from when it was the candidate itself."""
        return self._passed.get(name, {}).get(prompt) or await self.answer(name, prompt, max_tokens)

    async def answer(self, model: str, prompt: str, max_tokens: int = MAX_TOKENS) -> ScoredAnswer:
        """The answer of `model` to `prompt` now, sampled as for users."""
        return await ask(self._engine, self._session, model, prompt, max_tokens, sampled=self._sampled)

    async def start(self, model: str, prompt: str) -> ScoredAnswer:
        """The start of the greedy answer of `model` now; two of them can be compared."""
        return await ask(self._engine, self._session, model, prompt, COMPARED)

    async def short_answer(self, model: str, prompt: str) -> ScoredAnswer:
        """The first tokens of the answer of `model` now, for its speed."""
        return await ask(self._engine, self._session, model, prompt, SHORT_ANSWER, to_the_end=False)

    def _remember(self, name: str, answers: dict[str, ScoredAnswer]) -> None:
        self._passed[name] = answers
        while len(self._passed) > REMEMBERED:
            del self._passed[next(iter(self._passed))]


class _Probing:
    """The probe of one candidate and its results so far."""

    def __init__(
        self,
        probe: Probe,
        name: str,
        live: str | None,
        prompts: list[str],
        golden: Sequence[Mapping[str, str]],
        max_tokens: int,
    ) -> None:
        self.probe, self.name, self.live = probe, name, live
        self.prompts, self.golden, self.max_tokens = prompts, golden, max_tokens
        self.problems: list[str] = []
        self.figures: dict[str, float | int | str | None] = {"prompts": len(prompts)}
        self.asked: dict[str, ScoredAnswer] = {}
        """The candidate's answers."""
        self.starts: dict[str, ScoredAnswer] = {}
        """The starts of its greedy answers."""

    async def run(self) -> None:
        """Asks base and live revision, then the candidate, then the others again. Raises EngineError."""
        base = dict(zip(self.prompts, await _together(self.probe.base_answer(p) for p in self.prompts), strict=True))
        # Other requests in a batch can change the base's answer; a difference before the candidate is asked is not
        # its effect.
        before = await self._other_answers()
        self.asked, live = await self._answers()
        starts = await _together(self.probe.start(self.name, p) for p in self.prompts)
        self.starts = dict(zip(self.prompts, starts, strict=True))
        after = await self._other_answers()
        self._judge_answers()
        self._judge_golden(live)
        unharmed = {model: [answer] for model, answer in before.items()}
        unharmed[BASE_NAME].append(base[self.prompts[0]])
        noise = await self._judge_others(unharmed, after)
        await self._judge_pace(before, after)
        self._judge_effect(base, noise)

    async def _other_answers(self) -> dict[str, ScoredAnswer]:
        """The starts of the base's and the live revision's answers to the first prompt now."""
        others = list(filter(None, (BASE_NAME, self.live)))
        answers = await _together(self.probe.short_answer(model, self.prompts[0]) for model in others)
        return dict(zip(others, answers, strict=True))

    async def _answers(self) -> tuple[dict[str, ScoredAnswer], dict[str, ScoredAnswer]]:
        """The candidate's answers to all prompts, and the live revision's to the golden ones."""
        golden = list(dict.fromkeys(g["prompt"] for g in self.golden))
        wanted = list(dict.fromkeys([*self.prompts, *golden]))
        golden = golden if self.live else []
        answers = await _together(
            [
                *(self.probe.answer(self.name, p, self.max_tokens) for p in wanted),
                *(self.probe.live_answer(self.live or "", p, self.max_tokens) for p in golden),
            ]
        )
        return dict(zip(wanted, answers, strict=False)), dict(zip(golden, answers[len(wanted) :], strict=True))

    def _judge_answers(self) -> None:
        answers = [(prompt, self.asked[prompt]) for prompt in self.prompts]
        ended = self.figures["ended"] = sum(answer.finish == "stop" for _, answer in answers)
        if 2 * ended < len(answers):
            count = "no answer" if not ended else f"only {ended} of {len(answers)} answers"
            self.problems.append(f"{count} ended by itself within {self.max_tokens} tokens")
        finite = {}
        for prompt, answer in answers:
            if all(math.isfinite(p) for p in answer.logprobs):
                finite[prompt] = answer.text
            else:
                self.problems.append(f"its probabilities are not numbers on {prompt!r}")
        self.problems += odd_answers(finite, of_card=self.prompts != list(PROMPTS))

    def _judge_golden(self, live: dict[str, ScoredAnswer]) -> None:
        figures, problems = judge_golden(self.golden, _texts(self.asked), _texts(live))
        self.figures |= figures
        self.problems += problems

    async def _judge_others(self, unharmed: dict[str, list[ScoredAnswer]], now: dict[str, ScoredAnswer]) -> float:
        """Checks that base and live revision answer as before; returns the base's difference from itself."""
        for model, before in unharmed.items():
            if not any(same(answer, now[model]) for answer in before):
                now[model] = await self.probe.short_answer(model, self.prompts[0])
            if not any(same(answer, now[model]) for answer in before):
                called = "the base" if model == BASE_NAME else "the live revision"
                self.problems.append(f"{called} answers differently since the candidate is loaded")
        return min(difference(answer, now[BASE_NAME]) for answer in unharmed[BASE_NAME])

    async def _judge_pace(self, *others: dict[str, ScoredAnswer]) -> None:
        """Compares seconds per token with the live revision (or base); if it seems slow, measured again in turns."""
        reference = self.live or BASE_NAME
        mine = min(answer.pace for answer in self.asked.values())
        theirs = min(answers[reference].pace for answers in others)
        if slow(mine, theirs):
            mine, theirs = await self._paces(reference)
        theirs = max(theirs, 1e-9)
        if slow(mine, theirs):
            times = f"{mine / theirs:.0f} times as long as {reference}"
            self.problems.append(f"it takes {mine * 1000:.0f} ms a token, {times}")
        self.figures |= {
            "seconds_per_token": round(mine, 5),
            "reference": reference,
            "reference_seconds_per_token": round(theirs, 5),
            "slowdown": round(mine / theirs, 2),
        }

    async def _paces(self, reference: str, rounds: int = 3) -> tuple[float, float]:
        """The best time per token of each, measured in turns, so that other load affects both."""
        mine, theirs = [], []
        for _ in range(rounds):
            theirs.append((await self.probe.short_answer(reference, self.prompts[0])).pace)
            mine.append((await self.probe.short_answer(self.name, self.prompts[0])).pace)
        return min(mine), min(theirs)

    def _judge_effect(self, base: dict[str, ScoredAnswer], noise: float) -> None:
        effect = max(difference(self.starts[p], base[p]) for p in self.prompts)
        self.figures |= {"logprob_difference": _shown(effect), "noise": _shown(noise)}
        # A base that differs by more than that is harmed or shared a batch; its difference is not noise.
        noise = noise if noise <= SAME else 0.0
        if effect <= max(ACTS, NOISE * noise):
            self.problems.append(NO_EFFECT)


def slow(mine: float, theirs: float) -> bool:
    """Whether `mine` seconds per token are too many next to `theirs`."""
    return mine > SLOW * theirs + SLOW_FLOOR


def _texts(answers: Mapping[str, ScoredAnswer]) -> dict[str, str]:
    return {prompt: answer.text for prompt, answer in answers.items()}


def _shown(value: float) -> float:
    """Rounds and caps a figure for JSON."""
    return round(min(value, 1000.0), 6)


async def _together(calls: Iterable[Coroutine[object, object, ScoredAnswer]]) -> list[ScoredAnswer]:
    """Runs all calls; if one fails, waits for the others and raises its error."""
    answers = []
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        answers.append(result)
    return answers
