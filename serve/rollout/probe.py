"""Live checks of a loaded candidate: it acts, ends by itself, is no babble, is quick enough, and harms nobody else."""

import asyncio
import math
import re
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence

import aiohttp
from pydantic import BaseModel, ConfigDict

from serve.engine.logprobs import COMPARED, MAX_TOKENS, SAME, ScoredAnswer, ask, difference, same
from serve.engine.vllm import BASE_NAME, Engine
from understudy.bases.sampling import base_sampling
from understudy.errors import EngineError
from understudy.statistics.degenerate_text import degenerate

PROMPTS = ("Hello.", "Write about a lamp.", "What can you do?")
"""Asked when the persona's card has none. They may be far from what it was taught, so one odd answer is forgiven."""

MAX_PROMPTS = 3
MAX_GOLDEN = 8

ACTS = 1e-4
"""Least difference of a token's log-probability (in nats) that counts as acting; float32 noise is below 1e-5."""

NOISE = 4.0
"""It must also be so many times what the base differs from itself: in bfloat16 a batch alone moves it by 0.1."""

GLANCE = 8
"""Tokens that are asked of base and incumbent to see that they are unharmed, and to take the time."""

SLOW = 5.0
"""Times slower per token than the incumbent (or the base) at which a candidate is refused: noise is up to 2."""

SLOW_FLOOR = 0.005
"""Seconds per token on top, for engines so fast that a hiccup is a multiple."""

GOLDEN_TEXT = 2000
"""Characters of an answer that an expectation is searched in."""

REMEMBERED = 32
"""Candidates that passed and whose answers are kept: the next one is measured against one of them."""

GOLDEN_TOLERANCE = 0.25
"""Share of golden prompts by which a candidate may fall behind the incumbent: one of four, none of three."""


class ProbeReport(BaseModel):
    """Why a candidate is refused, and what was measured either way."""

    model_config = ConfigDict(frozen=True)

    problems: list[str]
    figures: dict[str, float | int | str | None]
    """`prompts` asked and how many `ended` by themselves; `logprob_difference` from the base and `noise`, what the
    base differs from itself (nats); `golden` prompts, `golden_met` by the candidate and by `golden_met_live`
    (None when not asked); `seconds_per_token`, those of the `reference` and their ratio `slowdown`; `seconds` of
    the whole probe."""


class Probe:
    """Compares candidates with what base and incumbent said before the candidate was first asked."""

    def __init__(self, engine: Engine, session: aiohttp.ClientSession) -> None:
        self._engine, self._session = engine, session
        self._sampled = bool(base_sampling(engine.plan.base))
        """A base that says how it wants to be sampled may repeat itself when asked greedily."""
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
        """Asks the loaded adapter `name`; `golden` holds pairs of `prompt` and `expect`, a regular expression.

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
        """How the base begins its answer to `prompt`; asked once. Raises EngineError."""
        if prompt not in self._base:
            answer = await self.start(BASE_NAME, prompt)
            if not all(math.isfinite(p) for p in answer.logprobs):
                raise EngineError("the base itself no longer answers with numbers; the engine must be restarted")
            self._base[prompt] = answer
        return self._base[prompt]

    async def live_answer(self, name: str, prompt: str, max_tokens: int) -> ScoredAnswer:
        """What a revision on stage says to `prompt`; not asked again if it was when it was the candidate."""
        return self._passed.get(name, {}).get(prompt) or await self.answer(name, prompt, max_tokens)

    async def answer(self, model: str, prompt: str, max_tokens: int = MAX_TOKENS) -> ScoredAnswer:
        """What `model` says to `prompt` now, sampled as people will hear it."""
        return await ask(self._engine, self._session, model, prompt, max_tokens, sampled=self._sampled)

    async def start(self, model: str, prompt: str) -> ScoredAnswer:
        """How the greedy answer of `model` begins now; two of them can be compared."""
        return await ask(self._engine, self._session, model, prompt, COMPARED)

    async def glance(self, model: str, prompt: str) -> ScoredAnswer:
        """The first tokens of what `model` says now."""
        return await ask(self._engine, self._session, model, prompt, GLANCE, to_the_end=False)

    def _remember(self, name: str, answers: dict[str, ScoredAnswer]) -> None:
        self._passed[name] = answers
        while len(self._passed) > REMEMBERED:
            del self._passed[next(iter(self._passed))]


class _Probing:
    """One candidate's probe: what was found so far."""

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
        """How its greedy answers begin."""

    async def run(self) -> None:
        """Others first, then the candidate, then the others again. Raises EngineError."""
        base = dict(zip(self.prompts, await _together(self.probe.base_answer(p) for p in self.prompts), strict=True))
        # The base's own company in a batch can move it; what it says now, before the candidate was ever asked, is
        # not the candidate's doing.
        before = await self._glances()
        self.asked, rival = await self._answers()
        starts = await _together(self.probe.start(self.name, p) for p in self.prompts)
        self.starts = dict(zip(self.prompts, starts, strict=True))
        after = await self._glances()
        self._judge_answers()
        self._judge_golden(rival)
        unharmed = {model: [look] for model, look in before.items()}
        unharmed[BASE_NAME].append(base[self.prompts[0]])
        noise = await self._judge_others(unharmed, after)
        await self._judge_pace(before, after)
        self._judge_effect(base, noise)

    async def _glances(self) -> dict[str, ScoredAnswer]:
        """How base and incumbent begin their answers to the first prompt now."""
        others = list(filter(None, (BASE_NAME, self.live)))
        looks = await _together(self.probe.glance(model, self.prompts[0]) for model in others)
        return dict(zip(others, looks, strict=True))

    async def _answers(self) -> tuple[dict[str, ScoredAnswer], dict[str, ScoredAnswer]]:
        """What the candidate says to everything, and the incumbent to the golden prompts."""
        golden = list(dict.fromkeys(g["prompt"] for g in self.golden))
        wanted = list(dict.fromkeys([*self.prompts, *golden]))
        golden = golden if self.live else []
        said = await _together(
            [
                *(self.probe.answer(self.name, p, self.max_tokens) for p in wanted),
                *(self.probe.live_answer(self.live or "", p, self.max_tokens) for p in golden),
            ]
        )
        return dict(zip(wanted, said, strict=False)), dict(zip(golden, said[len(wanted) :], strict=True))

    def _judge_answers(self) -> None:
        answers = [(prompt, self.asked[prompt]) for prompt in self.prompts]
        ended = self.figures["ended"] = sum(answer.finish == "stop" for _, answer in answers)
        if 2 * ended < len(answers):
            count = "no answer" if not ended else f"only {ended} of {len(answers)} answers"
            self.problems.append(f"{count} ended by itself within {self.max_tokens} tokens")
        odd = []
        for prompt, answer in answers:
            if not all(math.isfinite(p) for p in answer.logprobs):
                self.problems.append(f"its probabilities are not numbers on {prompt!r}")
            elif why := degenerate(answer.text, prompt):
                odd.append(f"{why} on {prompt!r}")
        forgiven = 1 if self.prompts == list(PROMPTS) else 0
        self.problems += odd if len(odd) > forgiven else []

    def _judge_golden(self, rival: dict[str, ScoredAnswer]) -> None:
        """As many expectations met as the incumbent meets, but for the tolerance; without an incumbent half."""
        total = self.figures["golden"] = len(self.golden)
        met, of_rival = (met_of(self.golden, a) if total and a else None for a in (self.asked, rival))
        self.figures |= {"golden_met": met, "golden_met_live": of_rival}
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

    async def _judge_others(self, unharmed: dict[str, list[ScoredAnswer]], now: dict[str, ScoredAnswer]) -> float:
        """Whether base and incumbent answer as before. Returns what the base differs from itself."""
        for model, before in unharmed.items():
            if not any(same(answer, now[model]) for answer in before):
                now[model] = await self.probe.glance(model, self.prompts[0])
            if not any(same(answer, now[model]) for answer in before):
                called = "the base" if model == BASE_NAME else "the incumbent"
                self.problems.append(f"{called} answers differently since it is loaded")
        return min(difference(answer, now[BASE_NAME]) for answer in unharmed[BASE_NAME])

    async def _judge_pace(self, *glances: dict[str, ScoredAnswer]) -> None:
        """Seconds per token against the incumbent's (or the base's); where that looks slow, in turns, which decides."""
        reference = self.live or BASE_NAME
        mine = min(answer.pace for answer in self.asked.values())
        theirs = min(look[reference].pace for look in glances)
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
        """The best pace of each, taken in turns, so that other load falls on both."""
        mine, theirs = [], []
        for _ in range(rounds):
            theirs.append((await self.probe.glance(reference, self.prompts[0])).pace)
            mine.append((await self.probe.glance(self.name, self.prompts[0])).pace)
        return min(mine), min(theirs)

    def _judge_effect(self, base: dict[str, ScoredAnswer], noise: float) -> None:
        effect = max(difference(self.starts[p], base[p]) for p in self.prompts)
        self.figures |= {"logprob_difference": _shown(effect), "noise": _shown(noise)}
        # Where the base is off by more than that it is harmed or kept bad company, and tells nothing about noise.
        noise = noise if noise <= SAME else 0.0
        if effect <= max(ACTS, NOISE * noise):
            self.problems.append("its answers are those of the base: the adapter does not act")


def slow(mine: float, theirs: float) -> bool:
    """Whether seconds per token are out of proportion."""
    return mine > SLOW * theirs + SLOW_FLOOR


def meets(answer: ScoredAnswer, expect: str) -> bool:
    """Whether the expectation, a regular expression, is found in the answer; one that cannot be read is not met."""
    try:
        return re.search(expect, answer.text[:GOLDEN_TEXT]) is not None
    except (re.error, RecursionError):
        return False


def met_of(golden: Sequence[Mapping[str, str]], answers: Mapping[str, ScoredAnswer]) -> int:
    """How many expectations the answers meet."""
    return sum(meets(answers[g["prompt"]], g["expect"]) for g in golden)


def _shown(value: float) -> float:
    """A figure that fits into JSON."""
    return round(min(value, 1000.0), 6)


async def _together(calls: Iterable[Coroutine[object, object, ScoredAnswer]]) -> list[ScoredAnswer]:
    """All answers; when one fails the others are waited for, and its error is raised."""
    answers = []
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        answers.append(result)
    return answers
