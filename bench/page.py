"""The tables of docs/performance.md, written from docs/results/: no figure of the page is typed by hand.

python -m bench.page [--check]

A table stands between `<!-- table NAME -->` and `<!-- end -->`; everything else on the page is prose and stays.
"""

import argparse
import json
import re
import sys
from typing import Any

from bench.machine import RESULTS
from bench.page_tables import TABLES, Table

PAGE = RESULTS.parent / "performance.md"
BLOCK = re.compile(r"(<!-- table ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Writes the tables anew; with --check only says whether they are what they should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a table is out of date")
    check = parser.parse_args().check
    text = PAGE.read_text()
    fresh = written(text)
    if check and fresh != text:
        sys.exit(f"{PAGE.name} is out of date: run `python -m bench.page`")
    PAGE.write_text(fresh)


def written(text: str) -> str:
    """The page with its tables made from the results.

    Raises:
        KeyError: a table that nobody knows.
    """
    return BLOCK.sub(lambda found: f"{found[1]}\n{_table(TABLES[found[2]])}\n{found[3]}", text)


def _table(table: Table) -> str:
    path = RESULTS / f"{table.result}.json"
    if not path.is_file():
        return f"*No figures are kept here yet:* `{table.command}` *measures them.*\n"
    result = json.loads(path.read_text())
    rows = [[column.cell(row) for column in table.columns] for row in table.rows(result)]
    lines = [[column.title for column in table.columns], ["---"] * len(table.columns), *rows]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", _source(table, result["machine"])]) + "\n"


def _source(table: Table, machine: dict[str, Any]) -> str:
    """Where the figures come from: command, machine, day and commit."""
    cores = f"{machine['cores']} cores, {machine['memory_gib']} GiB"
    return (
        f"`{table.command}` on {machine['date']}, {machine['processor']}, {cores}, commit {machine['commit']}: "
        f"[{table.result}.json](results/{table.result}.json)"
    )


if __name__ == "__main__":
    main()
