"""Accuracy: whether an answer is closer in meaning to its own reference than to the others."""

import random
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from sacrebleu.metrics.chrf import CHRF

from evaluate.metrics.embeddings import Embed
from evaluate.metrics.style import MARK, masked
from understudy.errors import MeasurementError
from understudy.statistics.intervals import Estimate, bootstrap_mean

SAME = 0.9
"""References with at least this mean cosine are one template with different topics."""
OTHERS = 16
"""Other references that an answer's chrF is compared with."""


class AccuracyReport(BaseModel):
    """How well the answers match their own references, for one contestant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[float, ...]
    """By answer: share of the other references that are less like it in meaning than its own; ties count half."""
    meaning: Estimate
    """Mean of `rows`: the area under the ROC curve for telling the right reference from a wrong one. 0.5 is chance."""
    detail_rows: tuple[float, ...]
    """As `rows`, with the prompt's words masked in answers and references; empty if `details` is None."""
    details: Estimate | None
    """Their mean: besides naming the topic, an answer must say what the reference says about it. None if the
    references differ in little but their topics."""
    chrf: Estimate
    """The same by common characters (chrF: Popović 2015), a second opinion without a model."""


def accuracy(
    answers: Sequence[str], references: Sequence[str], embed: Embed, *, prompts: Sequence[str], seed: int = 0
) -> AccuracyReport:
    """Ranks all references by their likeness to each answer and measures the rank of its own.

    A reference that several rows share counts as each row's own. Facts that the encoder does not distinguish (a
    wrong year, a negation) are not noticed.

    Raises:
        MeasurementError: fewer than two different references, or the numbers differ.
    """
    if len(answers) != len(references):
        raise MeasurementError(f"{len(answers)} answers for {len(references)} references; each answer has one")
    if len(set(references)) < 2:
        raise MeasurementError("accuracy compares references: write at least two different held-out answers")
    cosines = embed(answers) @ embed(references).T
    rows = _ranks(cosines, references)
    bare = embed(_bare(references, prompts))
    detail_ranks = _ranks(embed(_bare(answers, prompts)) @ bare.T, references) if _differ(bare) else []

    def mean(values: Sequence[float]) -> Estimate:
        return bootstrap_mean(values, prompts=prompts, bounds=(0, 1), seed=seed)

    return AccuracyReport(
        rows=tuple(rows),
        detail_rows=tuple(detail_ranks),
        meaning=mean(rows),
        details=mean(detail_ranks) if detail_ranks else None,
        chrf=mean(_ranks(_chrf(answers, references, seed), references)),
    )


def _differ(bare: np.ndarray) -> bool:
    """Whether the references still differ without their topics."""
    alike = bare @ bare.T
    return float(alike[~np.eye(len(bare), dtype=bool)].mean()) < SAME


def _bare(texts: Sequence[str], prompts: Sequence[str]) -> list[str]:
    """Removes the words of its prompt from each text."""
    return [masked(text, prompt).replace(MARK, " ") for text, prompt in zip(texts, prompts, strict=True)]


def _chrf(answers: Sequence[str], references: Sequence[str], seed: int) -> np.ndarray:
    """Returns chrF (0 to 100) of each answer against its own and some random references; NaN elsewhere."""
    scorer, draw = CHRF(), random.Random(seed)
    alike = np.full((len(answers), len(references)), np.nan)
    for i, answer in enumerate(answers):
        others = [j for j, one in enumerate(references) if one != references[i]]
        for j in (i, *draw.sample(others, min(OTHERS, len(others)))):
            alike[i, j] = scorer.sentence_score(answer, [references[j]]).score
    return alike


def _ranks(likeness: np.ndarray, references: Sequence[str]) -> list[float]:
    """Returns, by row, the share of other references whose value is below that of the row's own; ties count half."""
    ranks = []
    for i, row in enumerate(likeness):
        others = np.array([row[j] for j, one in enumerate(references) if one != references[i] and np.isfinite(row[j])])
        ranks.append(float((others < row[i]).mean() + (others == row[i]).mean() / 2))
    return ranks
