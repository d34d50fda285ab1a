"""docs/performance.md says what docs/results/ says, and a table says what was not measured."""

import pytest

from bench import page
from bench.page_tables import TABLES, Column


def test_the_page_has_the_figures_of_the_results() -> None:
    text = page.PAGE.read_text()
    assert page.written(text) == text, "run `python -m bench.page`"


def test_every_table_is_on_the_page() -> None:
    assert {found[1] for found in page.BLOCK.findall(page.PAGE.read_text())} == set(TABLES)


def test_a_figure_that_is_out_of_date_is_written_anew() -> None:
    text = page.PAGE.read_text()
    (block,) = [found[0] for found in page.BLOCK.finditer(text) if found[2] == "serve"]
    stale = text.replace(block, "<!-- table serve -->\nold\n<!-- end -->")
    assert page.written(stale) == text


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ({"a": {"b": 1234.5}}, "1,234"),
        ({"a": {"b": None}}, "-"),
        ({"a": {}}, "-"),
        ({}, "-"),
    ],
)
def test_a_cell_is_a_figure_or_a_dash(row: dict, shown: str) -> None:
    assert Column("title", "a.b", "{:,.0f}").cell(row) == shown


def test_a_table_that_nobody_knows_is_refused() -> None:
    with pytest.raises(KeyError):
        page.written("<!-- table nonsense -->\n<!-- end -->")
