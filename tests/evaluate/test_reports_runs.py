"""Runs in a report: several side by side, which one is the default, broken files."""

import shutil
from pathlib import Path

import pytest

from evaluate.reports.figures import draw
from evaluate.reports.html import html_page
from evaluate.verified_runs import VerifiedRun, find_runs, load_run
from tests.support.verified_runs import Page, made, runs_dir, verified
from understudy.errors import ExamplesError, NotFoundError

__all__ = ["runs_dir", "verified"]


def test_several_runs_are_contestants_side_by_side(runs_dir: Path) -> None:
    report = made(*(load_run(path) for path in find_runs("pirate", runs_dir, ["aaaa", "bbbb33334444"])))
    assert [one.name for one in report.contestants] == [
        "base",
        "base + description",
        "base + 3 shots",
        "QLoRA",
        "full fine-tune",
    ]
    drawings = draw(report)
    assert [one.name for one in drawings] == ["style", "loss", "curves", "cost"]
    page = Page(html_page(report, drawings))
    assert "1 of 2 passed" in page.text
    assert "✗ Refused: full fine-tune" in page.text
    assert not page.empty_headings()
    told = page.text.partition("Against cheap rivals")[2].partition("What got worse")[0]
    assert "better than the base: 70% of its answers" in told.partition("full fine-tune")[0]
    assert "not clearly better than the base: 0% of its answers" in told.partition("full fine-tune")[2]
    assert 'class="differs"' in html_page(report, drawings)


def test_runs_of_one_method_are_told_apart_by_their_ids(runs_dir: Path, verified: VerifiedRun) -> None:
    again = verified.model_copy(update={"facts": verified.facts.model_copy(update={"id": "dddd77778888"})})
    names = [one.name for one in made(verified, again).contestants]
    assert names == ["base", "base + description", "base + 3 shots", "QLoRA aaaa11", "QLoRA dddd77"]


def test_runs_of_two_recipes_are_no_report(verified: VerifiedRun) -> None:
    other = verified.model_copy(update={"card": verified.card.model_copy(update={"recipe": "sailor"})})
    with pytest.raises(ExamplesError, match="found pirate, sailor"):
        made(verified, other)


def test_the_run_verified_last_is_the_default(runs_dir: Path, tmp_path: Path) -> None:
    (found,) = find_runs("pirate", runs_dir, [])
    assert found.name == "bbbb33334444"
    assert find_runs("pirate", runs_dir, [str(found), "bbbb"]) == [found]
    for name, says in (
        ("zzzz", "no run begins with 'zzzz'; runs there are: aaaa11112222, bbbb"),
        ("", "several runs begin with ''"),
        ("cccc", "cccc55556666 is not verified yet; run `understudy verify pirate --adapter .*cccc55556666/adapter`"),
    ):
        with pytest.raises(NotFoundError, match=says):
            find_runs("pirate", runs_dir, [name])


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("proof.json", "{", "proof.json: .*run understudy verify again"),
        ("record.json", '{"recipe": "pirate"}', "record.json: base: Field required; run understudy verify again"),
        ("settings.json", "[]", "settings.json: not one JSON object"),
        ("result.json", '{"seconds": "long"}', "seconds: .*train the run again"),
    ],
)
def test_broken_run_files_are_named(runs_dir: Path, tmp_path: Path, file: str, text: str, says: str) -> None:
    folder = shutil.copytree(runs_dir / "pirate" / "aaaa11112222", tmp_path / "ffff")
    (folder / file).write_text(text)
    with pytest.raises(ExamplesError, match=says) as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)
