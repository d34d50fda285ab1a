"""Evaluates generated code: runs each sample against its problem's tests and measures how often they pass.

    understudy eval-code PROBLEMS SAMPLES [--json]

The code runs on this machine; `evaluate.code.sandbox` says how it is confined.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from evaluate.code.metrics import (
    PassRate,
    chrf_scorer,
    exact_match,
    mean_over_problems,
    normalized,
    parses,
    pass_at_k,
)
from evaluate.code.problems import CodeAnswer, CodeProblem
from evaluate.code.sandbox import Outcome, ProgramRun, SandboxLimits, run_program
from understudy.errors import ExamplesError

KS = (1, 5, 10, 100)


class TaskResult(BaseModel):
    """The outcomes of one task's samples."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    samples: int
    passed: int
    outcomes: dict[Outcome, int]


class CodeReport(BaseModel):
    """Every figure about the samples."""

    model_config = ConfigDict(frozen=True)

    problems: int
    """Problems with at least one sample; all figures are about these."""
    samples: int
    without_samples: list[str]
    """Tasks without an answer, which are not counted."""
    tasks: list[TaskResult]
    pass_at: dict[int, PassRate]
    """k -> pass@k, 0 to 1, for each k that every task has samples for."""
    too_few_samples_for: list[int]
    """Each requested k that is left out because a task has fewer samples."""
    parse_rate: float
    """Share of the samples whose program parses."""
    outcomes: dict[Outcome, int]
    chrf: float | None
    """0 to 100: samples against the reference solutions, mean over samples; None without references."""
    exact_match: float | None
    """Share of the samples equal to the reference solution, ignoring layout, comments and docstrings."""
    seconds: float
    """Wall-clock time of the whole evaluation."""
    network_cut: bool
    """Whether every program ran without a network."""
    writes_confined: bool
    """Whether every program could only write to its own folder."""
    limits: SandboxLimits
    seed: int
    """Of the intervals."""


def default_workers() -> int:
    """Returns all usable cores but one, at least one: with more programs at once, some time out unfairly."""
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
    """Runs every sample once and reports. `on_progress(done, total)` is called in this thread after each sample.

    Raises:
        ExamplesError: there are no samples, a sample's task or a k makes no sense, or code cannot be run here.
    """
    limits, started = limits or SandboxLimits(), time.monotonic()
    by_id = {problem.task_id: problem for problem in problems}
    unknown = sorted({sample.task_id for sample in samples} - by_id.keys())
    if unknown or not samples:
        raise ExamplesError(f"no problem for {', '.join(unknown[:5])}" if unknown else "there are no samples")
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
    """Runs all jobs; returns the runs in the order of the jobs."""
    with ThreadPoolExecutor(workers, thread_name_prefix="sandbox") as pool:
        futures = [pool.submit(_run, problem, program, limits) for problem, program in jobs]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()  # if the sandbox does not start, stop at once
                on_progress(done, len(futures))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [future.result() for future in futures]


def _run(problem: CodeProblem, program: str, limits: SandboxLimits) -> ProgramRun:
    """Runs one program and drops its output, which for thousands of samples would fill the memory."""
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
        figures[k] = mean_over_problems([pass_at_k(task.samples, task.passed, k) for task in tasks], seed=seed)
    return figures, sorted({k for k in ks if k > fewest})


def _likeness(jobs: Sequence[tuple[CodeProblem, str]]) -> tuple[float | None, float | None]:
    """Measures chrF and exact match over the samples of problems with a reference."""
    pairs = [(program, problem.reference, problem.entry_point) for problem, program in jobs if problem.reference]
    if not pairs:
        return None, None
    chrf = chrf_scorer()
    alike = fmean(chrf(normalized(program, name), normalized(right, name)) for program, right, name in pairs)
    return alike, fmean(exact_match(*pair) for pair in pairs)
