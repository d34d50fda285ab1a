"""The page of a sweep: figures of what mattered, every trial in a table, and no figure without data."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from evaluate.reports.sweep import draw_sweep, summary, write_sweep
from understudy.config.trial import Sweep, SweepTrial


def trial(number: int, loss: float | None, **settings: float | int | str) -> SweepTrial:
    state = "pruned" if loss is None else "complete"
    return SweepTrial(number=number, settings=settings, loss=loss, best_epoch=3, seconds=1.5, state=state)


def found() -> Sweep:
    trials = [
        trial(0, 2.0, learning_rate=0.001, scheduler="cosine", rank=8, base="tiny"),
        trial(
            1, 1.5, learning_rate=0.01, scheduler="linear", rank=8, base="/somewhere/<odd & long>/llama-of-my-own-make"
        ),
        trial(2, None, learning_rate=0.1, scheduler="linear", rank=8, base="tiny"),
        trial(3, 1.75, learning_rate=0.02, scheduler="cosine", rank=8, base="tiny"),
    ]
    return Sweep(recipe="pirate", over=["rank"], trials=trials, importance={"learning_rate": 0.7, "scheduler": 0.3})


def test_every_setting_that_varied_has_a_figure_with_its_losses_in_words() -> None:
    drawn = {one.name: one for one in draw_sweep(found())}
    assert list(drawn) == ["importance", "history", "by-learning_rate", "by-scheduler", "by-base"], "rank never changed"
    assert "learning rate 70%, scheduler 30%" in drawn["importance"].alt
    assert "3 trials; the best so far went from 2.000 to 1.500" in drawn["history"].alt
    assert "cosine: 1.750; linear: 1.500" in drawn["by-scheduler"].alt
    assert "0.001: 2.000; 0.01: 1.500; 0.02: 1.750" in drawn["by-learning_rate"].alt
    assert ">0.01</text>" in drawn["by-learning_rate"].svg
    for one in drawn.values():
        ET.fromstring(one.file)
        assert "mathdefault" not in one.svg, "a formula where a number should be"
    assert [one.svg for one in draw_sweep(found())] == [one.svg for one in drawn.values()]


def test_the_page_and_the_json_say_the_same(tmp_path: Path) -> None:
    text = write_sweep(found(), tmp_path / "sweep").read_text()
    assert Sweep.model_validate_json((tmp_path / "sweep" / "sweep.json").read_text()) == found()
    assert "4 trials, 1 of them given up after the first folds. The best, number 1, has" in text
    assert "The recipe's own settings have 2.000." in text
    assert "&lt;odd &amp; long&gt;" in text
    assert "| 2 | 0.1 | linear | 8 | tiny | given up | 3 | 2 |" in text
    assert all((tmp_path / "sweep" / name).is_file() for name in ("history.svg", "importance.svg", "by-base.svg"))


@pytest.mark.parametrize(
    ("trials", "says"),
    [
        ([trial(0, None, rank=4)], "None of 1 trials finished."),
        ([trial(0, 2.0, rank=4)], "1 trials, 0 of them given up after the first folds. The best, number 0, has"),
    ],
)
def test_a_sweep_that_found_little_says_so(trials: list[SweepTrial], says: str, tmp_path: Path) -> None:
    little = Sweep(recipe="pirate", over=["rank"], trials=trials, importance={})
    assert summary(little).startswith(says)
    assert write_sweep(little, tmp_path).is_file()
