"""How varied the answers are among themselves, beside the same figures for the training answers."""

import random
import zlib
from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict
from sacrebleu.metrics.bleu import BLEU

from understudy.errors import MeasurementError
from understudy.statistics.answer_checks import words

SAMPLE = 50
"""Most texts that are compared with each other: self-BLEU takes time with their square."""


class Diversity(BaseModel):
    """How varied some texts are. Figures depend on how many texts and words there are: compare like with like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: int
    """Texts that all figures but `identical` rest on."""
    words: int
    """Words in them."""
    distinct_1: float
    """Distinct words over all words, 0 to 1 (distinct-n: Li et al. 2016, arXiv:1510.03055)."""
    distinct_2: float
    distinct_3: float
    self_bleu: float | None
    """Mean BLEU of each text against all others, 0 to 1; 1 is all the same (Zhu et al. 2018, arXiv:1802.01886).
    None for fewer than two texts."""
    compression: float
    """Bytes over bytes after zlib; more is more repetitive (compared by Shaib et al. 2024, arXiv:2403.00553)."""
    identical: float
    """Share of all texts given that are word for word another one of them (case and white space do not matter)."""


class DiversityReport(BaseModel):
    """The answers and what they were learnt from, measured on equally many texts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answers: Diversity
    training: Diversity


def diversity(answers: Sequence[str], training_answers: Sequence[str], *, seed: int = 0) -> DiversityReport:
    """How varied the answers are, beside the training answers.

    All figures but `identical` fall or rise with the number of texts, so both sides are measured on as many texts
    as the smaller has, 50 at most, drawn by `seed`. The order of the texts does not matter.

    Raises:
        MeasurementError: one side has no texts.
    """
    size = min(len(answers), len(training_answers))
    return DiversityReport(
        answers=measure_diversity(answers, sample=size, seed=seed),
        training=measure_diversity(training_answers, sample=size, seed=seed),
    )


def measure_diversity(texts: Sequence[str], *, sample: int = SAMPLE, seed: int = 0) -> Diversity:
    """The figures of one set of texts, on at most `sample` of them (and never more than 50), drawn by `seed`.

    Raises:
        MeasurementError: there are no texts.
    """
    size = min(sample, len(texts), SAMPLE)
    if size < 1:
        raise MeasurementError("there are no texts to measure; diversity needs at least one on each side")
    drawn = sorted(random.Random(seed).sample(sorted(texts), size))
    tokens = [words(text) for text in drawn]
    return Diversity(
        texts=size,
        words=sum(map(len, tokens)),
        distinct_1=distinct(tokens, 1),
        distinct_2=distinct(tokens, 2),
        distinct_3=distinct(tokens, 3),
        self_bleu=self_bleu(drawn),
        compression=compression(drawn),
        identical=identical(texts),
    )


def distinct(tokens: Sequence[Sequence[str]], n: int) -> float:
    """Distinct runs of `n` words over all runs of `n` words, 0 to 1; 0 where no text has `n` words."""
    runs = [run for text in tokens for run in zip(*(text[i:] for i in range(n)), strict=False)]
    return len(set(runs)) / len(runs) if runs else 0.0


def self_bleu(texts: Sequence[str]) -> float | None:
    """Mean sentence BLEU (sacrebleu, effective order) of each text against all others, 0 to 1; None for one text."""
    if len(texts) < 2:
        return None
    bleu = BLEU(effective_order=True)
    scores = [bleu.sentence_score(text, [*texts[:i], *texts[i + 1 :]]).score for i, text in enumerate(texts)]
    return min(1.0, sum(scores) / len(scores) / 100)


def compression(texts: Sequence[str]) -> float:
    """Bytes (UTF-8, one text a line) over bytes after zlib at its highest level; 0 for nothing at all."""
    data = "\n".join(texts).encode("utf-8", "replace")
    return len(data) / len(zlib.compress(data, 9))


def identical(texts: Sequence[str]) -> float:
    """Share of texts that another text repeats, but for case and white space, 0 to 1."""
    counts = Counter(" ".join(text.casefold().split()) for text in texts)
    return sum(count for count in counts.values() if count > 1) / len(texts)
