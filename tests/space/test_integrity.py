"""Votes that cannot be bought with machines, prompts that are looked at first, and voters who keep what is theirs."""

import asyncio
import json
import threading
from collections import Counter
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.orm import Session

from arena.battles.blinding import fault
from arena.battles.store import OPEN, BattleAnswer, BattleStore, BattleTicket
from arena.battles.vote_spam import FAST, SAME_AGAIN, STREAK, TOO_FAST, suspicion
from arena.votes.counts import ArenaCounts
from arena.votes.export import acknowledge, pending, restore
from arena.votes.public_export import COLUMNS, own_votes, votes_csv
from arena.votes.votes import (
    WITHDRAWN,
    BattleVotes,
    cast_vote,
    find_vote,
    left_out,
    list_votes,
    votes_about,
    withdraw_votes,
)
from evaluate.reports.imported_answers import OtherSystems, read_guests
from space.app import launch
from space.arena.battle import ArenaServices, BattleView, run_battle
from space.arena.battle import vote as vote_in_arena
from space.arena.html import word_diff
from space.arena.matchmaking import KINDS, draw, matches
from space.arena.moderation import ALLOWED, REFUSED, UNKNOWN, moderation
from space.arena.voters import Voters, read_salt
from space.backends.gateway import Contestant, GatewayClient
from space.i18n import Notice
from space.leaderboard.vote_cache import LeaderboardCache
from space.status import BASE, GatewayMonitor, GatewayStatus
from tests.support.fake_gateway import EMAIL, FakeGateway
from tests.support.space import READY, only_battle
from understudy.config.settings import load_settings
from understudy.errors import ConfigError, ExamplesError
from understudy.registry.database import open_database
from understudy.registry.persona_card import Shot
from understudy.registry.tables import BattleRow, VoteRow, now

SHOTS = (Shot(prompt="Sell tea.", answer="Tea. Warm. Now."),)
EMAIL_CARD = Contestant(
    name="email-copy", kind="persona", title="Email writer", voice="Sells.", revision=EMAIL, shots=SHOTS
)
COMIC = Contestant(name="stand-up", kind="persona", title="Comedian", revision="b" * 12, others=("c" * 12,))
ALL = GatewayStatus(READY.readiness, (BASE, EMAIL_CARD, COMIC))
OTHERS = OtherSystems({"what is rain?": {"chatgpt": "Water.", "claude": "It falls."}}, ["What is rain?"])


def battle(store: BattleStore, prompt: str = "Hi", persona: str = "email-copy", rival: str = "base") -> BattleTicket:
    """A finished battle that waits for its vote."""
    made, ticket = store.create(
        prompt=prompt, persona=persona, rival=rival, session="s", temperature=0.5, max_tokens=9, category="free"
    )
    store.finish(made.id, BattleAnswer("some words"), BattleAnswer("other words here"))
    return ticket


def vote(store: BattleStore, verdict: str = "left", voter: str = "ann", **about: Any) -> str:
    ticket = battle(store, **about)
    cast_vote(store.engine, ticket, verdict, session=voter)
    return ticket.battle


# Who meets whom


@pytest.mark.parametrize(
    ("choice", "against", "prompt", "pairs"),
    [
        ("email-copy", "base", "Hi", {("base", "email-copy")}),
        ("email-copy", "persona", "Hi", {("email-copy", "stand-up")}),
        ("stand-up", "revision", "Hi", {(f"stand-up@{'b' * 12}", f"stand-up@{'c' * 12}")}),
        ("email-copy", "revision", "Hi", set()),
        ("email-copy", "described", "Hi", {("base~email-copy", "email-copy")}),
        ("stand-up", "described", "Hi", set()),
        ("email-copy", "shots", "Hi", {("base+email-copy", "email-copy")}),
        ("stand-up", "shots", "Hi", set()),
        (
            "stand-up",
            "imported",
            " what is  RAIN?",
            {("chatgpt (imported)", "stand-up"), ("claude (imported)", "stand-up")},
        ),
        ("stand-up", "imported", "What is snow?", set()),
    ],
)
def test_pairs_of_every_kind(choice: str, against: str, prompt: str, pairs: set[tuple[str, str]]):
    found = matches(ALL, choice, against, prompt, OTHERS)
    assert {(match.one.name, match.other.name) for match in found} == pairs


def test_surprise_me_against_anyone_holds_every_pair_once_and_draws_all_of_them():
    found = matches(ALL, "", "", "What is rain?", OTHERS)
    names = [frozenset((match.one.name, match.other.name)) for match in found]
    assert len(names) == len(set(names)) == 10
    assert {match.kind for match in found} == set(KINDS)
    drawn = Counter(draw(found, None).kind for _ in range(400))
    assert set(drawn) == set(KINDS)
    assert draw(found, None).chance == pytest.approx(1 / 10)


def test_a_pair_that_is_known_well_meets_less_often_and_the_chance_says_so(store: BattleStore):
    for number in range(40):
        vote(store, "left" if number % 2 else "right")
    found = matches(ALL, "email-copy", "", "Hi", OtherSystems())
    drawn = [draw(found, LeaderboardCache(store.engine).cells()) for _ in range(300)]
    chances = {match.kind: match.chance for match in drawn}
    assert chances["base"] < 0.2 < chances["persona"]
    counted = Counter(match.kind for match in drawn)
    assert counted["base"] / 300 == pytest.approx(chances["base"], abs=0.1)


async def fought(
    fake: FakeGateway, store: BattleStore, against: str, prompt: str = "What is rain?", **services: Any
) -> BattleView:
    client = GatewayClient(fake.url)
    there = ArenaServices(client, GatewayMonitor(client), store, other_systems=OTHERS, **services)
    return [view async for view in run_battle(there, prompt, "email-copy", "tab", against)][-1]


def test_the_base_with_examples_sees_them_and_nobody_else_does(fake: FakeGateway, store: BattleStore):
    fake.models["email-copy"]["understudy"]["shots"] = [shot.model_dump() for shot in SHOTS]
    view = asyncio.run(fought(fake, store, "shots"))
    assert view.ticket
    row = only_battle(store)
    assert {row.left, row.right} == {"base+email-copy", "email-copy"}
    turns = {asked["model"]: [turn["content"] for turn in asked["messages"]] for asked in fake.requests}
    assert turns == {"base": ["Sell tea.", "Tea. Warm. Now.", "What is rain?"], "email-copy": ["What is rain?"]}


def test_the_base_with_the_description_is_told_it_and_nobody_else_is(fake: FakeGateway, store: BattleStore):
    fake.models["email-copy"]["understudy"]["voice"] = "Sells everything."
    view = asyncio.run(fought(fake, store, "described"))
    assert view.ticket
    row = only_battle(store)
    assert {row.left, row.right} == {"base~email-copy", "email-copy"}
    turns = {asked["model"]: [(turn["role"], turn["content"]) for turn in asked["messages"]] for asked in fake.requests}
    told = ("system", "Answer in this voice: Sells everything.")
    assert turns == {"base": [told, ("user", "What is rain?")], "email-copy": [("user", "What is rain?")]}


def test_two_revisions_are_pinned_and_stay_two_contestants(fake: FakeGateway, store: BattleStore):
    fake.models["email-copy"]["understudy"]["others"] = ["e" * 12]
    for revision in (EMAIL, "e" * 12):
        name = f"email-copy@{revision}"
        fake.models[name] = json.loads(json.dumps(fake.models["email-copy"])) | {"id": name}
        fake.models[name]["understudy"] |= {"revision": revision, "kind": "pinned"}
        fake.say(name, f"I speak as number {len(fake.models)}.")
    names = [f"email-copy@{EMAIL}", f"email-copy@{'e' * 12}"]
    listed = {name: fake.models[name] for name in ("base", "email-copy", "stand-up")}
    client = GatewayClient(fake.url)
    monitor = GatewayMonitor(client, fresh=1e9)

    async def run() -> BattleView:
        everything, fake.models = fake.models, listed
        await monitor.status()
        fake.models = everything
        services = ArenaServices(client, monitor, store)
        return [view async for view in run_battle(services, "Hi", "email-copy", "tab", "revision")][-1]

    view = asyncio.run(run())
    assert view.ticket, view.message
    row = only_battle(store)
    assert sorted((row.left, row.right)) == sorted(names)
    vote_in_arena(ArenaServices(client, monitor, store), "left", view.ticket, "tab")
    assert set(ArenaCounts(store.engine).refresh().contestants) == set(names)
    assert list_votes(store.engine, "email-copy") == [], "that is no vote against the base"
    assert BattleVotes(store.engine).outcomes("email-copy", now() - timedelta(days=1)) == []


def test_an_imported_answer_meets_a_live_one_and_is_asked_of_nobody(fake: FakeGateway, store: BattleStore):
    view = asyncio.run(fought(fake, store, "imported"))
    row = only_battle(store)
    assert view.ticket
    assert [asked["model"] for asked in fake.requests] == ["email-copy"]
    texts = {row.left: row.left_text, row.right: row.right_text}
    (guest,) = (name for name in texts if name.endswith("(imported)"))
    assert texts[guest] in ("Water.", "It falls.")
    assert (row.category, row.status, row.chance) == ("imported", OPEN, pytest.approx(0.5))
    assert "have not been asked" in asyncio.run(fought(fake, store, "imported", "What is snow?")).message.text()


def test_answers_of_other_systems_are_read_from_a_folder(tmp_path: Path):
    (tmp_path / "claude.csv").write_text('prompt,answer\n"What is rain?",It falls.\n"Empty?",\n')
    rows = [{"prompt": "what is RAIN?", "response": "Water.", "model": "gemini"}]
    (tmp_path / "many.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "README.md").write_text("not answers")
    guests = read_guests(tmp_path)
    assert guests.answers("What is rain?") == {"claude": "It falls.", "gemini": "Water."}
    assert guests.prompts == ("What is rain?",)
    with pytest.raises(ExamplesError, match="no such file"):
        read_guests(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("I am ChatGPT, how can I help?", True),
        ("As Claude, I would say", True),
        ("I was trained by OpenAI.", True),
        ("My name is Llama3.", True),
        ("Email Writer here, hello!", True),
        (f"Revision {EMAIL} speaking", True),
        ("A llama stood in the rain.", False),
        ("The base of the hill is wet.", False),
        ("Gemini is a star sign.", False),
    ],
)
def test_answers_that_say_who_they_are_void_the_battle(text: str, leaks: bool):
    names = ("email-copy", "Email writer", EMAIL)
    for sides in ((text, "Something else."), ("Something else.", text)):
        found = fault(*sides, names=names)
        assert (found is not None and found.code == "identity") == leaks


# Floods


def test_votes_faster_than_reading_are_kept_and_not_counted(store: BattleStore):
    for number in range(STREAK + 2):
        ticket = battle(store, f"Prompt {number}")
        reason = suspicion(store.engine, ticket.battle, "left", session="bot")
        cast_vote(store.engine, ticket, "left", session="bot", suspect=reason)
    assert len(list_votes(store.engine)) == STREAK - 1
    assert left_out(store.engine) == {TOO_FAST: 3}
    later = now() + FAST + timedelta(seconds=1)
    assert suspicion(store.engine, battle(store).battle, "left", session="bot", at=later) == ""
    assert suspicion(store.engine, battle(store).battle, "left", session="somebody else") == ""


def test_one_verdict_on_one_prompt_from_everywhere_at_once_is_one_machine(store: BattleStore):
    said = []
    for number in range(STREAK + 1):
        ticket = battle(store, "Vote for me")
        side = "left" if store.get(ticket.battle).left == "email-copy" else "right"
        said.append(suspicion(store.engine, ticket.battle, side, session=f"tab {number}"))
        cast_vote(store.engine, ticket, side, session=f"tab {number}", suspect=said[-1])
    assert said == [""] * (STREAK - 1) + [SAME_AGAIN] * 2
    ticket = battle(store, "Vote for me")
    other = "right" if store.get(ticket.battle).left == "email-copy" else "left"
    assert suspicion(store.engine, ticket.battle, other, session="tab x") == "", "a verdict of another kind"
    assert suspicion(store.engine, battle(store, "Else").battle, "tie", session="tab y") == ""


def test_statistics_leave_out_what_is_suspect_or_withdrawn_and_say_how_many(store: BattleStore):
    board = LeaderboardCache(store.engine)
    kept = vote(store, voter="ann")
    assert board.board().votes == 1
    gone = [vote(store, voter="bob") for _ in range(2)]
    cast_vote(store.engine, battle(store), "tie", session="bot", suspect=TOO_FAST)
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
    vote(store, voter="ann")
    vote(store, voter="bob")
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
    vote(store, "left", voter="ann", prompt="My name is Ann Example")
    vote(store, "tie", voter="bob")
    vote(store, "right", voter="ann", persona="p@b" + "0" * 11, rival="p@a" + "0" * 11)
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


# Moderation


def test_a_refused_prompt_is_told_so_and_asked_of_nobody(fake: FakeGateway, store: BattleStore, tmp_path: Path):
    (tmp_path / "patterns").write_text("# bad things\nrain\\?\n\n")
    view = asyncio.run(fought(fake, store, "base", moderate=moderation(str(tmp_path / "patterns"))))
    assert (view.message, view.kind, view.ticket) == (REFUSED, "trouble", None)
    assert fake.requests == []
    with Session(store.engine) as db:
        assert db.query(BattleRow).count() == 0
    assert asyncio.run(
        fought(fake, store, "base", "What is snow?", moderate=moderation(str(tmp_path / "patterns")))
    ).ticket


def only_snow(prompt: str) -> str:
    """A moderator for the test below."""
    return "" if "snow" in prompt else "Snow only."


def test_a_function_or_an_endpoint_may_look_at_prompts():
    moderate = moderation(f"{__name__}:only_snow")
    assert [moderate("snow").text(), moderate("rain").text()] == ["", "Snow only."]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answers = {
                "snow": {"allowed": True},
                "rain": {"allowed": False},
                "hail": {"allowed": False, "message": "No."},
            }
            body = json.dumps(answers.get(asked["prompt"], [])).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, as its base class has it
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    moderate = moderation(f"http://127.0.0.1:{server.server_port}")
    answers = [moderate(prompt) for prompt in ("snow", "rain", "hail", "nonsense")]
    assert answers == [ALLOWED, REFUSED, Notice(words="No."), UNKNOWN]
    server.shutdown()
    server.server_close()
    assert moderate("snow") == UNKNOWN, "while nobody looks, nothing goes through"


@pytest.mark.parametrize("setting", ["no/such/file", "no_such_module:f", f"{__name__}:nobody"])
def test_a_moderator_that_is_not_there_is_said_at_the_start(setting: str):
    with pytest.raises(ConfigError, match="UNDERSTUDY_MODERATION"):
        moderation(setting)


def test_the_space_does_not_start_without_the_moderator_that_it_was_told_to_have(tmp_path: Path):
    with pytest.raises(ConfigError, match="no/such/file"):
        launch(load_settings(home=tmp_path, moderation="no/such/file"))
    with pytest.raises(ExamplesError, match="no such file"):
        launch(load_settings(home=tmp_path, imported_answers=tmp_path / "nothing.csv"))


def test_a_pattern_that_is_none_is_named_with_its_line(tmp_path: Path):
    (tmp_path / "patterns").write_text("fine\n(")
    with pytest.raises(ConfigError, match=r"patterns, line 2"):
        moderation(str(tmp_path / "patterns"))


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
