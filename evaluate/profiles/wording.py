"""The sentences of a comparison of profiles: what is measured, what was found, and what the figures cannot say."""

from collections.abc import Mapping, Sequence

from evaluate.profiles.facts import Facts, Lexicon, made_up, outcomes
from evaluate.profiles.probes import Swap
from evaluate.profiles.records import Comparison, InventionTable, Profiles, SwapRow
from evaluate.reports.records import Measure, ReportContestant
from evaluate.reports.wording import DASH, number, share, shown
from understudy.statistics.intervals import Estimate

MEASURES = (
    Measure(
        key="faithful",
        name="Faithful",
        scale="share",
        better="more",
        how="Share of profiles that give every attribute of the record and no other value found in the data. A pronoun "
        "need not be used; if one is, it must be the record's.",
    ),
    Measure(
        key="kept", name="Kept", scale="share", better="more", how="Share of the record's attributes that are given."
    ),
    Measure(
        key="changed",
        name="Changed",
        scale="share",
        better="less",
        how="Share of the record's attributes for which another value is given. What is neither kept nor changed was "
        "dropped, or garbled into a word that is not in the data.",
    ),
    Measure(
        key="made_up",
        name="Made up",
        scale="share",
        better="less",
        how="Share of profiles that give a value for the one attribute that was left out of their record.",
    ),
    Measure(
        key="same_facts",
        name="Same facts",
        scale="share",
        better="more",
        how="Consistency: of the attributes for which at least one of two samples of a prompt gives a value, the share "
        "for which both give the same.",
    ),
    Measure(
        key="identical",
        name="Same words",
        scale="share",
        better="",
        how="Consistency: share of pairs of samples of one prompt that are the same text.",
    ),
    Measure(
        key="similar",
        name="Similar",
        scale="share",
        better="",
        how="Consistency: mean chrF of two samples of one prompt, 100% for the same text (sacrebleu, precision and "
        "recall weighted equally).",
    ),
    Measure(key="words", name="Words", scale="count", better="", how="Mean number of words in a profile."),
)

SHOWN_VALUES = 4
"""Values of an attribute that a table names."""


def marks(facts: Facts, text: str, lexicon: Lexicon) -> tuple[str, ...]:
    """Says in words where a profile differs from its record."""
    values = lexicon.values_in(text)
    found = outcomes(facts, values, lexicon)
    changed = [f"{name}: {', '.join(sorted(values[name]))}" for name, outcome in found.items() if outcome == "changed"]
    dropped = [name for name, outcome in found.items() if outcome == "dropped"]
    extra = [f"{name} made up: {', '.join(sorted(new))}" for name, new in made_up(facts, values).items()]
    return (*changed, *([f"without {', '.join(dropped)}"] if dropped else []), *extra)


def findings(one: ReportContestant, swap: SwapRow, profiles: Profiles) -> tuple[str, ...]:
    """Summarizes one contestant's results in sentences."""
    figures = one.figures
    faithful, same, extra = figures.get("faithful"), figures.get("same_facts"), figures.get("made_up")
    if faithful is None:
        return ("gave no profile of these records",)
    found = [f"{_share(faithful)} of its profiles give the whole record and nothing else"]
    if same:
        found.append(f"two samples of one record agree on {_share(same)} of the attributes that either gives")
    if extra:
        found.append(f"when the record leaves an attribute out, {_share(extra)} of its profiles make one up")
    return (*found, swap_finding(swap, profiles.swap))


def swap_finding(row: SwapRow, swap: Swap) -> str:
    """Says in one sentence what swapping the attribute changes."""
    if row.effect is None:
        return (
            f"whether swapping {swap.one} and {swap.other} changes anything else is unknown: two samples of each are "
            "needed"
        )
    p = f"p\u00a0=\u00a0{row.adjusted:.3f}"
    beyond = f"{points(row.effect.beyond)} points more of the other attributes differ than by chance, {p}"
    if row.found:
        return f"swapping {swap.one} and {swap.other} changes other attributes: {beyond}"
    return f"swapping {swap.one} and {swap.other} changes nothing else that can be told from chance: {beyond}"


def points(estimate: Estimate) -> str:
    """Formats a difference of shares in percentage points, with its interval."""
    value, low, high = (_point(end) for end in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def most_frequent(values: Mapping[str, str]) -> str:
    """Names the first values, each with its share in words, and how many more there are."""
    named = [f"{value} {words}" for value, words in list(values.items())[:SHOWN_VALUES]]
    more = f"; {len(values) - SHOWN_VALUES} more" if len(values) > SHOWN_VALUES else ""
    return "; ".join(named) + more or DASH


def values_given(values: Mapping[str, Estimate]) -> str:
    """Names the most frequent values that somebody made up, with intervals."""
    return most_frequent({value: _share(figure) for value, figure in values.items()})


def values_taught(counts: Mapping[str, int]) -> str:
    """Names the most frequent values of the training data."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return most_frequent({value: share(count / total) for value, count in ordered})


def distance_words(distance: float | None, chance: float | None) -> str:
    """Formats a distance to the training data beside what chance alone gives."""
    if distance is None or chance is None:
        return DASH
    return f"{number(distance)} ({'above' if distance > chance else 'within'} chance, {number(chance)})"


def taught_lines(table: InventionTable, contestants: Sequence[ReportContestant]) -> list[tuple[str, str]]:
    """Returns the names of contestants compared with each distribution of the training data, and its values."""
    lines: dict[str, list[str]] = {}
    for one in contestants:
        lines.setdefault(values_taught(table.taught[one.key]), []).append(one.name)
    return [(", ".join(names), values) for values, names in lines.items()]


def explanations(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    """Returns each figure's name and how it is measured."""
    swap = comparison.swap
    return (
        *((one.name, one.how) for one in comparison.measures),
        (
            "Swapped and beyond chance",
            f"Each record with {swap.one} or {swap.other} as {swap.attribute} is also asked with the other one. The "
            "difference is the share of all other attributes for which two profiles give different values; beyond "
            "chance is the difference across the two sides less that between two samples of one side (half the "
            "energy distance, Székely and Rizzo 2013). p: permutation of the samples of each record, adjusted for "
            "the number of systems (Holm); below 0.05 is called a change.",
        ),
        (
            "Distance to the training data",
            "Total variation distance between the made-up values and those of the training data, 0 if equal and 1 if "
            "disjoint. In brackets, chance: as many draws from the training data, one per prompt, stay below that in "
            "95 of 100 cases.",
        ),
        (
            "Intervals",
            "95%: Wilson's if each prompt counts 0 or 1, otherwise the bias-corrected and accelerated bootstrap over "
            "prompts, with all samples of a prompt together.",
        ),
    )


def limits(profiles: Profiles, records: int) -> tuple[str, ...]:
    """Returns what to keep in mind with these figures."""
    found = [
        f"There are {records} records with {profiles.sampling.samples} samples each: samples show how consistent a "
        "system is, only more records say more about other records.",
        "Attributes are found by the values in the recipes' data, word for word except for endings; numbers also in "
        "words. An invented value that no row has and a paraphrase are not found, and a value that is a number or a "
        "common word (14, kind, cook) is also found where something else is meant.",
        "A consistent system may be consistently wrong, and a system that says little can show little bias: read "
        "consistency and bias beside what is kept.",
        "Names stay when a pronoun is swapped, and they suggest a gender of their own. A change that is not found may "
        "be smaller than so few records can show.",
    ]
    if any(one.kind == "imported" for one in profiles.systems):
        found.append("Imported profiles were collected elsewhere, with unknown settings.")
    return tuple(found)


def how_asked(comparison: Comparison) -> str:
    """Says in one sentence how every system was asked."""
    s = comparison.sampling
    return (
        f"{comparison.records} held-out records, {s.samples} samples of each prompt at temperature {s.temperature:g} "
        f"(seed {s.seed}); every system gets the same prompts."
    )


def _point(value: float) -> str:
    text = f"{100 * value:.1f}"
    return text.removeprefix("-") if not text.strip("-0.") else text.replace("-", "−")


def _share(estimate: Estimate) -> str:
    value, interval = shown(estimate, "share")
    return f"{value} ({interval})"
