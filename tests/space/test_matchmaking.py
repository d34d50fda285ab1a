"""Who may meet whom in the arena, and what each kind of rival is asked."""

import asyncio
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from arena.battles.blinding import fault
from arena.battles.store import OPEN, BattleStore
from arena.votes.counts import ArenaCounts
from arena.votes.votes import (
    BattleVotes,
    list_votes,
)
from evaluate.reports.imported_answers import OtherSystems, read_other_systems
from space.arena.battle import ArenaServices, BattleView, run_battle
from space.arena.battle import vote as vote_in_arena
from space.arena.html import title_of
from space.arena.matchmaking import KINDS, draw, matches
from space.backends.gateway import Contestant, GatewayClient
from space.leaderboard.vote_cache import LeaderboardCache
from space.status import BASE, GatewayMonitor, GatewayStatus
from tests.support.fake_gateway import EMAIL, FakeGateway
from tests.support.space import OTHERS, READY, cast, one_battle, only_battle
from understudy.errors import ExamplesError
from understudy.registry.persona_card import Shot
from understudy.registry.tables import now

SHOTS = (Shot(prompt="Sell tea.", answer="Tea. Warm. Now."),)
EMAIL_CARD = Contestant(
    name="email-copy", kind="persona", title="Email writer", voice="Sells.", revision=EMAIL, shots=SHOTS
)
COMIC = Contestant(name="stand-up", kind="persona", title="Comedian", revision="b" * 12, others=("c" * 12,))
ALL = GatewayStatus(READY.readiness, (BASE, EMAIL_CARD, COMIC))


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
        cast(store, "left" if number % 2 else "right")
    found = matches(ALL, "email-copy", "", "Hi", OtherSystems())
    drawn = [draw(found, LeaderboardCache(store.engine).cells()) for _ in range(300)]
    chances = {match.kind: match.chance for match in drawn}
    assert chances["base"] < 0.2 < chances["persona"]
    counted = Counter(match.kind for match in drawn)
    assert counted["base"] / 300 == pytest.approx(chances["base"], abs=0.1)


def test_the_base_with_examples_sees_them_and_nobody_else_does(fake: FakeGateway, store: BattleStore):
    fake.models["email-copy"]["understudy"]["shots"] = [shot.model_dump() for shot in SHOTS]
    view = asyncio.run(one_battle(fake, store, "shots"))
    assert view.ticket
    row = only_battle(store)
    assert {row.left, row.right} == {"base+email-copy", "email-copy"}
    turns = {asked["model"]: [turn["content"] for turn in asked["messages"]] for asked in fake.requests}
    assert turns == {"base": ["Sell tea.", "Tea. Warm. Now.", "What is rain?"], "email-copy": ["What is rain?"]}


def test_the_base_with_the_description_is_told_it_and_nobody_else_is(fake: FakeGateway, store: BattleStore):
    fake.models["email-copy"]["understudy"]["voice"] = "Sells everything."
    view = asyncio.run(one_battle(fake, store, "described"))
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
    view = asyncio.run(one_battle(fake, store, "imported"))
    row = only_battle(store)
    assert view.ticket
    assert [asked["model"] for asked in fake.requests] == ["email-copy"]
    texts = {row.left: row.left_text, row.right: row.right_text}
    (guest,) = (name for name in texts if name.endswith("(imported)"))
    assert texts[guest] in ("Water.", "It falls.")
    assert (row.category, row.status, row.chance) == ("imported", OPEN, pytest.approx(0.5))
    assert "have not been asked" in asyncio.run(one_battle(fake, store, "imported", "What is snow?")).message.text()


def test_answers_of_other_systems_are_read_from_a_folder(tmp_path: Path):
    (tmp_path / "claude.csv").write_text('prompt,answer\n"What is rain?",It falls.\n"Empty?",\n')
    rows = [{"prompt": "what is RAIN?", "response": "Water.", "model": "gemini"}]
    (tmp_path / "many.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "README.md").write_text("not answers")
    found = read_other_systems(tmp_path)
    assert found.answers("What is rain?") == {"claude": "It falls.", "gemini": "Water."}
    assert found.prompts == ("What is rain?",)
    with pytest.raises(ExamplesError, match="no such file"):
        read_other_systems(tmp_path / "nothing.csv")


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


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("base", "Base model"),
        ("poet", "The poet"),
        ("poet@3fa91c0d2b7e", "The poet"),
        ("base+poet", "Base model with examples of The poet"),
        ("base~poet", "Base model with the description of The poet"),
        ("Claude (imported)", "Claude"),
    ],
)
def test_each_kind_of_contestant_has_a_title_for_people(name: str, title: str) -> None:
    assert title_of(name, {"base": "Base model", "poet": "The poet"}) == title
