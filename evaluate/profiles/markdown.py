"""A comparison of profiles as one Markdown file; its figures are SVG files beside it."""

from collections.abc import Sequence

from evaluate.profiles.bias import Side
from evaluate.profiles.html import attributes
from evaluate.profiles.records import Comparison, GeneratedProfile, InventionTable, ProfileRow, SwapRow
from evaluate.profiles.words import (
    asked_words,
    distance_words,
    explanations,
    made_with,
    points,
    taught_lines,
    values_said,
)
from evaluate.reports.figures import Drawing
from evaluate.reports.markdown import by_prompt, ending, figure_cell, figure_cells, headed, pictures, plain, table
from evaluate.reports.wording import DASH, shown


def comparison_markdown(comparison: Comparison, drawings: Sequence[Drawing]) -> str:
    """The whole file. Nothing in the texts is taken for Markdown or HTML; equal comparisons give equal files."""
    parts = (
        _head(comparison),
        _summary(comparison),
        pictures("Figures", drawings),
        _swapped(comparison),
        _invented(comparison),
        _profiles(comparison),
        *ending(explanations(comparison), comparison.limits, made_with(comparison)),
    )
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _names(comparison: Comparison) -> dict[str, str]:
    return {one.key: plain(one.name) for one in comparison.contestants}


def _head(comparison: Comparison) -> list[str]:
    names = _names(comparison)
    lines = [f"# {plain(comparison.title)}", "", plain(asked_words(comparison))]
    for key, sentences in comparison.findings:
        lines += ["", f"**{names[key]}**", "", *(f"- {plain(sentence)}" for sentence in sentences)]
    return lines


def _summary(comparison: Comparison) -> list[str]:
    return [
        "## Faithful and consistent",
        "",
        "95% intervals in brackets; – was not measured. “Best” is said only where the whole interval is better than "
        "everybody else's.",
        "",
        *table(
            ["System", *(headed(measure) for measure in comparison.measures)],
            (
                [f"{plain(one.name)} ({plain(one.note)})", *figure_cells(one, comparison.measures)]
                for one in comparison.contestants
            ),
        ),
    ]


def _swapped(comparison: Comparison) -> list[str]:
    swap, names = comparison.swap, _names(comparison)
    sides = [{side.name: side for side in row.sides} for row in comparison.swaps]
    return [
        f"## Bias: {plain(swap.one)} and {plain(swap.other)} swapped",
        "",
        f"The same records with the other {plain(swap.attribute)}: does that change what is said of the rest, more "
        "than asking the same record again does?",
        "",
        *table(
            ["System", "Records", "Differ, swapped", "Differ, same record", "Beyond chance, points", "p (Holm)"],
            ([names[row.contestant], *_effect(row)] for row in comparison.swaps),
        ),
        "",
        f"### What is kept with {plain(swap.one)}, and how many points more that is than with {plain(swap.other)}",
        "",
        "Paired by record, 95% intervals, not adjusted for their number.",
        "",
        *table(
            ["Attribute", *names.values()],
            ([plain(name), *(_side(own.get(name)) for own in sides)] for name in attributes(comparison)),
        ),
    ]


def _effect(row: SwapRow) -> list[str]:
    if row.effect is None or row.adjusted is None:
        return [DASH] * 5
    effect = row.effect
    p = f"**{row.adjusted:.3f}**" if row.found else f"{row.adjusted:.3f}"
    across, within = (figure_cell(*shown(one, "share")) for one in (effect.across, effect.within))
    return [str(effect.pairs), across, within, points(effect.beyond), p]


def _side(side: Side | None) -> str:
    if side is None:
        return DASH
    if side.name == "words":
        value, interval = shown(side.difference, "number")
        return f"{side.one:.1f}; {value} ({interval})"
    return f"{side.one:.0%}; {points(side.difference)}"


def _invented(comparison: Comparison) -> list[str]:
    lines = [
        "## Bias: what is made up where the record says nothing",
        "",
        "Each record without one of its attributes. “Makes one up” is of all profiles; the values are shares of those "
        "that do.",
    ]
    for one in comparison.inventions:
        lines += ["", f"### {plain(one.attribute)}", "", *_invention(one, comparison)]
    return lines


def _invention(one: InventionTable, comparison: Comparison) -> list[str]:
    names = _names(comparison)
    rows = []
    for key, found in one.rows:
        if found is None:
            rows.append([names[key], DASH, DASH, DASH])
        else:
            told = figure_cell(*shown(found.told, "share"))
            distance = distance_words(found.distance, found.chance)
            rows.append([names[key], told, plain(values_said(found.values)), distance])
    for who, values in taught_lines(one, comparison.contestants):
        rows.append([f"*training data for {plain(who)}*", DASH, plain(values), DASH])
    return table(["System", "Makes one up", "Which", "Distance to the training data"], rows)


def _profiles(comparison: Comparison) -> list[str]:
    rows = [(row.prompt, _side_by_side(row, comparison)) for row in comparison.rows]
    return by_prompt("Profiles side by side", "records", rows, comparison.gaps)


def _side_by_side(row: ProfileRow, comparison: Comparison) -> list[str]:
    lines = []
    for one in comparison.contestants:
        given = row.answers.get(one.key, ())
        lines += [[plain(one.name), _said(profile)] for profile in given] or [[plain(one.name), "*no answer*"]]
    return table(["", "Profile"], lines)


def _said(profile: GeneratedProfile) -> str:
    about = ", ".join([*profile.marks, f"{profile.words} words"])
    return f"{plain(profile.text) or '*(nothing)*'}<br><sub>{plain(about)}</sub>"
