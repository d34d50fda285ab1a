"""Recorded load: one line an answer (docs/results/trace.jsonl), and what an engine's steps cost, worked out from it."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from bench.machine import RESULTS
from bench.simulation import Cost, Plan, Simulation
from bench.slot_rule import Request

TRACE = RESULTS / "trace.jsonl"


def write_trace(parts: Mapping[str, Sequence[Request]], path: Path = TRACE) -> Path:
    """Writes the parts of a recording; times in seconds since the first arrival of the part, to the microsecond."""
    lines = [json.dumps({"part": part, **_row(request)}) for part, requests in parts.items() for request in requests]
    path.write_text("\n".join(lines) + "\n")
    return path


def read_trace(path: Path = TRACE) -> dict[str, list[Request]]:
    """The parts of a recording, each in the order of arrival."""
    parts: dict[str, list[Request]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        parts.setdefault(row.pop("part"), []).append(Request(**row))
    return {part: sorted(requests, key=lambda r: r.arrival) for part, requests in parts.items()}


def _row(request: Request) -> dict[str, object]:
    times = {name: round(getattr(request, name), 6) for name in ("arrival", "first", "end")}
    return {"persona": request.persona, "prompt": request.prompt, "tokens": request.tokens, **times}


def anew(requests: Sequence[Request]) -> list[Request]:
    """The same questions, not yet answered."""
    return [Request(r.arrival, r.persona, r.prompt, r.tokens) for r in requests]


def calibrate(recorded: Sequence[Request], plan: Plan, *, prompt: float = 0.0, load: float = 0.0) -> Cost:
    """The cost of steps that explains best how long the recorded answers took from first token to last.

    Within an answer of n tokens lie n - 1 steps. What they cost together is the fixed cost n - 1 times, the cost of a
    sequence once for every token that anybody got meanwhile, and so on: linear in what we look for, none of which
    is negative. What a token of a prompt and a load of an adapter cost (`prompt`, `load`, in seconds) was measured
    apart. The overhead is what the simulation's first tokens come too early, at the median.
    """
    answers = [r for r in recorded if r.tokens > 1 and r.end > r.first]
    rows = np.array([_features(r, recorded) for r in answers])
    took = np.array([r.end - r.first for r in answers])
    # Not weighted by 1 / took: pauses only ever make answers slower, and relative errors would then favour too little.
    solution, _ = nnls(rows[:, :3], took - prompt * rows[:, 3])
    step, sequence, adapter = (float(x) for x in solution)
    cost = Cost(step, sequence, adapter, prompt, load)
    again = replay(recorded, cost, plan)
    early = statistics.median(r.first - s.first for r, s in zip(recorded, again, strict=True))
    return replace(cost, overhead=max(0.0, early))


def replay(recorded: Sequence[Request], cost: Cost, plan: Plan, *, seed: int = 0) -> list[Request]:
    """What the simulation makes of the same arrivals, in their order."""
    requests = anew(recorded)
    Simulation(cost, plan, seed=seed).run(requests)
    return requests


def _features(one: Request, recorded: Sequence[Request]) -> tuple[float, float, float, float]:
    """Of the steps between its first token and its last: how many, tokens of all, adapters in all, prompt tokens."""
    begin, end = one.first, one.end
    tokens, prompts, together = 0.0, 0.0, dict[str, list[tuple[float, float]]]()
    for other in recorded:
        if other.first > end or other.end < begin:
            continue
        if begin < other.first:
            prompts += other.prompt
            tokens += 1
        overlap = min(end, other.end) - max(begin, other.first)
        if overlap > 0 and other.end > other.first:
            tokens += (other.tokens - 1) * overlap / (other.end - other.first)
        if other.persona:
            together.setdefault(other.persona, []).append((max(begin, other.first), min(end, other.end)))
    steps = one.tokens - 1
    present = sum(_covered(spans) for spans in together.values()) / (end - begin)
    return (steps, tokens, present * steps, prompts)


def _covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total
