"""Does the adapter act where it will be served: vLLM's answers beside transformers', and beside the base's."""

from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from understudy.proof import Testimony, Thresholds
from understudy.statistics.intervals import Estimate, rate


class ServedMeasures(BaseModel):
    """Greedy answers of vLLM to some of the held-out prompts."""

    model_config = ConfigDict(frozen=True)

    acts: Estimate | None
    """Share of the answers that are not the base's; None, as the rest, when vLLM could not be asked."""
    same_answers: Estimate | None
    """Share of the answers that are transformers' own, word for word."""
    same_tokens: float | None
    """Share of an answer's tokens before it parts from transformers' answer, on average; in bfloat16 near-ties part."""
    problem: str
    """Why vLLM could not be asked; empty if it could."""


def served_measures(t: Testimony) -> ServedMeasures | None:
    """The figures; None when nobody asked vLLM."""
    if t.served is None:
        return None
    if t.served.problem:
        return ServedMeasures(acts=None, same_answers=None, same_tokens=None, problem=t.served.problem)
    mine, n = t.served.adapter, len(t.served.adapter)
    by_transformers = t.greedy or {"base": t.heard["base"].answers, "adapter": t.heard["adapter"].answers}
    base = t.served.base or by_transformers["base"][:n]
    transformers = by_transformers["adapter"][:n]
    return ServedMeasures(
        acts=rate(sum(a.text != b.text for a, b in zip(mine, base, strict=True)), n),
        same_answers=rate(sum(a.text == b.text for a, b in zip(mine, transformers, strict=True)), n),
        same_tokens=fmean(_shared(a.ids, b.ids) for a, b in zip(mine, transformers, strict=True)),
        problem="",
    )


def served_reasons(found: ServedMeasures | None, asked: Thresholds) -> list[str]:
    """Why it is not as it should be where it is served."""
    if found is None:
        return []
    if found.acts is None or found.same_tokens is None:
        return [f"vLLM does not serve it: {found.problem} (--no-engine leaves that question out)"]
    reasons = []
    if found.acts.value < asked.acts:
        reasons.append(
            f"through vLLM, {found.acts.value:.0%} of its answers are not the base's, at least {asked.acts:.0%} must "
            "be; it does not act there"
        )
    if found.same_tokens < asked.served:
        reasons.append(
            f"vLLM's answers are those of transformers for {found.same_tokens:.0%} of their tokens, at least "
            f"{asked.served:.0%} are needed; what is served is not what was trained"
        )
    return reasons


def _shared(one: Sequence[int], other: Sequence[int]) -> float:
    """Share of tokens before the first difference."""
    longest = max(len(one), len(other))
    same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return same / longest if longest else 1.0
