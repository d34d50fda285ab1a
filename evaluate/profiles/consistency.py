"""Consistency: how far the samples of one prompt agree, and how faithful they are to the record in it.

Agreement is a mean over pairs of samples of a prompt, then over prompts; intervals resample prompts, for samples of
one prompt are not independent. A system may agree with itself and be wrong every time: read both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from sacrebleu.metrics.chrf import CHRF

from evaluate.profiles.facts import Facts, Lexicon, fates, made_up
from understudy.statistics.intervals import Estimate, bootstrap_mean

Way = Callable[[str, str], float | None]
"""How alike two texts are, 0 to 1; None where that is no question."""


@dataclass(frozen=True)
class Sampled:
    """A prompt, its record, and all answers of one system to it."""

    prompt: str
    facts: Facts
    answers: tuple[str, ...]


def faithfulness(sampled: Sequence[Sampled], lexicon: Lexicon, *, seed: int) -> dict[str, Estimate | None]:
    """Shares of answers and attributes, by name of the measure; None where there are no answers.

    `faithful`: answers that say every attribute of the record and no other known value. `kept`, `changed`: of the
    attributes that are to be told (a pronoun is only counted where it is used).
    """
    prompts: list[str] = []
    rows: list[tuple[float, float, float]] = []
    for one in sampled:
        for answer in one.answers:
            said = lexicon.said(answer)
            fate = [found for found in fates(one.facts, said, lexicon).values() if found != "unsaid"]
            whole = all(found == "kept" for found in fate) and not made_up(one.facts, said)
            share = 1 / max(1, len(fate))
            rows.append((float(whole), fate.count("kept") * share, fate.count("changed") * share))
            prompts.append(one.prompt)
    names = ("faithful", "kept", "changed")
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    return {name: _mean(list(values), prompts, seed) for name, values in zip(names, columns, strict=True)}


def agreement(sampled: Sequence[Sampled], lexicon: Lexicon, *, seed: int) -> dict[str, Estimate | None]:
    """Agreement of pairs of samples, by name of the measure; None where no prompt has two samples.

    `identical`: word for word the same, but for white space. `same_facts`: of the attributes that at least one of the
    two says a known value of, the share of which both say the same; pairs that say none are left out. `similar`: chrF
    with precision and recall weighing alike (Popović 2015), which does not care which of the two comes first.
    """
    chrf = CHRF(beta=1)

    def facts(one: str, other: str) -> float | None:
        mine, theirs = lexicon.said(one), lexicon.said(other)
        told = [name for name in mine if mine[name] or theirs[name]]
        return sum(mine[name] == theirs[name] for name in told) / len(told) if told else None

    def similar(one: str, other: str) -> float:
        return 1.0 if one == other else min(1.0, chrf.sentence_score(one, [other]).score / 100)

    ways: dict[str, Way] = {
        "identical": lambda one, other: float(one == other),
        "same_facts": facts,
        "similar": similar,
    }
    several = [one for one in sampled if len(one.answers) > 1]
    return {name: _pairs(several, way, seed) for name, way in ways.items()}


def _pairs(sampled: Sequence[Sampled], way: Way, seed: int) -> Estimate | None:
    values, prompts = [], []
    for one in sampled:
        texts = [" ".join(answer.split()) for answer in one.answers]
        for a, b in combinations(texts, 2):
            value = way(a, b)
            if value is not None:
                values.append(value)
                prompts.append(one.prompt)
    return _mean(values, prompts, seed)


def _mean(values: Sequence[float], prompts: Sequence[str], seed: int) -> Estimate | None:
    return bootstrap_mean(values, prompts=prompts, bounds=(0, 1), seed=seed) if values else None
