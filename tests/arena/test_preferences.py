"""From votes to preferences: what counts, what is left out, what leaves the house, and when a trial has proof."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from arena.battles.store import BattleAnswer, BattleStore
from arena.preferences import Preferences, preferences
from arena.ranking.trial_evidence import TrialEvidence, trial_evidence
from arena.votes.votes import Vote, VotedAnswer, cast_vote, votes_about
from tests.support.pirate import home, understudy
from understudy.config.settings import load_settings
from understudy.data.messages import Message
from understudy.data.preferences import (
    Label,
    PreferencePair,
    fingerprint,
    labels_of,
    read_preferences,
    split_of,
    write_preferences,
)
from understudy.errors import ExamplesError
from understudy.registry.database import open_database
from understudy.registry.registry import open_registry
from understudy.registry.tables import PersonaRow

__all__ = ["home"]

OLD, NEW = "a" * 64, "b" * 64
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def hold(store: BattleStore, prompt: str, ours: str, theirs: str, verdict: str, *, rival: str = "base") -> str:
    """One battle of the pirate, with its vote in terms of `ours` and `theirs`; its id."""
    battle, ticket = store.create(
        prompt=prompt, persona="pirate", rival=rival, session="browser 7", temperature=0.7, max_tokens=64
    )
    answers = {"pirate": BattleAnswer(ours, OLD[:12]), rival: BattleAnswer(theirs)}
    store.finish(battle.id, answers[battle.left], answers[battle.right])
    side = {"ours": "pirate", "theirs": rival}.get(verdict)
    cast_vote(store.engine, ticket, "left" if battle.left == side else "right" if side else verdict, session="s")
    return battle.id


def found(store: BattleStore, **options: object) -> Preferences:
    return preferences(votes_about(store.engine, "pirate"), "pirate", **options)  # pyright: ignore[reportArgumentType]


def vote_on(
    left: VotedAnswer,
    right: VotedAnswer,
    verdict: str,
    *,
    prompt: str = "Hi",
    at: datetime = NOON,
    battle: str = "b",
    replay: bool = False,
) -> Vote:
    return Vote(
        battle=battle,
        at=at,
        voter="v",
        verdict=verdict,
        reasons_json="[]",
        suspect="",
        withdrawn=False,
        prompt=prompt,
        sampling_json="{}",
        origin="replay" if replay else "live",
        category="",
        left=left.contestant,
        right=right.contestant,
        left_revision=left.revision,
        right_revision=right.revision,
        left_text=left.text,
        right_text=right.text,
    )


def voted(verdict: str, left: str = "Ahoy!", right: str = "Hello.", *, prompt: str = "Greet me.") -> Vote:
    """A vote on the pirate's answer, on the left, and the base's."""
    ours, theirs = VotedAnswer("pirate", OLD[:12], left), VotedAnswer("base", None, right)
    return vote_on(ours, theirs, verdict, prompt=prompt, battle=str(random.random()))


def test_a_vote_becomes_a_pair_that_tells_where_it_comes_from_and_not_from_whom(store: BattleStore) -> None:
    battle = hold(store, "Greet me.", "Ahoy!", "Hello.", "ours")
    (pair,) = found(store).pairs
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("Ahoy!", "Hello.")
    assert (pair.chosen_by, pair.rejected_by) == (f"pirate@{OLD[:12]}", "base")
    (vote,) = pair.votes
    assert vote.battle == battle
    assert vote.side in ("left", "right")
    assert vote.sampling["max_tokens"] == 64
    row = pair.model_dump_json()
    assert "session" not in row
    assert "browser" not in row
    assert json.loads(row)["prompt"] == [{"role": "user", "content": "Greet me."}]


@pytest.mark.parametrize(
    ("one", "counted", "pairs", "labels"),
    [
        (voted("left"), "followed", 1, [True, False]),
        (voted("right"), "followed", 1, [False, True]),
        (voted("tie"), "ties", 0, []),
        (voted("both_bad"), "both_bad", 0, [False, False]),
        (voted("left", right="Ahoy! "), "identical", 0, []),
        (voted("left", right=" "), "empty", 0, []),
    ],
)
def test_each_verdict_teaches_what_the_rules_say(one: Vote, counted: str, pairs: int, labels: list[bool]) -> None:
    result = preferences([one], "pirate")
    assert getattr(result.counted, counted) == 1
    assert len(result.pairs) == pairs
    assert [label.label for label in sorted(result.labels, key=lambda label: label.completion[0].content)] == labels


@pytest.mark.parametrize("rival", ["poet@cccc", "Other Model (imported)"])
def test_a_battle_against_another_persona_or_an_imported_answer_teaches_nothing(rival: str) -> None:
    one = vote_on(voted("right").answer("left"), VotedAnswer(rival, "c" * 12, "Lo!"), "right")
    result = preferences([one], "pirate", personas=["poet"])
    assert (result.counted.others, result.pairs, result.labels) == (1, [], [])


def test_void_battles_never_get_that_far_and_replays_join_the_votes_on_the_same_answers(store: BattleStore) -> None:
    battle, _ = store.create(prompt="Hi", persona="pirate", session="s", temperature=0, max_tokens=9)
    store.void(battle.id, "an error")
    hold(store, "Greet me.", "Ahoy!", "Hello.", "ours")
    again = store.replay(session="somebody else")
    assert again
    cast_vote(store.engine, again[1], "left" if again[0].left == "pirate" else "right", session="somebody else")
    result = found(store)
    (pair,) = result.pairs
    assert [vote.replay for vote in pair.votes] == [False, True]
    assert (result.counted.votes, result.counted.replays, result.counted.followed) == (2, 1, 2)


def test_votes_that_contradict_each_other_are_settled_by_the_majority_and_counted() -> None:
    result = preferences([voted("left"), voted("right"), voted("left"), voted("left", prompt="x")], "pirate")
    first, _ = result.pairs
    assert (first.chosen[0].content, len(first.votes), first.outvoted) == ("Ahoy!", 2, 1)
    assert (result.counted.followed, result.counted.outvoted) == (3, 1)
    one = voted("left")
    even = preferences([one, voted("right")], "pirate")
    assert (even.pairs, even.labels, even.counted.undecided) == ([], [], 2)
    swapped = vote_on(one.answer("right"), one.answer("left"), "left", prompt=one.prompt)
    assert preferences([one, swapped], "pirate").pairs == [], "sides do not matter, answers do"


@examples(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Greet me.", "greet  ME.", "Sing.", "Why?", "Go on"]),
            st.sampled_from(["left", "right", "tie", "both_bad"]),
            st.sampled_from(["Ahoy!", "Arr.", "Hello.", ""]),
            st.sampled_from(["Hello.", "Good day."]),
        )
    )
)
def test_every_vote_is_counted_once_and_no_prompt_is_on_both_sides(votes: list[tuple[str, str, str, str]]) -> None:
    result = preferences([voted(v, left, right, prompt=p) for p, v, left, right in votes], "pirate", kept=["SING."])
    it = result.counted
    assert it.votes == len(votes)
    parts = (it.followed, it.outvoted, it.undecided, it.ties, it.both_bad, it.identical, it.empty, it.others)
    assert sum(parts) == it.votes
    for rows in (result.pairs, result.labels):
        sides = {(" ".join(row.prompt[0].content.split()).casefold(), row.side) for row in rows}
        assert len(sides) == len({prompt for prompt, _ in sides})
        assert all(side == "heldout" for prompt, side in sides if prompt == "sing.")


def test_about_the_wanted_share_of_prompts_is_held_out_and_always_the_same_ones() -> None:
    prompts = [(Message(role="user", content=f"Tell me about item {n}."),) for n in range(3000)]
    sides = [split_of(prompt, 0.2) for prompt in prompts]
    assert abs(sides.count("heldout") / 3000 - 0.2) < 0.03
    shown = "".join(side[0] for side in sides[:24])
    assert shown == "ttttthhttttttthtttthttth", "a change here moves prompts from one side to the other"
    assert [split_of(p, 0.4) for p, s in zip(prompts, sides, strict=True) if s == "heldout"].count("train") == 0


def test_rows_survive_a_file_and_strings_may_stand_for_messages(tmp_path: Path) -> None:
    rows = preferences([voted("left"), voted("both_bad", prompt="Sing.")], "pirate")
    for kind in (rows.pairs, rows.labels):
        write_preferences(kind, tmp_path / "rows.jsonl")
        assert read_preferences(tmp_path / "rows.jsonl") == kind
    (tmp_path / "own.jsonl").write_text('{"prompt": "Hi", "chosen": "Ahoy!", "rejected": "Hello."}\n')
    (own,) = read_preferences(tmp_path / "own.jsonl")
    assert isinstance(own, PreferencePair)
    assert own.chosen == (Message(role="assistant", content="Ahoy!"),)
    assert [label.label for label in labels_of([own])] == [True, False]
    assert fingerprint([own]) == fingerprint([own.model_copy(update={"split": own.side})])
    assert fingerprint([own]) != fingerprint([own.model_copy(update={"chosen": own.rejected})])
    assert isinstance(rows.labels[0], Label)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty; write rows with prompt, chosen and rejected"),
        ('{"prompt": "Hi", "chosen": "a"}\n', "own.jsonl:1: rejected: Field required; a row has prompt, chosen"),
        ('{"prompt": "Hi", "completion": "a", "label": 7}\n', "own.jsonl:1: label: Input should be a valid boolean"),
        ('{"prompt": "Hi", "chosen": "a", "rejected": "b", "voter": "me"}\n', "own.jsonl:1: voter: Extra inputs"),
        ('{"prompt": "Hi", "chosen": "a", "rejected": "b"}\n{oops\n', "own.jsonl:2: row: Invalid JSON"),
    ],
)
def test_a_file_that_cannot_be_followed_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "own.jsonl").write_text(text)
    with pytest.raises(ExamplesError, match=says.replace("(", r"\(")):
        read_preferences(tmp_path / "own.jsonl")


def test_the_command_exports_or_says_in_one_line_that_there_is_too_little(home: Path) -> None:
    settings = load_settings(home=home / "home")
    registry = open_registry(settings)
    store = BattleStore(registry.engine)
    assert "no persona 'pirate'" in understudy(home, "preferences", "pirate").stderr
    with registry.engine.begin() as db:
        db.execute(PersonaRow.__table__.insert().values(name="pirate", card={}, updated_at=NOON))  # pyright: ignore
    hold(store, "Greet me.", "Ahoy!", "Hello.", "ours")
    few = understudy(home, "preferences", "pirate")
    assert few.returncode == 1
    assert few.stderr == (
        "error: pirate: votes give 1 pairs to train on and 0 held out, 8 are needed; collect more votes in the arena\n"
    )
    for number in range(30):
        hold(store, f"Tell me about item {number}.", f"Ahoy! {number}", f"Hello {number}.", "ours")
    done = understudy(home, "preferences", "pirate")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 31
    assert "31 votes, 31 pairs" in done.stderr
    told = json.loads(understudy(home, "preferences", "pirate", "--format", "kto", "--json").stdout)
    assert (told["labels"], len(told["rows"]), told["votes"]) == (62, 62, 31)
    out = home / "sub" / "rows.jsonl"
    told = json.loads(understudy(home, "preferences", "pirate", "--out", str(out), "--json").stdout)
    assert "rows" not in told
    assert len(read_preferences(out)) == told["pairs"] == 31


def met(verdict: str, at: datetime = NOON, *, rival: VotedAnswer | None = None, replay: bool = False) -> Vote:
    """A vote in terms of the revision on trial (`new`) and its rival, by default the live one."""
    rival = rival or VotedAnswer(f"pirate@{OLD[:12]}", OLD[:12], "Ahoy!")
    ours = VotedAnswer(f"pirate@{NEW[:12]}", NEW[:12], "Ay!")
    return vote_on(ours, rival, verdict, at=at, replay=replay)


def evidence(votes: list[Vote]) -> TrialEvidence:
    return trial_evidence(votes, NEW, OLD, NOON)


def test_a_trial_has_proof_once_it_clearly_wins_and_not_before() -> None:
    assert evidence([]).better == 1
    assert evidence([met("left")] * 4).better < 20
    clear = evidence([met("left")] * 12)
    assert clear.better > 20
    assert clear.worse < 1
    assert evidence([met("right")] * 12).worse > 20


@pytest.mark.parametrize(
    "ignored",
    [
        met("tie"),
        met("both_bad"),
        met("left", NOON - timedelta(seconds=1)),
        met("left", replay=True),
        vote_on(VotedAnswer("poet", "c" * 12, "Lo!"), VotedAnswer("base", None, "Hello."), "left"),
    ],
)
def test_votes_that_tell_nothing_about_the_two_change_nothing(ignored: Vote) -> None:
    assert evidence([ignored] * 30) == evidence([])


def test_battles_of_each_against_the_base_count_too() -> None:
    base = VotedAnswer("base", None, "Hello.")
    live = vote_on(VotedAnswer("pirate", OLD[:12], "Ahoy!"), base, "right")
    good = evidence([live, met("left", rival=base)] * 12)
    assert good.better > 20
    assert (good.trial, good.live) == ((12, 12), (0, 12))
    assert evidence([met("left", rival=base)] * 40).better == 1, "without the live one there is nothing to compare"


def test_indifferent_voters_promote_no_more_often_than_alpha_however_often_one_looks() -> None:
    chance, promoted = random.Random(4), 0
    base = VotedAnswer("base", None, "Hello.")
    for _ in range(120):
        votes: list[Vote] = []
        for _ in range(60):
            side = chance.choice(("left", "right"))
            live = vote_on(VotedAnswer("pirate", OLD[:12], "Ahoy!"), base, side)
            votes.append(chance.choice([met(side), met(side, rival=base), live]))
            if evidence(votes).better >= 20:
                promoted += 1
                break
    assert promoted <= 12, "about 6 of 120 are allowed; more than 12 has a chance below 1 %"


def test_the_database_of_a_home_is_the_arenas(tmp_path: Path) -> None:
    store = BattleStore(open_database(f"sqlite:///{tmp_path / 'x.db'}"))
    hold(store, "Greet me.", "Ahoy!", "Aye!", "theirs", rival=f"pirate@{NEW[:12]}")
    (pair,) = found(store).pairs
    assert pair.chosen[0].content == "Aye!", "two revisions of the persona may meet"
