"""The tables of docs/ say what docs/results/ says, and a table says what was not measured."""

import json
from pathlib import Path

import pytest

from bench import machine, page
from bench.goals import Goal
from bench.page_columns import Column
from bench.page_tables import TABLES
from bench.training.learning_rates import TIMES


@pytest.mark.parametrize("path", page.PAGES, ids=lambda path: path.name)
def test_a_page_has_the_figures_of_the_results(path: Path) -> None:
    text = path.read_text()
    assert page.written(text) == text, "run `python -m bench.page`"


def test_every_table_is_on_a_page() -> None:
    names = [found[1] for path in page.PAGES for found in page.BLOCK.findall(path.read_text())]
    assert sorted(set(names)) == sorted([*TABLES, page.GOALS])
    twice = {name for name in names if names.count(name) > 1}
    assert twice <= {page.GOALS}, "only the goals stand on several pages"


def test_a_figure_that_is_out_of_date_is_written_anew() -> None:
    text = page.PAGES[0].read_text()
    (block,) = [found[0] for found in page.BLOCK.finditer(text) if found[2] == "serve"]
    stale = text.replace(block, "<!-- table serve -->\nold\n<!-- end -->")
    assert page.written(stale) == text


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results with one that has been measured just now: a goal that is missed, and one that is met."""
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    met, missed = Goal("half as fast", 0.6, 0.5).row(), Goal("as fast", 0.6, 1.0).row()
    machine.save("persona", {"median_seconds": {"train": 21.2}, "goals": [met, missed]})
    return tmp_path / "persona.json"


def test_a_table_whose_code_has_changed_since_says_so(kept: Path) -> None:
    text = "<!-- table persona -->\n<!-- end -->"
    assert "| train | 21.2 |" in page.written(text)
    assert "Older" not in page.written(text)
    result = json.loads(kept.read_text())
    result["sources"]["evaluate"] = "000000000000"
    kept.write_text(json.dumps(result))
    assert "**Older than the code that it measures.** `python -m bench.persona` on" in page.written(text)


def test_goals_that_are_missed_come_first_with_the_command_that_measured_them(kept: Path) -> None:
    goals, table = "<!-- table goals -->\n<!-- end -->", "<!-- table persona -->\n<!-- end -->"
    assert "has goals yet" in page.written(goals), "the page has no table of that result"
    lines = page.written(f"{goals}\n{table}").splitlines()[4:6]
    assert lines == [
        "| as fast | ≥ 1 | 0.6 | missed | `python -m bench.persona` |",
        "| half as fast | ≥ 0.5 | 0.6 | met | `python -m bench.persona` |",
    ]


def test_a_table_without_figures_names_the_command(kept: Path) -> None:
    assert "`bench/gpu.sh`" in page.written("<!-- table gpu -->\n<!-- end -->")


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


def test_a_sweep_is_shown_when_it_is_complete_and_says_how_far_the_automatic_rate_is_from_the_best() -> None:
    losses = dict(zip(TIMES, (3.0, 2.4, 2.0, 2.1, 2.5, 3.0, 4.0), strict=True))
    runs = {
        f"{recipe} {seed} {times}": {"recipe": recipe, "rows": 17, "seed": seed, "times": times, "losses": [9.0, loss]}
        for recipe, seeds in (("whole", (0, 1)), ("begun", (0,)))
        for seed in seeds
        for times, loss in losses.items()
        if recipe == "whole" or times < 1.41
    }
    (row,) = TABLES["learning-rates"].rows({"runs": runs})
    assert [column.cell(row) for column in TABLES["learning-rates"].columns] == [
        "whole",
        "17",
        "2",
        *("3.000", "2.400", "2.000", "2.100", "2.500", "3.000", "4.000"),
        "5.0%",
    ]
