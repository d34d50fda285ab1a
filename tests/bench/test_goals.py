"""A goal is met, missed, or was not measured."""

import pytest

from bench.goals import Goal, judge, ratio


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (Goal("speed", 0.97, 0.97), "met"),
        (Goal("speed", 0.96, 0.97), "missed"),
        (Goal("wait", 2.0, 2.0, most=True), "met"),
        (Goal("wait", 2.1, 2.0, most=True), "missed"),
        (Goal("failures", 0, 0, most=True), "met"),
        (Goal("speed", None, 0.97), "not measured"),
        (Goal("speed", float("nan"), 0.97), "not measured"),
    ],
)
def test_a_bound_is_the_least_or_the_most_that_is_allowed(goal: Goal, verdict: str) -> None:
    assert goal.verdict == verdict


def test_goals_are_printed_and_kept_with_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    kept = judge([Goal("share of direct", 0.985, 0.97)])["goals"]
    assert kept == [{"what": "share of direct", "found": 0.985, "bound": 0.97, "most": False, "verdict": "met"}]
    assert "share of direct" in capsys.readouterr().out


def test_a_ratio_needs_both() -> None:
    assert (ratio(3, 2), ratio(None, 2), ratio(3, None), ratio(3, 0)) == (1.5, None, None, None)
