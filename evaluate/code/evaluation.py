"""Judges generated code: runs each sample against its problem's tests, and says how often that goes well.

    understudy eval-code PROBLEMS SAMPLES [--json]

The code runs on this machine: see `evaluate.code.sandbox` for what that means.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from evaluate.code.metrics import chrf_scorer, exact_match, mean_over_problems, normalized, parses, pass_at_k
from evaluate.code.problems import CodeAnswer, CodeProblem
from evaluate.code.sandbox import Outcome, ProgramRun, SandboxLimits, run_program
from understudy.errors import ExamplesError

KS = (1, 5, 10, 100)


class PassRate(BaseModel):
    """A mean over problems and its 95 % interval (percentile bootstrap over problems)."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float


class TaskResult(BaseModel):
    """How the samples of one task did."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    samples: int
    passed: int
    outcomes: dict[Outcome, int]


class CodeReport(BaseModel):
    """What the samples are worth."""

    model_config = ConfigDict(frozen=True)

    problems: int
    """Problems with at least one sample; every figure is about these."""
    samples: int
    without_samples: list[str]
    """Tasks that nobody answered. They count neither for nor against."""
    tasks: list[TaskResult]
    pass_at: dict[int, PassRate]
    """k -> pass@k, 0 to 1, for each k that every task has samples for."""
    too_few_samples_for: list[int]
    """Each k that was asked for and left out, because a task has fewer samples."""
    parse_rate: float
    """Share of the samples that make a program that parses."""
    outcomes: dict[Outcome, int]
    chrf: float | None
    """0 to 100: samples against the reference solutions, mean over samples; None without references."""
    exact_match: float | None
    """Share of the samples that are the reference solution but for layout, comments and docstrings."""
    seconds: float
    """Wall-clock time of all of it."""
    network_cut: bool
    """Whether no program had a network."""
    writes_confined: bool
    """Whether no program could write outside its own folder."""
    limits: SandboxLimits
    seed: int
    """Of the intervals."""


def default_workers() -> int:
    """Programs at one time: the cores we may use but one, at least one. With more, programs time out unjustly."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


def evaluate(
    problems: Sequence[CodeProblem],
    samples: Sequence[CodeAnswer],
    *,
    limits: SandboxLimits | None = None,
    workers: int | None = None,
    ks: Sequence[int] = KS,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> CodeReport:
    """Runs every sample once and reports. Samples of tasks that are not among `problems` are a mistake.

    `on_progress(done, total)` is called in the caller's thread after each sample.

    Raises:
        ExamplesError: there are no samples, a sample's task or a k makes no sense, or code cannot be run here.
    """
    limits, started = limits or SandboxLimits(), time.monotonic()
    by_id = {problem.task_id: problem for problem in problems}
    strangers = sorted({sample.task_id for sample in samples} - by_id.keys())
    if strangers or not samples:
        raise ExamplesError(f"no problem for {', '.join(strangers[:5])}" if strangers else "there are no samples")
    if any(k < 1 for k in ks):
        raise ExamplesError(f"pass@k needs k of at least 1, found {min(ks)}")
    programs = [by_id[sample.task_id].program(sample.answer) for sample in samples]
    jobs = [(by_id[sample.task_id], program) for sample, program in zip(samples, programs, strict=True)]
    chrf, exact = _likeness(jobs)
    runs = _run_all(jobs, limits, workers or default_workers(), on_progress)
    tasks = _tasks(problems, samples, runs)
    pass_at, too_few = _pass_at(tasks, ks, seed)
    return CodeReport(
        problems=len(tasks),
        samples=len(samples),
        without_samples=[task for task in by_id if task not in {sample.task_id for sample in samples}],
        tasks=tasks,
        pass_at=pass_at,
        too_few_samples_for=too_few,
        parse_rate=fmean(map(parses, programs)),
        outcomes=dict(Counter(run.outcome for run in runs)),
        chrf=chrf,
        exact_match=exact,
        seconds=time.monotonic() - started,
        network_cut=all(run.network_cut for run in runs),
        writes_confined=all(run.writes_confined for run in runs),
        limits=limits,
        seed=seed,
    )


def _run_all(
    jobs: Sequence[tuple[CodeProblem, str]],
    limits: SandboxLimits,
    workers: int,
    on_progress: Callable[[int, int], None],
) -> list[ProgramRun]:
    """One run for each job, in their order."""
    with ThreadPoolExecutor(workers, thread_name_prefix="sandbox") as pool:
        futures = [pool.submit(_run, problem, program, limits) for problem, program in jobs]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()  # a sandbox that does not start ends it all at once
                on_progress(done, len(futures))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [future.result() for future in futures]


def _run(problem: CodeProblem, program: str, limits: SandboxLimits) -> ProgramRun:
    """One run without what it wrote, which for thousands of samples would fill the memory."""
    run = run_program(program, [problem.tests], setup=problem.setup, limits=limits)
    return run.model_copy(update={"stdout": "", "stderr": ""})


def _tasks(
    problems: Sequence[CodeProblem], samples: Sequence[CodeAnswer], runs: Sequence[ProgramRun]
) -> list[TaskResult]:
    counts: dict[str, Counter[Outcome]] = {}
    for sample, run in zip(samples, runs, strict=True):
        counts.setdefault(sample.task_id, Counter())[run.outcome] += 1
    return [
        TaskResult(task_id=task, samples=outcomes.total(), passed=outcomes["passed"], outcomes=dict(outcomes))
        for task, outcomes in ((problem.task_id, counts.get(problem.task_id)) for problem in problems)
        if outcomes
    ]


def _pass_at(tasks: Sequence[TaskResult], ks: Sequence[int], seed: int) -> tuple[dict[int, PassRate], list[int]]:
    fewest = min(task.samples for task in tasks)
    figures = {}
    for k in sorted({k for k in ks if k <= fewest}):
        mean = mean_over_problems([pass_at_k(task.samples, task.passed, k) for task in tasks], seed=seed)
        figures[k] = PassRate(value=mean.value, low=mean.low, high=mean.high)
    return figures, sorted({k for k in ks if k > fewest})


def _likeness(jobs: Sequence[tuple[CodeProblem, str]]) -> tuple[float | None, float | None]:
    """chrF and exact match over the samples of problems with a reference."""
    pairs = [(program, problem.reference, problem.entry_point) for problem, program in jobs if problem.reference]
    if not pairs:
        return None, None
    chrf = chrf_scorer()
    alike = fmean(chrf(normalized(program, name), normalized(right, name)) for program, right, name in pairs)
    return alike, fmean(exact_match(*pair) for pair in pairs)
