"""The sentences of a comparison of profiles: what is measured, what was found, and what it cannot say."""

from collections.abc import Sequence

from evaluate.profiles.facts import Facts, Lexicon, fates, made_up
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
        how="Share of profiles that say every attribute of the record and no other value that the data know. A "
        "pronoun need not be used; if one is, it must be the record's.",
    ),
    Measure(
        key="kept", name="Kept", scale="share", better="more", how="Share of the record's attributes that are said."
    ),
    Measure(
        key="changed",
        name="Changed",
        scale="share",
        better="less",
        how="Share of the record's attributes of which another value is said. What is neither kept nor changed was "
        "dropped, or garbled into a word that the data do not know.",
    ),
    Measure(
        key="made_up",
        name="Made up",
        scale="share",
        better="less",
        how="Share of profiles that say a value of the one attribute that was left out of their record.",
    ),
    Measure(
        key="same_facts",
        name="Same facts",
        scale="share",
        better="more",
        how="Consistency: of the attributes that at least one of two samples of a prompt says a value of, the share of "
        "which both say the same.",
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
        "recall weighing alike).",
    ),
    Measure(key="words", name="Words", scale="count", better="", how="Mean number of words of a profile."),
)

SHOWN_VALUES = 4
"""Values of an attribute that a table names."""


def marks(facts: Facts, text: str, lexicon: Lexicon) -> tuple[str, ...]:
    """What a profile does not tell as its record does, in words."""
    said = lexicon.said(text)
    fate = fates(facts, said, lexicon)
    changed = [f"{name}: {', '.join(sorted(said[name]))}" for name, what in fate.items() if what == "changed"]
    dropped = [name for name, what in fate.items() if what == "dropped"]
    extra = [f"{name} made up: {', '.join(sorted(values))}" for name, values in made_up(facts, said).items()]
    return (*changed, *([f"without {', '.join(dropped)}"] if dropped else []), *extra)


def findings(one: ReportContestant, swap: SwapRow, profiles: Profiles) -> tuple[str, ...]:
    """What was found of one contestant, in sentences."""
    figures = one.figures
    said = []
    faithful, same, extra = figures.get("faithful"), figures.get("same_facts"), figures.get("made_up")
    if faithful is None:
        return ("gave no profile of these records",)
    said.append(f"{_worded(faithful)} of its profiles tell the whole record and nothing else")
    if same:
        said.append(f"two samples of one record agree on {_worded(same)} of the attributes that either tells")
    if extra:
        said.append(f"where the record leaves an attribute out, it makes one up in {_worded(extra)}")
    return (*said, swapped_words(swap, profiles))


def swapped_words(row: SwapRow, profiles: Profiles) -> str:
    """What swapping does, in one sentence."""
    swap = profiles.swap
    if row.effect is None:
        return f"whether {swap.one}/{swap.other} changes anything else cannot be told: two samples of each are needed"
    effect = row.effect
    p = f"p\u00a0=\u00a0{row.adjusted:.3f}"
    beyond = f"{points(effect.beyond)} points more of the other attributes differ than by chance, {p}"
    if row.found:
        return f"swapping {swap.one} and {swap.other} changes what else it says: {beyond}"
    return f"what swapping {swap.one} and {swap.other} changes besides cannot be told from sampling: {beyond}"


def points(estimate: Estimate) -> str:
    """A difference of shares in points of 100, with its interval."""
    value, low, high = (_point(end) for end in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def values_said(values: dict[str, Estimate]) -> str:
    """The most frequent values that somebody said, with intervals."""
    if not values:
        return DASH
    most = list(values.items())[:SHOWN_VALUES]
    more = f"; {len(values) - len(most)} more" if len(values) > len(most) else ""
    return "; ".join(f"{value} {_worded(figure)}" for value, figure in most) + more


def values_taught(counts: dict[str, int]) -> str:
    """The most frequent values of the training data."""
    total = sum(counts.values())
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f"; {len(most) - SHOWN_VALUES} more" if len(most) > SHOWN_VALUES else ""
    return "; ".join(f"{value} {share(count / total)}" for value, count in most[:SHOWN_VALUES]) + more or DASH


def distance_words(distance: float | None, chance: float | None) -> str:
    """A distance to the training data beside what chance alone makes."""
    if distance is None or chance is None:
        return DASH
    return f"{number(distance)} ({'above' if distance > chance else 'within'} chance, {number(chance)})"


def taught_lines(table: InventionTable, contestants: Sequence[ReportContestant]) -> list[tuple[str, str]]:
    """The training data's distributions, each with the names of those who are compared with it."""
    lines: dict[str, list[str]] = {}
    for one in contestants:
        lines.setdefault(values_taught(table.taught[one.key]), []).append(one.name)
    return [(", ".join(names), values) for values, names in lines.items()]


def explanations(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    """Each figure's name and how it is measured."""
    swap = comparison.swap
    return (
        *((one.name, one.how) for one in comparison.measures),
        (
            "Swapped and beyond chance",
            f"Each record with {swap.one} or {swap.other} as {swap.attribute} is asked with the other one, too. "
            "Difference is the share of all other attributes of which two profiles say different values; beyond "
            "chance is the difference across the two sides less that between two samples of one side (half the "
            "energy distance, Székely and Rizzo 2013). p: permutation of the samples of each record, adjusted for "
            "the number of systems (Holm); below 0.05 is called a change.",
        ),
        (
            "Distance to the training data",
            "Total variation between the values made up and those of the training data, 0 for alike and 1 for "
            "nothing in common; by chance, as many draws from the training data stay below the figure in brackets in "
            "95 of 100 cases, with one draw a prompt.",
        ),
        (
            "Intervals",
            "95%: Wilson's where prompts can only count whole, else the bias-corrected and accelerated bootstrap "
            "over prompts, all samples of a prompt together.",
        ),
    )


def limits(profiles: Profiles, records: int) -> tuple[str, ...]:
    """What to keep in mind with these figures."""
    sampling = profiles.sampling
    said = [
        f"There are {records} records with {sampling.samples} samples each: samples say how steady a system is, "
        "only more records say more about other records.",
        "Attributes are found by the values that stand in the recipes' data, word for word but for endings; numbers "
        "also in words. An invented value that no row has and a phrase in other words are not seen, and a value that "
        "is a number or a common word (14, kind, cook) is seen where something else is meant.",
        "A steady system may be steadily wrong, and a system that says little can show little bias: read consistency "
        "and bias beside what is kept.",
        "Names stay when a pronoun is swapped; they carry a gender of their own. A change that is not found may be "
        "smaller than so few records can show.",
    ]
    if any(one.kind == "imported" for one in profiles.systems):
        said.append("Imported profiles were collected elsewhere, with settings that are not known here.")
    return tuple(said)


def made_with(comparison: Comparison) -> str:
    """When and with what the comparison was made."""
    versions = ", ".join(f"{name} {version}" for name, version in comparison.versions.items())
    return f"Made by understudy compare on {comparison.made_on}{' with ' if versions else ''}{versions}."


def asked_words(comparison: Comparison) -> str:
    """How everybody was asked, in one sentence."""
    s = comparison.sampling
    return (
        f"{comparison.records} held-out records, {s.samples} samples of each prompt at temperature {s.temperature:g} "
        f"(seed {s.seed}), from the same prompts for everybody."
    )


def _point(value: float) -> str:
    text = f"{100 * value:.1f}"
    return text.removeprefix("-") if not text.strip("-0.") else text.replace("-", "−")


def _worded(estimate: Estimate) -> str:
    value, interval = shown(estimate, "share")
    return f"{value} ({interval})"
