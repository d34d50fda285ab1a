"""The tables of docs/capacity.md, made from docs/results/capacity.json: no figure of theirs is typed by hand."""

import re
from typing import Any

from bench.machine import RESULTS

PAGE = RESULTS.parent / "capacity.md"
BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Table = tuple[str, list[list[str]]]
"""A title, the headers, and the rows."""


def write_page(figures: dict[str, Any]) -> list[Table]:
    """Writes the tables anew where the page has places for them; returns them."""
    tables = made(figures)
    PAGE.write_text(filled(PAGE.read_text(), tables))
    return list(tables.values())


def made(figures: dict[str, Any]) -> dict[str, Table]:
    """The tables by the names that the page uses."""
    return {
        "sizes": _sizes(figures),
        "breaks": _breaks(figures),
        "checks": _checks(figures),
        "simulated": _simulated(figures),
    }


def filled(text: str, tables: dict[str, Table]) -> str:
    """The page with these tables. Raises KeyError: it asks for one that there is not."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{_markdown(tables[found[2]])}\n\n{found[3]}", text)


def _markdown(table: Table) -> str:
    headers, *rows = table[1]
    return "\n".join(f"| {' | '.join(line)} |" for line in [headers, ["---"] * len(headers), *rows])


def _sizes(figures: dict[str, Any]) -> Table:
    rows = [
        [
            *("people", "personas", "tokens in/out", "answers/s", "tokens/s", "under way", "personas at once"),
            *("one engine: answers/s", "engines", "gateway cores", "one of each breaks first at"),
        ]
    ]
    for size in figures["sizes"]:
        crowd, gateway = size["crowd"], _part(size, "gateway's process")
        rows.append(
            [
                *(f"{crowd['users']:,}", f"{crowd['personas']:,}", f"{crowd['prompt']:.0f}/{crowd['answer']:.0f}"),
                *(f"{size['answers_per_second']:,.1f}", f"{size['tokens_per_second']:,.0f}"),
                *(f"{size['in_flight']:,.0f}", f"{size['personas_in_flight']:,.0f}"),
                *(f"{size['one_engine']:.1f}", f"{size['replicas']:,}", f"{gateway['need']:.2f}"),
                _first(size),
            ]
        )
    return "What crowds need", rows


def _breaks(figures: dict[str, Any]) -> Table:
    size = _largest(figures)
    crowd = size["crowd"]
    rows = [["part", "needed", "one can", "share", "breaks at", "what then"]]
    for part in size["needs"]:
        limit = f"{_short(part['limit'])} {part['unit']}"
        share = f"{100 * part['share']:,.0f} %" if part["share"] > 0.1 else f"{100 * part['share']:.1g} %"
        rows.append([part["part"], _short(part["need"]), limit, share, _breaks_at(part, crowd) or "-", part["remedy"]])
    return f"What breaks first with {crowd['personas']:,} personas and {crowd['users']:,} people", rows


def _checks(figures: dict[str, Any]) -> Table:
    rows = [["part", "answers", "slots", "what", "recorded", "simulated", "error"]]
    what = {
        "first_p50_s": "first token, median, ms",
        "first_p90_s": "first token, 90 %, ms",
        "first_p99_s": "first token, 99 %, ms",
        "whole_p50_s": "whole answer, median, ms",
        "whole_p90_s": "whole answer, 90 %, ms",
        "tokens_per_second": "tokens/s",
    }
    for check in figures["checks"]:
        for key, name in what.items():
            scale = 1000 if key.endswith("_s") else 1
            recorded, simulated = check["recorded"][key], check["simulated"][key]
            lead = [check["part"], f"{check['answers']:,}", str(check["slots"])] if key == "first_p50_s" else [""] * 3
            error = f"{100 * (simulated / recorded - 1):+.0f} %"
            rows.append([*lead, name, f"{scale * recorded:,.0f}", f"{scale * simulated:,.0f}", error])
    return "The simulation beside what was recorded", rows


def _simulated(figures: dict[str, Any]) -> Table:
    rows = [
        [
            "engines",
            "slots",
            "sent",
            "first token p50 ms",
            "p99 ms",
            "adapter loaded for",
            "at once, an engine",
            "answers/s",
        ]
    ]
    sent = {"random": "anywhere", "least": "to the less busy of two", "aware": "where the adapter is"}
    for row in figures["simulated"]:
        rows.append(
            [
                *(str(row["replicas"]), str(row["slots"]), sent[row["routing"]]),
                *(f"{1000 * row['first_p50_s']:,.0f}", f"{1000 * row['first_p99_s']:,.0f}"),
                *(f"{100 * row['cold']:.1f} %", f"{row['at_once']:.0f}", f"{row['answers_per_second']:,.0f}"),
            ]
        )
    return "Simulated", rows


def _largest(figures: dict[str, Any]) -> dict[str, Any]:
    """The crowd of the page's title, with the lengths that were recorded."""
    return next(size for size in figures["sizes"] if size["crowd"]["users"] == 10_000)


def _part(size: dict[str, Any], name: str) -> dict[str, Any]:
    return next(part for part in size["needs"] if part["part"] == name)


def _first(size: dict[str, Any]) -> str:
    worst = next(part for part in size["needs"] if part["grows_with"])
    if worst["share"] < 1:
        return f"nothing; closest: {worst['part']} ({100 * worst['share']:.0f} %)"
    return f"{_breaks_at(worst, size['crowd'])} ({worst['part']})"


def _breaks_at(part: dict[str, Any], crowd: dict[str, Any]) -> str:
    """How many are too many for one; empty where that is not the question."""
    if not part["grows_with"]:
        return ""
    unit = "people" if part["grows_with"] == "users" else "personas"
    return f"{_round(crowd[part['grows_with']] / part['share'])} {unit}"


def _round(number: float) -> str:
    """Two digits: no more is known."""
    return f"{float(f'{number:.2g}'):,.0f}"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"
