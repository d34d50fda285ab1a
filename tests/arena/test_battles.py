"""Battles and votes: fair, reproducible, and each counted once."""

import itertools
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from arena.battles.blinding import BASE, STEP, Pace, fault, new_seed, sampling_seed, shuffle
from arena.battles.store import ASKED, OPEN, VOID, BattleAnswer, BattleError, BattleStore, BattleTicket
from arena.votes.votes import VERDICTS, VoteError, cast_vote, list_votes
from understudy.errors import NotFoundError
from understudy.registry.database import open_database
from understudy.registry.tables import BattleRow, VoteRow

SEEDS = st.integers(0, 2**62 - 1)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(f"sqlite:///{tmp_path / 'arena.db'}")


@pytest.fixture
def store(engine: Engine) -> BattleStore:
    return BattleStore(engine)


def open_battle(store: BattleStore, persona: str = "email-copy") -> BattleTicket:
    battle, ticket = store.create(prompt="Hi", persona=persona, session="s", temperature=0.5, max_tokens=64)
    store.finish(battle.id, BattleAnswer("left words", "aaa"), BattleAnswer("right words"))
    return ticket


# Sides


@settings(deadline=None)
@given(SEEDS)
def test_a_seed_always_gives_the_same_sides(seed: int):
    assert shuffle(BASE, "email-copy", seed=seed) == shuffle("email-copy", BASE, seed=seed)
    assert {shuffle(BASE, "p", seed=seed).left, shuffle(BASE, "p", seed=seed).right} == {BASE, "p"}


def test_neither_side_is_favoured():
    left = sum(shuffle(BASE, "email-copy", seed=seed).left == BASE for seed in range(10_000))
    assert 4_800 < left < 5_200


def test_the_sampling_seed_says_nothing_about_the_sides():
    even = [shuffle(BASE, "p", seed=seed).left == BASE for seed in range(4_000) if sampling_seed(seed) % 2]
    assert 0.45 < sum(even) / len(even) < 0.55


def test_seeds_fit_their_columns_and_are_not_repeated():
    seeds = {new_seed() for _ in range(1_000)}
    assert len(seeds) == 1_000
    assert all(0 <= seed < 2**63 and 0 <= sampling_seed(seed) < 2**31 for seed in seeds)


# What voids


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("One.", "Two.", ""),
        ("", "Two.", ""),
        (" \n", "", "both answers are empty"),
        ("Same. ", " Same.", "both answers are the same"),
        ("Hello from email-copy!", "Two.", "identity leak: the left answer names a contestant"),
        ("One.", "As your Email Copy I say no.", "identity leak: the right answer names a contestant"),
        ("One.", "Email copywriting is a craft.", ""),
        ("One.", "I, the Email copywriter, agree.", "identity leak: the right answer names a contestant"),
        ("Revision 3fa91c0d2b7e here.", "Two.", "identity leak: the left answer names a contestant"),
        ("I am Qwen, made by people.", "Two.", "identity leak: the left answer says which model it is"),
        (
            "One.",
            "I'm a large language model created by Alibaba.",
            "identity leak: the right answer says which model it is",
        ),
        ("One.", "As a fine-tuned model I cannot.", "identity leak: the right answer says which model it is"),
        ("The base of the tower is wide.", "My email has a copy.", ""),
        ("I saw a llama.", "Meta is a prefix.", ""),
    ],
)
def test_faults(left: str, right: str, expected: str):
    found = fault(left, right, prompt="Hi", names=("base", "email-copy", "Email copywriter", "3fa91c0d2b7e", ""))
    assert (found.reason if found else "") == expected


def test_a_name_that_the_prompt_uses_gives_nothing_away():
    assert fault("Stand-up is hard.", "Yes.", prompt="Is stand-up hard?", names=("stand-up",)) is None
    found = fault("Stand-up is hard.", "Yes.", prompt="Is it hard?", names=("stand-up",))
    assert found
    assert found.code == "identity"


# The pace


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60))
def test_neither_side_ever_runs_ahead_of_the_slower_one(arrivals: list[tuple[int, int]]):
    left, right, pace = "", "", Pace()
    for more_left, more_right in arrivals:
        left, right = left + "l" * more_left, right + "r" * more_right
        before = pace
        pace = pace.advance(left, right, left_done=False, right_done=False)
        assert pace.shown <= min(len(left), len(right))
        assert 0 <= pace.shown - before.shown <= STEP


@settings(deadline=None)
@given(st.text("ab", max_size=300), st.text("ab", max_size=300), st.integers(0, 30))
def test_everything_is_revealed_in_the_end(left: str, right: str, before: int):
    pace = Pace()
    for _ in range(before):
        pace = pace.advance(left[:20], right[:20], left_done=False, right_done=False)
    for _ in range(400):
        pace = pace.advance(left, right, left_done=True, right_done=True)
    assert pace.complete(left, right)


@pytest.mark.parametrize("swift", ["left", "right"])
def test_what_one_sees_is_the_same_whichever_side_is_swift(swift: str):
    """A side that has all its words at once and a side that gets two characters a tick."""
    pace, seen = Pace(), []
    for tick in range(200):
        slow, fast = "s" * min(100, 2 * tick), "f" * 100
        left, right = (fast, slow) if swift == "left" else (slow, fast)
        done = {"left": swift == "left" or tick > 50, "right": swift == "right" or tick > 50}
        pace = pace.advance(left, right, left_done=done["left"], right_done=done["right"])
        seen.append(pace.shown)
    assert max(b - a for a, b in itertools.pairwise(seen)) <= 2
    assert seen[-1] == 100


def test_the_longer_answer_goes_on_at_the_pace_both_had():
    """The rest of a swift answer must not rush out once the slow and short one has ended."""
    pace = Pace()
    for tick in range(1, 21):
        pace = pace.advance("s" * 2 * tick, "f" * 500, left_done=False, right_done=True)
    steps = []
    for _ in range(20):
        after = pace.advance("s" * 40, "f" * 500, left_done=True, right_done=True)
        steps.append(after.shown - pace.shown)
        pace = after
    assert set(steps) == {2}


# Battles


def test_a_battle_is_committed_before_anything_is_asked(store: BattleStore):
    battle, ticket = store.create(prompt="Hi", persona="email-copy", session="tab", temperature=0.5, max_tokens=64)
    with Session(store.engine) as db:
        row = db.get_one(BattleRow, ticket.battle)
    assert (row.left, row.right) == (battle.left, battle.right)
    assert shuffle(BASE, "email-copy", seed=row.seed).left == row.left
    assert row.sampling == {"temperature": 0.5, "max_tokens": 64, "seed": sampling_seed(row.seed)}
    assert row.status == ASKED
    assert ticket.secret not in row.nonce
    assert "tab" not in row.session


def test_a_finished_battle_can_be_replayed(store: BattleStore):
    ticket = open_battle(store)
    battle = store.get(ticket.battle)
    assert battle.status == OPEN
    assert battle.left_answer == BattleAnswer("left words", "aaa")
    assert battle.right_answer == BattleAnswer("right words", None)
    assert battle.persona == "email-copy"


def test_a_void_battle_keeps_its_reason_and_words(store: BattleStore):
    battle, _ = store.create(prompt="Hi", persona="p", session="s", temperature=0, max_tokens=1)
    store.void(battle.id, "error: cut off", BattleAnswer("so far"))
    kept = store.get(battle.id)
    assert (kept.status, kept.reason, kept.left_answer.text) == (VOID, "error: cut off", "so far")


def test_a_settled_battle_stays_as_it_is(store: BattleStore):
    ticket = open_battle(store)
    with pytest.raises(BattleError, match="not under way"):
        store.void(ticket.battle, "too late")
    with pytest.raises(BattleError, match="not under way"):
        store.finish(ticket.battle, BattleAnswer("other"), BattleAnswer("words"))
    assert store.get(ticket.battle).left_answer.text == "left words"


@pytest.mark.parametrize(("prompt", "persona", "says"), [("  ", "p", "prompt"), ("Hi", "base", "itself")])
def test_battles_that_cannot_be_held(store: BattleStore, prompt: str, persona: str, says: str):
    with pytest.raises(BattleError, match=says):
        store.create(prompt=prompt, persona=persona, session="s", temperature=0, max_tokens=1)


def test_an_unknown_battle(store: BattleStore):
    with pytest.raises(NotFoundError, match="nope"):
        store.get("nope")


# Votes


def test_a_vote_counts_once(store: BattleStore):
    ticket = open_battle(store)
    cast_vote(store.engine, ticket, "left", session="s")
    with pytest.raises(VoteError, match="already"):
        cast_vote(store.engine, ticket, "right", session="s")
    (vote,) = list_votes(store.engine)
    assert vote.verdict == "left"
    assert vote.winner == store.get(ticket.battle).left


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda store, battle: None, "not complete"),
        (lambda store, battle: store.void(battle, "error"), "does not count"),
    ],
)
def test_battles_that_take_no_vote(store: BattleStore, prepare, says: str):
    battle, ticket = store.create(prompt="Hi", persona="p", session="s", temperature=0, max_tokens=1)
    prepare(store, battle.id)
    with pytest.raises(VoteError, match=says):
        cast_vote(store.engine, ticket, "left", session="s")
    assert list_votes(store.engine) == []


def test_a_vote_needs_the_secret_of_its_battle(store: BattleStore):
    ticket, other = open_battle(store), open_battle(store)
    for forged in (BattleTicket(ticket.battle, other.secret), BattleTicket("nope", ticket.secret)):
        with pytest.raises(VoteError, match="does not belong"):
            cast_vote(store.engine, forged, "left", session="s")
    with Session(store.engine) as db:
        nonce = db.get_one(BattleRow, ticket.battle).nonce
    with pytest.raises(VoteError, match="does not belong"):
        cast_vote(store.engine, BattleTicket(ticket.battle, nonce), "left", session="s")


def test_an_unknown_verdict(store: BattleStore):
    with pytest.raises(VoteError, match="choose one of left, right, tie, both_bad"):
        cast_vote(store.engine, open_battle(store), "A", session="s")


def test_a_vote_counts_once_when_many_cast_it_at_the_same_time(store: BattleStore):
    ticket = open_battle(store)
    ready, outcomes = threading.Barrier(12), []

    def cast(number: int) -> None:
        ready.wait()
        try:
            cast_vote(store.engine, ticket, VERDICTS[number % 4], session=str(number))
            outcomes.append("counted")
        except VoteError:
            outcomes.append("refused")

    threads = [threading.Thread(target=cast, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["counted"] + ["refused"] * 11
    assert len(list_votes(store.engine)) == 1


def test_no_vote_is_lost_when_many_vote_at_the_same_time(store: BattleStore):
    tickets = [open_battle(store) for _ in range(24)]
    failures: list[Exception] = []

    def cast(mine: list[BattleTicket]) -> None:
        try:
            for ticket in mine:
                cast_vote(store.engine, ticket, "tie", session="s")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=cast, args=(tickets[i::6],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [vote.verdict for vote in list_votes(store.engine, "email-copy")] == ["tie"] * 24


def test_the_session_is_stored_as_a_hash_only(store: BattleStore):
    ticket = open_battle(store)
    cast_vote(store.engine, ticket, "tie", session="my-browser")
    with Session(store.engine) as db:
        row = db.get_one(VoteRow, ticket.battle)
    assert len(row.session) == 64
    assert "my-browser" not in row.session


@settings(deadline=None, max_examples=10)
@given(st.lists(st.sampled_from(["win", "loss", "tie", "both_bad"]), max_size=12))
def test_a_votes_winner_is_the_contestant_on_the_chosen_side(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[str]
):
    store = BattleStore(open_database(f"sqlite:///{tmp_path_factory.mktemp('db') / 'a.db'}"))
    for outcome in outcomes:
        ticket, _ = open_battle(store), open_battle(store, "stand-up")
        on_left = store.get(ticket.battle).left == "email-copy"
        verdict = {"win": "left" if on_left else "right", "loss": "right" if on_left else "left"}
        cast_vote(store.engine, ticket, verdict.get(outcome, outcome), session="s")
    winners = {"win": "email-copy", "loss": BASE}
    votes = list_votes(store.engine, "email-copy")
    assert [vote.winner for vote in votes] == [winners.get(outcome) for outcome in outcomes]
    assert list_votes(store.engine, "stand-up") == []
