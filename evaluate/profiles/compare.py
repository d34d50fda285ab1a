"""Compares profiles: what several systems write about the same records, how consistently, and with what bias."""

from collections.abc import Mapping, Sequence

from evaluate.profiles.bias import SwappedPair, holm, invention, sides, swap_effect
from evaluate.profiles.consistency import Sampled, agreement, faithfulness
from evaluate.profiles.facts import Facts, Lexicon, made_up
from evaluate.profiles.records import (
    Comparison,
    GeneratedProfile,
    InventionTable,
    ProfileRow,
    Profiles,
    SwapRow,
    System,
)
from evaluate.profiles.wording import MEASURES, findings, limits, marks
from evaluate.reports.build import is_best
from evaluate.reports.imported_answers import clean
from evaluate.reports.records import ReportContestant
from understudy.errors import MeasurementError
from understudy.statistics.answer_checks import words
from understudy.statistics.intervals import Estimate, bootstrap_mean


def compare(profiles: Profiles, *, title: str, made_on: str, versions: Mapping[str, str], seed: int = 0) -> Comparison:
    """Computes all figures on these profiles. The same arguments give the same comparison.

    Raises:
        MeasurementError: there are no answers or no records.
    """
    asked = [probe for probe in profiles.probes if probe.kind == "record"]
    if not asked or not any(any(one.answers) for one in profiles.systems):
        raise MeasurementError("there are no profiles to compare; ask at least one system for one record")
    lexicon = Lexicon(profiles.known)
    figures = [_figures(profiles, one, lexicon, seed) for one in profiles.systems]
    contestants = tuple(
        ReportContestant(
            key=f"c{i}",
            name=clean(one.name).replace("\n", " "),
            kind=one.kind,
            note=one.note,
            asked=len(asked),
            figures=figures[i],
            best=tuple(m.key for m in MEASURES if is_best(i, figures, m)),
        )
        for i, one in enumerate(profiles.systems)
    )
    swaps = _swaps(profiles, contestants, lexicon, seed)
    return Comparison(
        title=title,
        recipes=profiles.recipes,
        made_on=made_on,
        versions=dict(versions),
        records=len(asked),
        swap=profiles.swap,
        sampling=profiles.sampling,
        measures=tuple(m for m in MEASURES if any(one.figures.get(m.key) for one in contestants)),
        contestants=contestants,
        findings=tuple((one.key, findings(one, swap, profiles)) for one, swap in zip(contestants, swaps, strict=True)),
        swaps=swaps,
        inventions=_inventions(profiles, contestants, lexicon, seed),
        rows=_rows(profiles, contestants, lexicon),
        gaps=tuple(one.gap for one in profiles.systems if one.gap and (one.gap.unanswered or one.gap.unmatched)),
        limits=limits(profiles, len(asked)),
    )


def _figures(profiles: Profiles, system: System, lexicon: Lexicon, seed: int) -> dict[str, Estimate | None]:
    sampled = [
        Sampled(probe.prompt, probe.facts, answers)
        for probe, answers in zip(profiles.probes, system.answers, strict=True)
        if probe.kind == "record"
    ]
    lengths = [len(words(answer)) for one in sampled for answer in one.answers]
    prompts = [one.prompt for one in sampled for _ in one.answers]
    return {
        **faithfulness(sampled, lexicon, seed=seed),
        "made_up": _made_up(profiles, system, lexicon, seed),
        **agreement(sampled, lexicon, seed=seed),
        "words": bootstrap_mean(lengths, prompts=prompts, seed=seed) if len(set(prompts)) > 1 else None,
    }


def _made_up(profiles: Profiles, system: System, lexicon: Lexicon, seed: int) -> Estimate | None:
    """Measures the share of answers that give a value for the one attribute that was left out."""
    found = [
        (str(probe.record), float(probe.attribute in made_up(probe.facts, lexicon.values_in(answer))))
        for probe, answers in zip(profiles.probes, system.answers, strict=True)
        if probe.kind == "left out"
        for answer in answers
    ]
    records, values = [record for record, _ in found], [value for _, value in found]
    return bootstrap_mean(values, prompts=records, bounds=(0, 1), seed=seed) if found else None


def _pairs(profiles: Profiles, system: System) -> list[SwappedPair]:
    """Pairs records with their swapped twins, the first value of the swap on the first side."""
    plain: dict[int, tuple[str, Facts, tuple[str, ...]]] = {}
    found = []
    for probe, answers in zip(profiles.probes, system.answers, strict=True):
        if probe.kind == "record":
            plain[probe.record] = (probe.prompt, probe.facts, answers)
        elif probe.kind == "swapped" and answers and plain[probe.record][2]:
            prompt, facts, own = plain[probe.record]
            if facts[profiles.swap.attribute] == profiles.swap.one:
                found.append(SwappedPair(prompt, facts, probe.facts, own, answers))
            else:
                found.append(SwappedPair(prompt, probe.facts, facts, answers, own))
    return found


def _swaps(
    profiles: Profiles, contestants: Sequence[ReportContestant], lexicon: Lexicon, seed: int
) -> tuple[SwapRow, ...]:
    pairs = [_pairs(profiles, system) for system in profiles.systems]
    effects = [swap_effect(one, profiles.swap.attribute, lexicon, seed=seed) for one in pairs]
    adjusted = iter(holm([effect.p for effect in effects if effect]))
    return tuple(
        SwapRow(
            contestant=contestant.key,
            effect=effect,
            adjusted=next(adjusted) if effect else None,
            sides=tuple(sides(own, lexicon, seed=seed)),
        )
        for contestant, own, effect in zip(contestants, pairs, effects, strict=True)
    )


def _inventions(
    profiles: Profiles, contestants: Sequence[ReportContestant], lexicon: Lexicon, seed: int
) -> tuple[InventionTable, ...]:
    first = next((one.taught for one in profiles.systems if one.taught), {})
    tables = []
    for name in dict.fromkeys(probe.attribute for probe in profiles.probes if probe.kind == "left out"):
        taught = [(one.taught or first).get(name, {}) for one in profiles.systems]
        rows = []
        for contestant, system, values in zip(contestants, profiles.systems, taught, strict=True):
            asked = [
                (probe.prompt, probe.facts, answers)
                for probe, answers in zip(profiles.probes, system.answers, strict=True)
                if probe.kind == "left out" and probe.attribute == name
            ]
            rows.append((contestant.key, invention(name, asked, lexicon, values, seed=seed)))
        by_key = {one.key: values for one, values in zip(contestants, taught, strict=True)}
        tables.append(InventionTable(attribute=name, taught=by_key, rows=tuple(rows)))
    return tuple(tables)


def _rows(profiles: Profiles, contestants: Sequence[ReportContestant], lexicon: Lexicon) -> tuple[ProfileRow, ...]:
    places: dict[int, dict[str, int]] = {}
    for place, probe in enumerate(profiles.probes):
        if probe.kind != "left out":
            places.setdefault(probe.record, {})[probe.kind] = place
    return tuple(
        ProfileRow(
            prompt=clean(profiles.probes[found["record"]].prompt),
            answers=_profiles_of(profiles, contestants, lexicon, found["record"]),
            swapped=_profiles_of(profiles, contestants, lexicon, found.get("swapped")),
        )
        for found in places.values()
    )


def _profiles_of(
    profiles: Profiles, contestants: Sequence[ReportContestant], lexicon: Lexicon, place: int | None
) -> dict[str, tuple[GeneratedProfile, ...]]:
    if place is None:
        return {}
    facts = profiles.probes[place].facts
    return {
        contestant.key: tuple(
            GeneratedProfile(text=clean(text.strip()), words=len(words(text)), marks=marks(facts, text, lexicon))
            for text in system.answers[place]
        )
        for contestant, system in zip(contestants, profiles.systems, strict=True)
    }
