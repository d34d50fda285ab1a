"""Adapters that are broken in known ways are refused, each for a right reason.

All of them on `tiny` here, and on the default base by `bench.training.planted_failures`. Those that need no training of
their own are refused on the default base in `tests/circle/test_smollm2.py`, and one that was over-taught in
`tests/workflows/test_broken_runs.py`.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bench.training.planted_failures import evaluate
from bench.training.planted_table import auc, table, wrong
from bench.training.plants import BROKEN, Bench
from understudy.bases import resolve_base
from understudy.config.recipe import load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
WORDS = {"made_up", "on_topic"}
"""`tiny` itself makes up words, and an adapter of it cannot help it: this is refused, and should be."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    recipe, other = (load_recipe(str(RECIPES / name), RECIPES) for name in ("email-copy", "stand-up"))
    found: dict[str, dict[str, Any]] = {}
    bench = Bench(recipe, other, resolve_base("tiny"), tmp_path_factory.mktemp("planted"))
    asyncio.run(evaluate(bench, bench.plants(), found.__setitem__))
    return found


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.engine
@pytest.mark.timeout(900)
def test_every_planted_failure_is_refused_for_a_right_reason(runs: dict[str, dict[str, Any]]) -> None:
    assert set(runs["sound"]["codes"]) <= WORDS, runs["sound"]
    slight = {"noise 1"}  # so little noise leaves an adapter as it was
    factless = {"right style, shuffled facts"}  # what tiny is taught is a template with slots for topic and occasion
    failures = {name: run for name, run in runs.items() if name not in {"sound", *slight, *factless}}
    assert wrong(failures) == [], {name: failures[name] for name in wrong(failures)}
    assert {*runs["noise 16"]["codes"]} >= {"surprise", "in_style"}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.engine
@pytest.mark.timeout(900)
def test_the_more_noise_the_better_it_is_told_from_a_sound_adapter(runs: dict[str, dict[str, Any]]) -> None:
    sound = runs["sound"]["excess_by_answer"]
    curve = [auc(sound, runs[f"noise {level}"]["excess_by_answer"]) for level in ("1", "4", "8", "16")]
    assert curve[-1] > 0.85
    assert curve[-1] > curve[0]


@pytest.mark.parametrize(
    ("sound", "broken", "area"),
    [
        ([0, 0], [1, 1], 1.0),
        ([1, 1], [0, 0], 0.0),
        ([1, 1], [1, 1], 0.5),
        ([0, 2], [1, 1], 0.5),
        ([0, 1], [1, 2], 0.875),
    ],
)
def test_the_area_under_the_curve(sound: list[float], broken: list[float], area: float) -> None:
    assert auc(sound, broken) == area


def test_what_is_not_refused_or_for_a_wrong_reason_is_named() -> None:
    runs = {
        "sound": {"expected": [], "codes": []},
        "refused though sound": {"expected": [], "codes": ["in_style"]},
        "passed": {"expected": sorted(BROKEN), "codes": []},
        "wrong reason": {"expected": ["acts"], "codes": ["in_style"]},
        "right reason": {"expected": ["acts"], "codes": ["in_style", "acts"]},
        "not even loaded": {"expected": ["acts"], "codes": ["validate"]},
    }
    assert wrong(runs) == ["refused though sound", "passed", "wrong reason"]
    rows = {f"r: {name}": run for name, run in runs.items()}
    rows["r: sound"]["excess_by_answer"] = []
    assert "| passed | passed |" in table(rows, "r")
