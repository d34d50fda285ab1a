"""How helpful an adapter is said to be follows from people's votes, where there are enough on this very revision."""

from pathlib import Path

import pytest

from arena.battles.store import BattleAnswer, BattleStore
from arena.votes.votes import cast_vote
from tests.support.evaluations import observed
from understudy.config.settings import Settings
from understudy.registry.adapters import short
from understudy.registry.registry import open_registry
from understudy.workflows.evaluation.helpfulness import ENOUGH_VOTES, helpfulness

MINE, OTHER = "a" * 64, "b" * 64


def vote(store: BattleStore, verdict: str, revision: str, *, rival: str = "base") -> None:
    """One person's vote on pirate against a rival: `won`, `lost`, or as it is cast."""
    battle, ticket = store.create(
        prompt="Hi", persona="pirate", rival=rival, session="s", temperature=0.2, max_tokens=9
    )
    said = {"pirate": BattleAnswer("Ahoy there", short(revision)), rival: BattleAnswer("Hello there", None)}
    store.finish(battle.id, said[battle.left], said[battle.right])
    sides = {
        "won": "left" if battle.left == "pirate" else "right",
        "lost": "right" if battle.left == "pirate" else "left",
    }
    cast_vote(store.engine, ticket, sides.get(verdict, verdict), session="ann")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", runs_dir=tmp_path / "runs")


def test_votes_on_this_revision_against_the_base_count_and_ties_count_half(settings: Settings) -> None:
    store = BattleStore(open_registry(settings).engine)
    for verdict in ["won"] * 12 + ["lost"] * 4 + ["tie"] * 3 + ["both_bad"]:
        vote(store, verdict, MINE)
    vote(store, "lost", OTHER)
    vote(store, "lost", MINE, rival="base+pirate")
    found = helpfulness(settings, observed(), None)
    assert found is not None
    assert (found.source, len(found.outcomes), sum(found.outcomes)) == ("people's votes", ENOUGH_VOTES, 14.0)


def test_too_few_votes_say_nothing(settings: Settings) -> None:
    store = BattleStore(open_registry(settings).engine)
    for _ in range(ENOUGH_VOTES - 1):
        vote(store, "won", MINE)
    assert helpfulness(settings, observed(), None) is None
