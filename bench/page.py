"""The tables of docs/, written from docs/results/: no figure there is typed by hand.

python -m bench.page [--check]

A table stands between `<!-- table NAME -->` and `<!-- end -->`; everything else on a page is prose and stays. Under
a table whose code has changed since it was measured stands that it is old (`python -m bench.sources`).
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from bench.machine import RESULTS
from bench.page_tables import TABLES, Table
from bench.sources import changed

PAGES = tuple(RESULTS.parent / name for name in ("performance.md", "export.md", "training.md", "hub.md"))
GOALS = "goals"
"""The table of the goals of all results that a page has tables of."""
BLOCK = re.compile(r"(<!-- table ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Writes the tables anew; with --check only says whether they are what they should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a table is out of date")
    check = parser.parse_args().check
    for page in PAGES:
        text = page.read_text()
        fresh = written(text)
        if check and fresh != text:
            sys.exit(f"{page.name} is out of date: run `python -m bench.page`")
        page.write_text(fresh)


def written(text: str) -> str:
    """A page with its tables made from the results.

    Raises:
        KeyError: a table that nobody knows.
    """
    tables = [TABLES[found[2]] for found in BLOCK.finditer(text) if found[2] != GOALS]

    def block(found: re.Match[str]) -> str:
        table = _goals(tables) if found[2] == GOALS else _table(TABLES[found[2]])
        return f"{found[1]}\n{table}\n{found[3]}"

    return BLOCK.sub(block, text)


def _table(table: Table) -> str:
    path = RESULTS / f"{table.result}.json"
    if not path.is_file():
        return f"*No figures are kept here yet:* `{table.command}` *measures them.*\n"
    result = json.loads(path.read_text())
    rows = [[column.cell(row) for column in table.columns] for row in table.rows(result)]
    return _lines([column.title for column in table.columns], rows) + f"\n{_source(table, result)}\n"


def _goals(tables: Sequence[Table]) -> str:
    """The goals of the results of these tables, those that are missed first."""
    rows = []
    for command, name in dict.fromkeys((table.command, table.result) for table in tables):
        path = RESULTS / f"{name}.json"
        result = json.loads(path.read_text()) if path.is_file() else {}
        for goal in result.get("goals", []):
            found = "-" if goal["found"] is None else f"{goal['found']:,.3g}"
            verdict = goal["verdict"] + (" (old)" if changed(name, result) else "")
            aim = f"{'≤' if goal['most'] else '≥'} {goal['bound']:g}"
            rows.append([goal["what"], aim, found, verdict, f"`{command}`"])
    if not rows:
        return "*No result of this page has goals yet.*\n"
    rows.sort(key=lambda row: not row[3].startswith("missed"))
    return _lines(["goal", "aimed at", "found", "", "measured by"], rows)


def _lines(titles: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in [titles, ["---"] * len(titles), *rows])


def _source(table: Table, result: dict[str, Any]) -> str:
    """Where the figures come from: command, machine, day and commit; and whether they are old."""
    machine = result["machine"]
    cores = f"{machine['cores']} cores, {machine['memory_gib']} GiB"
    old = "**Older than the code that it measures.** " if changed(table.result, result) else ""
    base = f" with the base {result.get('base', 'tiny')}" if table.based else ""
    return (
        f"{old}`{table.command}`{base} on {machine['date']}, {machine['processor']}, {cores}, "
        f"commit {machine['commit']}: "
        f"[{table.result}.json](results/{table.result}.json)"
    )


if __name__ == "__main__":
    main()
