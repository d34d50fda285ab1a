"""The promotion rule: it finds what is better, and indifferent voters promote nothing more than alpha allows."""

import json
import random
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from arena.ranking.promotion_rule import PromotionRule, decide
from arena.ranking.trial_evidence import trial_evidence
from arena.votes.votes import Vote
from bench.arena.ranking import boundaries
from understudy.errors import MeasurementError

ROOT = Path(__file__).parents[2]

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


def test_the_figures_of_the_docs_are_those_of_promote_when_better():
    """docs/arena.md says after how many votes; the bench counts as the command decides."""
    rule = PromotionRule()
    enough = [fewest for fewest, _ in boundaries(rule.model_copy(update={"most_votes": 60}))]
    start = datetime(2024, 9, 1, tzinfo=UTC)
    for votes in (6, 8, 20, 60):
        for wins in (enough[votes - 1], enough[votes - 1] - 1):
            if not 0 <= wins <= votes:
                continue
            cast = [vote(start, "left" if number < wins else "right") for number in range(votes)]
            evidence = trial_evidence(cast, "new", "old", start)
            assert (evidence.better >= 1 / rule.alpha) == (wins >= enough[votes - 1]), (wins, votes)


def test_the_docs_have_the_benchs_figures():
    found = json.loads((ROOT / "docs/results/ranking.json").read_text())["promotion"]
    medians = {row["win_rate"]: f"{row['promoted']:.1%} after {row['votes_median']:.0f}" for row in found}
    text = (ROOT / "docs/arena.md").read_text().replace(" %", "%")
    assert ", ".join(medians[rate] for rate in (0.6, 0.7, 0.8)) in text


def vote(at: datetime, verdict: str) -> Vote:
    """A vote on a battle of the revision `new`, left, against `old`."""
    return Vote(
        battle="b",
        at=at,
        voter="v",
        verdict=verdict,
        reasons_json="[]",
        suspect="",
        withdrawn=False,
        prompt="Hi",
        sampling_json="{}",
        origin="live",
        category="",
        left="poet",
        right="poet",
        left_revision="new",
        right_revision="old",
        left_text="x",
        right_text="y",
    )
