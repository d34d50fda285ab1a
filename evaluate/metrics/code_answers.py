"""Answers that are Python: do they hold code, does it parse, does it run, and how like is it to the data's own?"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from pydantic import BaseModel, ConfigDict

from evaluate.code.evaluation import default_workers
from evaluate.code.metrics import chrf_scorer, fenced_code, longest_code, normalized, parses
from evaluate.code.sandbox import SandboxLimits, run_program
from understudy.config.thresholds import CodeThresholds
from understudy.statistics.intervals import Estimate, bootstrap_mean, rate


class CodeMeasures(BaseModel):
    """The code in one contestant's answers to the held-out prompts."""

    model_config = ConfigDict(frozen=True)

    parses: Estimate
    """Share of answers with code in them that is Python."""
    runs: Estimate
    """Share of answers whose code runs to its end in the sandbox (`evaluate.code.sandbox`): no error, in time."""
    chrf: Estimate
    """0 to 100: how alike the code and the data's own look (chrF; comments and layout apart)."""


def measure_code(answers: Sequence[str], references: Sequence[str], *, seed: int, seconds: float = 5.0) -> CodeMeasures:
    """Runs the code in each answer once; an answer without code neither parses nor runs.

    Args:
        references: the data's own answers, one each.
        seconds: for each program.

    Raises:
        ExamplesError: code cannot be run on this machine.
    """
    programs = [code_in(answer) for answer in answers]
    with ThreadPoolExecutor(default_workers(), thread_name_prefix="sandbox") as pool:
        ran = list(pool.map(lambda program: _runs(program, seconds), programs))
    score = chrf_scorer()
    pairs = zip(programs, references, strict=True)
    alike = [score(normalized(program), normalized(code_in(right))) for program, right in pairs]
    return CodeMeasures(
        parses=rate(sum(bool(program) and parses(program) for program in programs), len(programs)),
        runs=rate(sum(ran), len(ran)),
        chrf=bootstrap_mean(alike, bounds=(0, 100), seed=seed),
    )


def code_in(answer: str) -> str:
    """The Python in an answer: a fenced block, else the longest run of lines that is a program; empty without."""
    return fenced_code(answer) or longest_code(answer)


def code_reasons(mine: CodeMeasures, asked: CodeThresholds) -> list[str]:
    """Every threshold that is missed, with the figure, the limit and what to do."""
    reasons = []
    floors = (("parses", mine.parses, asked.parses), ("runs without an error", mine.runs, asked.runs))
    for what, found, least in floors:
        if found.value < least:
            reasons.append(
                f"the code of {found.value:.0%} of its answers {what}, at least {least:.0%} must; look at the "
                "rows' own code first, then fewer epochs"
            )
    if mine.chrf.value < asked.chrf:
        reasons.append(
            f"its code is {mine.chrf.value:.0f} chrF like the data's own, at least {asked.chrf:g} is needed; more "
            "epochs or rows"
        )
    return reasons


@lru_cache(maxsize=4096)
def _runs(program: str, seconds: float) -> bool:
    if not program:
        return False
    return run_program(program, limits=SandboxLimits(seconds=seconds, output_chars=0)).outcome == "passed"
