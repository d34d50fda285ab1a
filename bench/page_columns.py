"""What a table of a page is made of: its result, its rows, its columns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column; `value` is a key, a path of keys with dots, or a function of the row."""

    title: str
    value: str | Callable[[Row], Any]
    form: str = "{}"

    def cell(self, row: Row) -> str:
        """The figure in words; a dash where the row has none."""
        found = self.value(row) if callable(self.value) else _follow(row, self.value)
        return "-" if found is None else self.form.format(found)


@dataclass(frozen=True)
class Table:
    """A table of the page, made from `docs/results/<result>.json` by `command`."""

    result: str
    command: str
    columns: tuple[Column, ...]
    rows: Callable[[Row], Iterable[Row]] = lambda result: result["rows"]
    based: bool = False
    """Whether the result says on which base it was measured; those that do not are of `tiny`."""


def _follow(row: Row, path: str) -> Any:
    found: Any = row
    for key in path.split("."):
        found = None if found is None else found.get(key)
    return found


def yes(key: str) -> Callable[[Row], str]:
    """A cell that says whether."""
    return lambda row: "yes" if row[key] else "no"


def of(part: str, whole: str) -> Callable[[Row], str | None]:
    """A cell that says how many of how many; None where they were not counted."""
    return lambda row: f"{row[part]} of {row[whole]}" if {part, whole} <= row.keys() else None


def share(part: str, whole: str) -> Callable[[Row], float | None]:
    """A cell with a share, 0 to 1."""
    return lambda row: row[part] / row[whole] if row.get(whole) else None


def grouped(result: Row) -> Iterable[Row]:
    """Rows of a matrix, cell by cell."""
    return sorted(result["rows"], key=lambda row: (row["adapters"], row["concurrency"]))


def named(key: str) -> Callable[[Row], Iterable[Row]]:
    """Rows of a mapping from a name to figures."""
    return lambda result: [{"name": name, **about} for name, about in result[key].items()]


def pairs(*keys: str) -> Callable[[Row], Iterable[Row]]:
    """Rows of a mapping from a name to a number."""

    def rows(result: Row) -> Iterable[Row]:
        for key in keys:
            result = result[key]
        return [{"name": name, "value": value} for name, value in result.items()]

    return rows
