"""A report as one Markdown page; its figures are SVG files beside it."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from evaluate.reports.figures import Drawing
from evaluate.reports.records import Gap, Measure, PromptRow, Report, ReportContestant, ShownAnswer
from evaluate.reports.tables import training_settings, training_took
from evaluate.reports.wording import explanations, made_with, outcome, shown, unmatched

OPEN = 8
"""Prompts whose answers are unfolded."""
FIGURES = "figures"
"""Folder of the figures, beside the file."""
SPECIAL = re.compile(r"([\\`*_\[\]|~#$@])")


def markdown_page(report: Report, drawings: Sequence[Drawing]) -> str:
    """Writes the whole page. No text of the report is taken for Markdown or HTML; equal reports give equal pages."""
    return page(
        _head(report),
        _summary(report),
        _rivals(report),
        _judge(report),
        _answers(report),
        _worse(report),
        pictures("Loss curves", [one for one in drawings if one.name == "curves"]),
        pictures("Figures", [one for one in drawings if one.name != "curves"]),
        _training(report),
        *ending(explanations(report), report.limits, made_with("report", report.made_on, report.versions)),
    )


def page(*parts: Sequence[str]) -> str:
    """Joins parts, each given as its lines; empty ones are left out."""
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def plain(text: str) -> str:
    """Escapes a text so that Markdown shows it as it is, also in a table's cell; line ends become `<br>`."""
    safe = SPECIAL.sub(r"\\\1", escape(text, quote=False))
    return re.sub(r"[ \t]*(?:\r\n|\n|\r)", "<br>", safe.strip())


def _head(report: Report) -> list[str]:
    lines = [f"# {plain(report.title)}: {outcome(report)}", "", plain(report.voice)]
    for verdict in report.verdicts:
        word = "✓ Passed" if verdict.passed else "✗ Refused"
        lines += [
            "",
            f"**{word}**: {plain(verdict.name)} `{verdict.revision[:12]}` on base {plain(verdict.base)}",
            "",
        ]
        lines += [f"- {plain(reason)}" for reason in verdict.reasons]
    return lines


def _summary(report: Report) -> list[str]:
    return [
        "## Summary",
        "",
        f"{report.prompts} held-out prompts, 95% intervals in brackets; – was not measured. “Best” means the whole "
        "interval beats all others.",
        "",
        *summary_table("Contestant", report.measures, report.contestants),
        "",
        "### Further figures of what was trained",
        "",
        *table(
            ["Figure", *(plain(run.name) for run in report.runs)],
            (
                [plain(row.name), *(figure_cell(*shown(one, row.scale)) for one in row.figures)]
                for row in report.further
            ),
        ),
    ]


def _judge(report: Report) -> list[str]:
    if report.judge is None:
        return []
    names = {one.key: plain(one.name) for one in report.contestants}
    columns = ("Preferred, ties half", "Won", "Tied", "Lost", "Ties by order", "Not understood", "Chose the first")
    lines = []
    for row in report.judge.rows:
        counts = (row.won, row.tied, row.lost, row.contradicted, len(row.not_understood))
        share, first = (figure_cell(*shown(figure, "share")) for figure in (row.share, row.first))
        lines.append([names[row.contestant], share, *map(str, counts), first])
    section = [
        "## The judge",
        "",
        f"{plain(report.judge.model)} compared each first answer with that of {plain(report.judge.against)}, in both "
        "orders. Where the order changed its choice, the pair is a tie.",
        "",
        *table(["Contestant", *columns], lines),
    ]
    for row in report.judge.rows:
        if row.not_understood:
            section += ["", f"{names[row.contestant]}, pairs on which the judge was not understood:", ""]
            section += [f"- {plain(prompt)}" for prompt in row.not_understood]
    return section


def summary_table(who: str, measures: Sequence[Measure], contestants: Sequence[ReportContestant]) -> list[str]:
    """Writes one line per contestant and one column per measure, with an arrow to its better end."""
    arrows = {"more": " ↑", "less": " ↓", "": ""}
    lines = []
    for one in contestants:
        cells = {m.key: figure_cell(*shown(one.figures.get(m.key), m.scale)) for m in measures}
        best = (f"**{cell}** best" if key in one.best else cell for key, cell in cells.items())
        lines.append([f"{plain(one.name)} ({plain(one.note)})", *best])
    return table([who, *(measure.name + arrows[measure.better] for measure in measures)], lines)


def figure_cell(value: str, interval: str) -> str:
    """Joins a figure and its interval."""
    return f"{value} ({interval})" if interval else value


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Writes a Markdown table; its cells must be escaped already."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)]


def by_prompt(title: str, noun: str, rows: Sequence[tuple[str, list[str]]], gaps: Iterable[Gap]) -> list[str]:
    """Writes the answers to each prompt, folded after the first OPEN, then imported answers that were not matched."""
    lines = [f"## {title}"]
    for number, (prompt, answers) in enumerate(rows, 1):
        if number == OPEN + 1:
            lines += ["", "<details>", f"<summary>{len(rows) - OPEN} more {noun}</summary>"]
        lines += ["", f"### {number}. {plain(prompt)}", "", *answers]
    if len(rows) > OPEN:
        lines += ["", "</details>"]
    for gap in gaps:
        lines += ["", f"### {plain(gap.system)}: what could not be matched"]
        for what, prompts in unmatched(gap):
            lines += ["", plain(what), "", *(f"- {plain(prompt)}" for prompt in prompts)]
    return lines


def ending(explained: Iterable[tuple[str, str]], limits: Iterable[str], made: str) -> Iterable[list[str]]:
    """Yields the parts that end every page."""
    yield ["## How it is measured", "", *(f"- **{plain(name)}**: {plain(how)}" for name, how in explained)]
    yield ["## What these figures cannot say", "", *(f"- {plain(limit)}" for limit in limits)]
    yield ["---", "", plain(made)]


def _answers(report: Report) -> list[str]:
    if not report.rows:
        return []
    rows = [(row.prompt, _side_by_side(row, report.contestants)) for row in report.rows]
    return by_prompt("Answers side by side", "prompts", rows, report.gaps)


def _side_by_side(row: PromptRow, contestants: Sequence[ReportContestant]) -> list[str]:
    lines = []
    for one in contestants:
        given = row.answers.get(one.key, ())
        lines += [[plain(one.name), _answer(answer)] for answer in given] or [[plain(one.name), "*no answer*"]]
    if row.reference is not None:
        lines.append(["*the data's own*", plain(row.reference)])
    return table(["", "Answer"], lines)


def _answer(answer: ShownAnswer) -> str:
    style = [] if answer.style is None else [f"style {answer.style:.2f}"]
    about = ", ".join([*answer.marks, f"{answer.words} words", *style])
    return f"{plain(answer.text) or '*(nothing)*'}<br><sub>{plain(about)}</sub>"


def _rivals(report: Report) -> list[str]:
    lines = ["## Against cheap rivals"]
    for verdict in report.verdicts:
        lines += ["", f"### {plain(verdict.name)}"] if len(report.verdicts) > 1 else []
        lines += ["", *(f"- {plain(line)}" for line in (*verdict.rivals, *verdict.open))]
    return lines


def _worse(report: Report) -> list[str]:
    lines = ["## What got worse"]
    for verdict in report.verdicts:
        lines += ["", f"### {plain(verdict.name)}"] if len(report.verdicts) > 1 else []
        worse = [f"- {plain(line)}" for line in verdict.worse]
        lines += ["", *(worse or ["Nothing that was measured is clearly worse than the base's."])]
    return lines


def pictures(heading: str, drawings: Sequence[Drawing]) -> list[str]:
    """Writes the figures under a heading; nothing if there are none."""
    if not drawings:
        return []
    shown = (f"**{plain(one.title)}**\n\n![{plain(one.alt)}]({FIGURES}/{one.name}.svg)" for one in drawings)
    return [f"## {heading}", "", "\n\n".join(shown)]


def _training(report: Report) -> list[str]:
    took, settings = training_took(report), training_settings(report)
    lines = []
    if took.lines:
        cells = ([plain(name), *map(plain, values)] for name, values in took.lines)
        lines += ["### Cost of training", "", *table(["Run", *took.names], cells), ""]
    cells = ([plain(name), *map(plain, values)] for name, values in settings.lines)
    return [*lines, "## Settings and data", "", *table(["Setting", *map(plain, settings.names)], cells)]
