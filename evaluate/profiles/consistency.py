"""Consistency: how far the samples of one prompt agree, and how faithful they are to its record.

Agreement is averaged over pairs of samples of a prompt, then over prompts; intervals resample prompts, because
samples of one prompt are not independent. A system may agree with itself and be wrong every time: read both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from sacrebleu.metrics.chrf import CHRF

from evaluate.profiles.facts import Facts, Lexicon, made_up, outcomes
from understudy.statistics.intervals import Estimate, bootstrap_mean

Likeness = Callable[[str, str], float | None]
"""How alike two texts are, 0 to 1; None if they cannot be compared."""


@dataclass(frozen=True)
class Sampled:
    """A prompt, its record, and all answers of one system."""

    prompt: str
    facts: Facts
    answers: tuple[str, ...]


def faithfulness(sampled: Sequence[Sampled], lexicon: Lexicon, *, seed: int) -> dict[str, Estimate | None]:
    """Measures shares of answers and attributes, by name of the measure; None if there are no answers.

    `faithful`: answers that give every attribute of the record and no other known value. `kept`, `changed`: shares of
    the record's attributes (a pronoun counts only if it is used).
    """
    prompts: list[str] = []
    rows: list[tuple[float, float, float]] = []
    for one in sampled:
        for answer in one.answers:
            values = lexicon.values_in(answer)
            found = [outcome for outcome in outcomes(one.facts, values, lexicon).values() if outcome != "unused"]
            faithful = all(outcome == "kept" for outcome in found) and not made_up(one.facts, values)
            share = 1 / max(1, len(found))
            rows.append((float(faithful), found.count("kept") * share, found.count("changed") * share))
            prompts.append(one.prompt)
    names = ("faithful", "kept", "changed")
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    return {name: _mean(list(values), prompts, seed) for name, values in zip(names, columns, strict=True)}


def agreement(sampled: Sequence[Sampled], lexicon: Lexicon, *, seed: int) -> dict[str, Estimate | None]:
    """Measures the agreement of pairs of samples, by name of the measure; None if no prompt has two samples.

    `identical`: the same text except for white space. `same_facts`: of the attributes for which at least one of the
    two gives a known value, the share for which both give the same; pairs that give none are left out. `similar`:
    chrF with precision and recall weighing alike (Popović 2015), so that the order of the two does not matter.
    """
    chrf = CHRF(beta=1)

    def facts(one: str, other: str) -> float | None:
        mine, theirs = lexicon.values_in(one), lexicon.values_in(other)
        given = [name for name in mine if mine[name] or theirs[name]]
        return sum(mine[name] == theirs[name] for name in given) / len(given) if given else None

    def similar(one: str, other: str) -> float:
        return 1.0 if one == other else min(1.0, chrf.sentence_score(one, [other]).score / 100)

    measures: dict[str, Likeness] = {
        "identical": lambda one, other: float(one == other),
        "same_facts": facts,
        "similar": similar,
    }
    several = [one for one in sampled if len(one.answers) > 1]
    return {name: _pairs(several, measure, seed) for name, measure in measures.items()}


def _pairs(sampled: Sequence[Sampled], likeness: Likeness, seed: int) -> Estimate | None:
    values, prompts = [], []
    for one in sampled:
        texts = [" ".join(answer.split()) for answer in one.answers]
        for a, b in combinations(texts, 2):
            value = likeness(a, b)
            if value is not None:
                values.append(value)
                prompts.append(one.prompt)
    return _mean(values, prompts, seed)


def _mean(values: Sequence[float], prompts: Sequence[str], seed: int) -> Estimate | None:
    return bootstrap_mean(values, prompts=prompts, bounds=(0, 1), seed=seed) if values else None
