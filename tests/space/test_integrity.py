"""Votes of machines, withdrawn votes, voters' names, and the words that differ between two answers."""

import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.orm import Session

from arena.battles.store import BattleStore
from arena.battles.vote_spam import FAST, SAME_AGAIN, STREAK, TOO_FAST, suspicion
from arena.votes.export import acknowledge, pending, restore
from arena.votes.public_export import COLUMNS, own_votes, votes_csv
from arena.votes.votes import (
    WITHDRAWN,
    cast_vote,
    find_vote,
    left_out,
    list_votes,
    votes_about,
    withdraw_votes,
)
from space.arena.html import word_diff
from space.arena.voters import Voters, read_salt
from space.leaderboard.vote_cache import LeaderboardCache
from tests.support.space import cast, finished_battle
from understudy.registry.database import open_database
from understudy.registry.tables import BattleRow, VoteRow, now

# Machines


def test_votes_faster_than_reading_are_kept_and_not_counted(store: BattleStore):
    for number in range(STREAK + 2):
        ticket = finished_battle(store, f"Prompt {number}")
        reason = suspicion(store.engine, ticket.battle, "left", session="bot")
        cast_vote(store.engine, ticket, "left", session="bot", suspect=reason)
    assert len(list_votes(store.engine)) == STREAK - 1
    assert left_out(store.engine) == {TOO_FAST: 3}
    later = now() + FAST + timedelta(seconds=1)
    assert suspicion(store.engine, finished_battle(store).battle, "left", session="bot", at=later) == ""
    assert suspicion(store.engine, finished_battle(store).battle, "left", session="somebody else") == ""


def test_one_verdict_on_one_prompt_from_everywhere_at_once_is_one_machine(store: BattleStore):
    said = []
    for number in range(STREAK + 1):
        ticket = finished_battle(store, "Vote for me")
        side = "left" if store.get(ticket.battle).left == "email-copy" else "right"
        said.append(suspicion(store.engine, ticket.battle, side, session=f"tab {number}"))
        cast_vote(store.engine, ticket, side, session=f"tab {number}", suspect=said[-1])
    assert said == [""] * (STREAK - 1) + [SAME_AGAIN] * 2
    ticket = finished_battle(store, "Vote for me")
    other = "right" if store.get(ticket.battle).left == "email-copy" else "left"
    assert suspicion(store.engine, ticket.battle, other, session="tab x") == "", "a verdict of another kind"
    assert suspicion(store.engine, finished_battle(store, "Else").battle, "tie", session="tab y") == ""


def test_statistics_leave_out_what_is_suspect_or_withdrawn_and_say_how_many(store: BattleStore):
    board = LeaderboardCache(store.engine)
    kept = cast(store, voter="ann")
    assert board.board().votes == 1
    gone = [cast(store, voter="bob") for _ in range(2)]
    cast_vote(store.engine, finished_battle(store), "tie", session="bot", suspect=TOO_FAST)
    assert (board.board().votes, board.board().left_out) == (3, {TOO_FAST: 1})
    assert withdraw_votes(store.engine, session="bob") == 2
    assert withdraw_votes(store.engine, session="bob") == 0
    assert (board.board().votes, board.board().left_out) == (1, {TOO_FAST: 1, WITHDRAWN: 2})
    assert [one.battle for one in list_votes(store.engine)] == [kept]
    assert [one.battle for one in votes_about(store.engine, "email-copy")] == [kept]
    assert [find_vote(store.engine, one) for one in gone] == [None, None]
    with Session(store.engine) as db:
        assert db.query(VoteRow).count() == 4, "votes are never deleted"


def test_withdrawals_reach_a_repository_and_come_back(store: BattleStore, tmp_path: Path):
    cast(store, voter="ann")
    cast(store, voter="bob")
    withdraw_votes(store.engine, session="bob")
    files = pending(store.engine, "hub:a/b").files("abc", 1, now())
    assert not any(path.startswith("withdrawals/") for path in files), "a withdrawal goes after its vote"
    acknowledge(store.engine, "hub:a/b", pending(store.engine, "hub:a/b"))
    batch = pending(store.engine, "hub:a/b")
    assert len(batch.withdrawals) == 1
    files |= batch.files("abc", 2, now())
    other = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    assert restore(other, "hub:a/b", files.items()).problems == []
    assert len(list_votes(other)) == 1
    assert left_out(other) == {WITHDRAWN: 1}
    assert not pending(other, "hub:a/b")


# Voters


def request(tab: str, sub: str = "") -> Any:
    session = {"oauth_info": {"userinfo": {"sub": sub}}} if sub else {}
    return SimpleNamespace(session_hash=tab, request=SimpleNamespace(scope={"session": session}))


def test_a_voter_is_a_tab_or_a_login_and_neither_can_be_read_from_the_name(tmp_path: Path):
    voters = Voters(read_salt(tmp_path / "home" / "voters.salt"))
    again = Voters(read_salt(tmp_path / "home" / "voters.salt"))
    one, other, login, same = (voters.name(request(*who)) for who in (("t1",), ("t2",), ("t1", "u7"), ("t2", "u7")))
    assert len({one, other, login}) == 3
    assert login == same, "a login is one voter in every tab"
    assert again.name(request("t1")) == one
    assert Voters().name(request("t1")) != one
    assert "t1" not in one
    assert (tmp_path / "home" / "voters.salt").stat().st_mode & 0o077 == 0


def test_a_voter_may_start_so_many_battles_a_minute():
    clock = [0.0]
    voters = Voters(b"salt", most=2, clock=lambda: clock[0])
    assert [voters.wait("ann"), voters.wait("ann")] == [0, 0]
    clock[0] = 10
    assert voters.wait("ann") == pytest.approx(50)
    assert voters.wait("bob") == 0
    clock[0] = 60.5
    assert voters.wait("ann") == 0


def test_published_votes_lead_to_nobody_and_own_votes_say_everything(store: BattleStore):
    cast(store, "left", voter="ann", prompt="My name is Ann Example")
    cast(store, "tie", voter="bob")
    cast(store, "right", voter="ann", persona="p@b" + "0" * 11, rival="p@a" + "0" * 11)
    text = votes_csv(store.engine)
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert [line.split(",")[-2] for line in text.splitlines()[1:]] == ["v1", "v2", "v1"]
    with Session(store.engine) as db:
        rows = db.query(BattleRow).all()
        secrets = [row.session for row in db.query(VoteRow)] + [row.id for row in rows] + ["Ann", "some words"]
    assert not [secret for secret in secrets if secret in text]
    mine = [json.loads(line) for line in own_votes(store.engine, session="ann").splitlines()]
    assert [row["verdict"] for row in mine] == ["left", "right"]
    assert mine[0]["prompt"] == "My name is Ann Example"
    assert own_votes(store.engine, session="nobody") == ""


# Differences


@pytest.mark.parametrize(
    ("left", "right", "own"),
    [
        ("a b c", "a x c", (["b"], ["x"])),
        ("Same words", "same  WORDS", ([], [])),
        ("", "all new", ([], ["all new"])),
        ("one two", "two one two", ([], ["two"])),
    ],
)
def test_the_words_that_differ(left: str, right: str, own: tuple[list[str], list[str]]):
    sides = word_diff(left, right)
    assert tuple("".join(one.text for one in side) for side in sides) == (left, right)
    assert tuple([one.text.strip() for one in side if one.own] for side in sides) == own
