"""The promotion rule: it finds what is better, and indifferent voters promote nothing more than alpha allows."""

import random
from functools import cache

import pytest

from arena.ranking.promotion_rule import PromotionRule, decide
from understudy.errors import MeasurementError

RULE = PromotionRule(alpha=0.05, most_votes=200)


@cache
def verdict(wins: int, losses: int) -> str:
    return decide(wins, losses, RULE).verdict


def outcome(p: float, seed: int) -> tuple[str, int]:
    """What somebody does who asks after every vote, and after how many."""
    chance, wins, losses = random.Random(seed), 0, 0
    while (found := verdict(wins, losses)) == "keep going":
        won = chance.random() < p
        wins, losses = wins + won, losses + (not won)
    return found, wins + losses


@pytest.mark.parametrize("p", [0.5, 0.45])
def test_voters_who_do_not_prefer_it_promote_it_in_at_most_a_twentieth(p: float):
    promoted = sum(outcome(p, seed)[0] == "promote" for seed in range(1000))
    assert promoted / 1000 <= 0.05


def test_indifferent_voters_do_promote_now_and_then_so_the_test_above_can_fail():
    assert any(outcome(0.5, seed)[0] == "promote" for seed in range(1000))


@pytest.mark.parametrize(("p", "within"), [(0.75, 60), (0.9, 25)])
def test_a_better_revision_is_promoted_soon(p: float, within: int):
    found = [outcome(p, seed) for seed in range(200)]
    assert sum(what == "promote" for what, _ in found) >= 195
    assert sorted(votes for _, votes in found)[100] <= within


def test_a_worse_revision_is_given_up():
    assert sum(outcome(0.25, seed)[0] == "give up" for seed in range(200)) >= 195


@pytest.mark.parametrize(
    ("wins", "losses", "expected", "says"),
    [
        (0, 0, "keep going", "not decided yet: 0 of 0"),
        (5, 0, "keep going", "5 of 5"),
        (9, 0, "promote", "prefer it: 9 of 9"),
        (0, 9, "give up", "prefer the old one: 0 of 9"),
        (100, 100, "give up", "no preference to speak of: 100 of 200"),
    ],
)
def test_decisions_say_why(wins: int, losses: int, expected: str, says: str):
    found = decide(wins, losses, RULE)
    assert found.verdict == expected
    assert says in found.reason
    assert (found.win_rate.wins, found.win_rate.losses) == (wins, losses)


def test_a_stricter_rule_wants_more():
    assert decide(9, 0, PromotionRule(alpha=0.05)).verdict == "promote"
    assert decide(9, 0, PromotionRule(alpha=0.001)).verdict == "keep going"


def test_a_negative_count_is_refused():
    with pytest.raises(MeasurementError, match="counts start at 0"):
        decide(-1, 3)
