"""docs/compatibility.md: each shape in its tables names the test that holds it."""

import re

import pytest

from understudy.config.settings import PROJECT

PAGE = (PROJECT / "docs" / "compatibility.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| shape")]
KINDS = ("Training data", "Adapters", "Requests", "Votes")


def test_it_has_a_table_of_each_kind() -> None:
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE)[: len(KINDS)] == list(KINDS)


@pytest.mark.parametrize("row", ROWS, ids=[str(number) for number in range(len(ROWS))])
def test_a_shape_says_what_happens_and_names_a_test_that_is_there(row: str) -> None:
    shape, what, tests = (cell.strip() for cell in row.strip("| ").split(" | "))
    assert shape
    assert what
    for name in tests.split(", "):
        assert (PROJECT / name).is_file(), name
