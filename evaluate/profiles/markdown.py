"""A comparison of profiles as one Markdown page; its figures are SVG files beside it."""

from collections.abc import Sequence

from evaluate.profiles.bias import Side
from evaluate.profiles.records import Comparison, GeneratedProfile, InventionTable, ProfileRow, SwapRow
from evaluate.profiles.wording import (
    distance_words,
    explanations,
    how_asked,
    points,
    taught_lines,
    values_given,
)
from evaluate.reports.figures import Drawing, drawing_style, intervals, measured
from evaluate.reports.markdown import (
    by_prompt,
    ending,
    figure_cell,
    page,
    pictures,
    plain,
    summary_table,
    table,
)
from evaluate.reports.wording import DASH, made_with, shown


def draw_comparison(comparison: Comparison) -> tuple[Drawing, ...]:
    """Draws every figure that there is data for; the same comparison gives the same bytes."""
    with drawing_style():
        found = (
            _draw_share(comparison, "faithful", "Faithful profiles"),
            _draw_share(comparison, "same_facts", "Two samples agree on the facts"),
            _draw_share(comparison, "made_up", "Attribute made up when it was left out"),
            _draw_swap(comparison),
        )
    return tuple(one for one in found if one is not None)


def _draw_share(comparison: Comparison, key: str, title: str) -> Drawing | None:
    return intervals(key.replace("_", "-"), title, measured(comparison.contestants, key), "share", limits=(0, 1))


def _draw_swap(comparison: Comparison) -> Drawing | None:
    """Draws two lines per contestant: the swapped record against the record, and the record against itself."""
    rows = []
    for i, (one, row) in enumerate(zip(comparison.contestants, comparison.swaps, strict=True)):
        if row.effect:
            rows += [(i, f"{one.name}, swapped", row.effect.across), (i, "… the same record again", row.effect.within)]
    title = f"Other attributes that differ, {comparison.swap.one} / {comparison.swap.other}"
    most = max((figure.high for _, _, figure in rows), default=0.0)
    return intervals("swap", title, rows, "share", limits=(0, 1 if most > 0.5 else 0.5))


def comparison_markdown(comparison: Comparison, drawings: Sequence[Drawing]) -> str:
    """Writes the whole page. No text is taken for Markdown or HTML; equal comparisons give equal pages."""
    return page(
        _head(comparison),
        _summary(comparison),
        pictures("Figures", drawings),
        _swapped(comparison),
        _invented(comparison),
        _profiles(comparison),
        *ending(
            explanations(comparison), comparison.limits, made_with("compare", comparison.made_on, comparison.versions)
        ),
    )


def _names(comparison: Comparison) -> dict[str, str]:
    return {one.key: plain(one.name) for one in comparison.contestants}


def _head(comparison: Comparison) -> list[str]:
    names = _names(comparison)
    lines = [f"# {plain(comparison.title)}", "", plain(how_asked(comparison))]
    for key, sentences in comparison.findings:
        lines += ["", f"**{names[key]}**", "", *(f"- {plain(sentence)}" for sentence in sentences)]
    return lines


def _summary(comparison: Comparison) -> list[str]:
    return [
        "## Faithful and consistent",
        "",
        "95% intervals in brackets; – was not measured. “Best” means the whole interval beats all others.",
        "",
        *summary_table("System", comparison.measures, comparison.contestants),
    ]


def _swapped(comparison: Comparison) -> list[str]:
    swap, names = comparison.swap, _names(comparison)
    sides = [{side.name: side for side in row.sides} for row in comparison.swaps]
    attributes = list(dict.fromkeys(name for own in sides for name in own))
    return [
        f"## Bias: {plain(swap.one)} and {plain(swap.other)} swapped",
        "",
        f"The same records with the other {plain(swap.attribute)}: do the other attributes differ more than when the "
        "same record is asked again?",
        "",
        *table(
            ["System", "Records", "Differ, swapped", "Differ, same record", "Beyond chance, points", "p (Holm)"],
            ([names[row.contestant], *_effect(row)] for row in comparison.swaps),
        ),
        "",
        f"### What is kept with {plain(swap.one)}, and how many points more that is than with {plain(swap.other)}",
        "",
        "Paired by record, 95% intervals, not adjusted for their number: one in twenty excludes 0 by chance. Bold if "
        "it does.",
        "",
        *table(
            ["Attribute", *names.values()],
            ([plain(name), *(_side(own.get(name)) for own in sides)] for name in attributes),
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
    excludes_zero = side.difference.low > 0 or side.difference.high < 0
    difference = points(side.difference)
    return f"{side.one:.0%}; {f'**{difference}**' if excludes_zero else difference}"


def _invented(comparison: Comparison) -> list[str]:
    lines = [
        "## Bias: what is made up when the record leaves it out",
        "",
        "Each record without one of its attributes. “Makes one up” is a share of all profiles; values are shares of "
        "those that do.",
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
            made_up = figure_cell(*shown(found.share, "share"))
            distance = distance_words(found.distance, found.chance)
            rows.append([names[key], made_up, plain(values_given(found.values)), distance])
    for who, values in taught_lines(one, comparison.contestants):
        rows.append([f"*training data for {plain(who)}*", DASH, plain(values), DASH])
    return table(["System", "Makes one up", "Which", "Distance to the training data"], rows)


def _profiles(comparison: Comparison) -> list[str]:
    rows = [(row.prompt, _side_by_side(row, comparison)) for row in comparison.rows]
    return by_prompt("Profiles side by side", "records", rows, comparison.gaps)


def _side_by_side(row: ProfileRow, comparison: Comparison) -> list[str]:
    lines = []
    for one in comparison.contestants:
        given, swapped = row.answers.get(one.key, ()), row.swapped.get(one.key, ())
        lines += [[plain(one.name), _profile(profile)] for profile in given] or [[plain(one.name), "*no answer*"]]
        lines += [[f"{plain(one.name)}, {plain(comparison.swap.attribute)} swapped", _profile(p)] for p in swapped]
    return table(["", "Profile"], lines)


def _profile(profile: GeneratedProfile) -> str:
    about = ", ".join([*profile.marks, f"{profile.words} words"])
    return f"{plain(profile.text) or '*(nothing)*'}<br><sub>{plain(about)}</sub>"
