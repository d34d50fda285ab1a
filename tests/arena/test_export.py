"""Votes that survive the Space: exported, restored row for row, whatever happens to the Hub or the process."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from huggingface_hub.utils import http_backoff
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from arena.battles.store import ASKED, BattleAnswer, BattleStore
from arena.votes.export import ExportBatch, acknowledge, pending, restore
from arena.votes.votes import cast_vote, list_votes
from space.deploy.vote_backup import VoteBackup
from space.deploy.votes_repo import VotesRepo
from tests.support.command_line import Done, on_hub, understudy
from tests.support.fake_gateway import FakeGateway
from tests.support.hub.server import READ_TOKEN, TOKEN, HubServer
from tests.support.space import Page, wait_for_page
from understudy.config.settings import PROJECT
from understudy.errors import HubError
from understudy.processes import free_port
from understudy.registry.database import open_database
from understudy.registry.tables import BattleRow, ExportRow, VoteRow, now

NAME = "ann/votes"
SESSION = "browser tab of Ann, 192.0.2.7"


def database(folder: Path, name: str = "other") -> BattleStore:
    return BattleStore(open_database(f"sqlite:///{folder / name}.db"))


def repo(hub: HubServer, token: str = TOKEN) -> VotesRepo:
    return VotesRepo(f"hub:{NAME}", token=token, endpoint=hub.url)


def box(store: BattleStore, hub: HubServer, batch: int = 20, every: float = 3600) -> VoteBackup:
    return VoteBackup(store.engine, repo(hub), every=every, batch=batch)


def fight(store: BattleStore, verdict: str = "left", session: str = SESSION) -> str:
    """One battle with its vote; its id."""
    battle, ticket = store.create(
        prompt="Über\u2028lines\nand “quotes”", persona="email-copy", session=session, temperature=0.7, max_tokens=64
    )
    store.finish(battle.id, BattleAnswer("one 🎭", "3fa91c0d2b7e"), BattleAnswer("two", None))
    if verdict:
        cast_vote(store.engine, ticket, verdict, session=session)
    return battle.id


def history(store: BattleStore) -> None:
    """Battles of every kind: voted, open, void, replayed, under way."""
    for verdict in ("left", "right", "tie", "both_bad", ""):
        fight(store, verdict)
    void, _ = store.create(prompt="Hi", persona="stand-up", session=SESSION, temperature=0, max_tokens=9)
    store.void(void.id, "error: boom", BattleAnswer("so f"))
    found = store.replay(session="another tab")
    assert found
    cast_vote(store.engine, found[1], "right", session="another tab")
    store.create(prompt="under way", persona="stand-up", session=SESSION, temperature=0, max_tokens=9)


def rows(engine: Engine, table: Any = BattleRow) -> list[dict[str, Any]]:
    with Session(engine) as db:
        found = [{c.name: getattr(row, c.name) for c in table.__table__.columns} for row in db.scalars(select(table))]
    return sorted((row for row in found if row.get("status") != ASKED), key=lambda row: row.get("id") or row["battle"])


def same(one: BattleStore, other: BattleStore) -> bool:
    return all(rows(one.engine, table) == rows(other.engine, table) for table in (BattleRow, VoteRow))


def exported(hub: HubServer) -> dict[str, bytes]:
    there = hub.datasets.get(NAME)
    return {p: c for p, c in there.files().items() if p.endswith(".jsonl")} if there else {}


def voted(hub: HubServer) -> list[str]:
    """Ids of the battles whose votes the Hub has."""
    lines = [line for path, content in exported(hub).items() if path.startswith("votes/") for line in content.split()]
    return [json.loads(line)["battle"] for line in lines]


# To the Hub and back


def test_an_empty_database_becomes_the_same_row_for_row(store: BattleStore, hub: HubServer, tmp_path: Path):
    history(store)
    sent = box(store, hub).export()
    assert (len(sent.battles), len(sent.votes)) == (7, 5)
    other = database(tmp_path)
    outcome = box(other, hub).restore()
    assert (outcome.battles, outcome.votes, outcome.problems) == (7, 5, [])
    assert same(store, other)
    assert len(rows(store.engine)) == 7
    assert {vote.origin for vote in list_votes(other.engine)} == {"live", "replay"}
    again = box(other, hub).restore()
    assert (again.battles, again.votes) == (0, 0)
    assert not box(other, hub).export(), "what came from the repository is not sent back to it"


def test_only_what_is_new_is_sent_and_files_are_only_added(store: BattleStore, hub: HubServer):
    writer = box(store, hub)
    open_battle, ticket = store.create(prompt="Hi", persona="p", session="s", temperature=0, max_tokens=9)
    store.finish(open_battle.id, BattleAnswer("a"), BattleAnswer("b", "r"))
    writer.export()
    first = exported(hub)
    assert [path.partition("/")[0] for path in first] == ["battles"]
    cast_vote(store.engine, ticket, "tie", session="s")
    writer.export()
    second = exported(hub)
    assert first.items() <= second.items()
    (new,) = second.keys() - first.keys()
    assert new.startswith("votes/")
    assert voted(hub) == [open_battle.id]
    commits = len(hub.datasets[NAME].commits)
    assert not writer.export()
    assert len(hub.datasets[NAME].commits) == commits, "nothing new, no commit"


def test_a_repository_is_made_private_with_a_card_that_names_both_tables(store: BattleStore, hub: HubServer):
    fight(store)
    box(store, hub).export()
    there = hub.datasets[NAME]
    assert there.private
    assert b"config_name: votes" in there.files()["README.md"]
    assert box(store, hub).restore().problems == [], "the card is no file of votes"


def test_two_spaces_write_at_the_same_time_and_each_gains_the_others_votes(hub: HubServer, tmp_path: Path):
    here, there = database(tmp_path, "here"), database(tmp_path, "there")
    boxes = [box(here, hub), box(there, hub)]
    for _ in range(3):
        for store, writer in zip((here, there), boxes, strict=True):
            fight(store)
            writer.export()
    assert [writer.restore().votes for writer in boxes] == [3, 3]
    assert same(here, there)
    assert len(set(voted(hub))) == len(voted(hub)) == 6


def test_large_histories_go_in_batches_and_no_vote_before_its_battle(
    store: BattleStore, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("arena.votes.export.LIMIT", 4)
    monkeypatch.setattr("arena.votes.export.CHUNK", 3)
    for number in range(11):
        fight(store, "left" if number % 3 else "")
    known: set[str] = set()
    while batch := pending(store.engine, "hub:x/y"):
        known |= {battle.id for battle in batch.battles}
        assert {vote.battle for vote in batch.votes} <= known
        assert len(batch.battles) <= 4
        acknowledge(store.engine, "hub:x/y", batch)
    assert len(known) == 11
    box(store, hub).export()
    other = database(tmp_path)
    box(other, hub).restore()
    assert same(store, other)


def test_nothing_in_the_export_leads_to_a_person(store: BattleStore, hub: HubServer):
    history(store)
    box(store, hub).export()
    written = b"".join(exported(hub).values())
    for telling in ("Ann", "192.0.2.7", "another tab", SESSION):
        assert telling.encode() not in written
    columns = {key for line in written.splitlines() for key in json.loads(line)}
    assert columns == {column.name for table in (BattleRow, VoteRow) for column in table.__table__.columns}


# Trouble


def test_an_export_whose_acknowledgement_was_lost_counts_once(store: BattleStore, hub: HubServer, tmp_path: Path):
    history(store)
    repo(hub).add(pending(store.engine, f"hub:{NAME}").files("dead", 1, now()), "killed before it was noted")
    box(store, hub).export()
    assert len(voted(hub)) == 10, "the second writer could not know"
    other = database(tmp_path)
    outcome = box(other, hub).restore()
    assert (outcome.battles, outcome.votes) == (7, 5)
    assert same(store, other)


def test_a_filled_database_gains_only_what_is_missing(store: BattleStore, hub: HubServer, tmp_path: Path):
    history(store)
    box(store, hub).export()
    other = database(tmp_path)
    mine = fight(other)
    box(other, hub).restore()
    assert len(rows(other.engine)) == 8
    assert [row for row in rows(other.engine) if row["id"] != mine] == rows(store.engine)


@pytest.mark.parametrize("status", [500, 429, 403])
def test_a_hub_in_trouble_loses_nothing_and_gets_the_same_files_later(store: BattleStore, hub: HubServer, status: int):
    writer = box(store, hub)
    fight(store)
    writer.export()
    hub.fail(status, matching="POST .*/commit/")
    before = fight(store)
    for _ in range(2):
        with pytest.raises(HubError, match=f"hub:{NAME}: "):
            writer.export()
        fight(store)
    hub.heal()
    assert len(writer.export().votes) == 3
    assert voted(hub)[1] == before
    assert len(voted(hub)) == 4


@pytest.mark.parametrize(
    ("name", "token", "says"),
    [
        ("votes", TOKEN, "write hub:ORG/NAME"),
        ("hub:votes", TOKEN, "write hub:ORG/NAME"),
        (f"hub:{NAME}", READ_TOKEN, "token"),
        (f"hub:{NAME}", "hf_wrong", "token"),
    ],
)
def test_names_and_tokens_that_do_not_fit_are_said_in_one_line(
    store: BattleStore, hub: HubServer, name: str, token: str, says: str
):
    fight(store)
    with pytest.raises(HubError, match=says) as caught:
        VoteBackup(store.engine, VotesRepo(name, token=token, endpoint=hub.url), every=1, batch=1).export()
    assert len(str(caught.value).splitlines()) == 1


def files_of(store: BattleStore) -> dict[str, bytes]:
    return pending(store.engine, "x").files("abc", 1, now())


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_is_named_and_skipped(store: BattleStore, tmp_path: Path, damage: str):
    history(store)
    good = dict(files_of(store))
    acknowledge(store.engine, "x", pending(store.engine, "x"))
    fight(store)
    bad = pending(store.engine, "x").files("def", 1, now())
    path = next(path for path in bad if path.startswith("votes/"))
    harm = {"cut": bad[path][:-20], "changed": bad[path].replace(b"left", b"tie"), "empty": b""}
    outcome = restore(database(tmp_path).engine, "x", [*good.items(), *(bad | {path: harm[damage]}).items()])
    assert (outcome.battles, outcome.votes) == (8, 5)
    assert outcome.problems == [f"{path}: damaged, its content is not the one it was written with; skipped"]


def test_files_of_others_and_votes_on_nothing_are_named_and_left_out(store: BattleStore, tmp_path: Path):
    history(store)
    found = files_of(store)
    votes = {path: content for path, content in found.items() if path.startswith("votes/")}
    strange = {"votes/2026-11/notes.jsonl": b"{}\n", "votes/../x": b""}
    outcome = restore(database(tmp_path).engine, "x", [*votes.items(), *strange.items()])
    assert (outcome.battles, outcome.votes) == (0, 0)
    (path,) = votes
    assert sorted(outcome.problems) == sorted(
        [
            "votes/../x: not a name that we give; skipped",
            "votes/2026-11/notes.jsonl: not a name that we give; skipped",
            f"{path}: 5 votes on battles that are nowhere; left out",
        ]
    )


def test_records_that_the_tables_could_not_hold_are_refused_with_their_line(store: BattleStore, tmp_path: Path):
    fight(store)
    batch = pending(store.engine, "x")
    (vote,) = batch.votes
    forged = ExportBatch((), (vote, vote.model_copy(update={"verdict": "both"})))
    (path, content), *_ = forged.files("abc", 1, now()).items()
    outcome = restore(database(tmp_path).engine, "x", [(path, content)])
    assert outcome.problems[0].startswith(f"{path}: line 2: verdict: ")


# In the background


def until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def test_votes_go_after_every_few_and_at_the_end(store: BattleStore, hub: HubServer):
    writer = box(store, hub, batch=3)
    writer.open()
    for _ in range(3):
        assert voted(hub) == []
        fight(store)
        writer.voted()
    until(lambda: len(voted(hub)) == 3)
    fight(store)
    writer.voted()
    writer.close()
    assert len(voted(hub)) == 4


def test_a_hub_that_comes_back_gets_what_was_kept(
    store: BattleStore, hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("space.deploy.vote_backup.FIRST_RETRY", 0.2)
    assert http_backoff.__kwdefaults__ is not None
    monkeypatch.setitem(http_backoff.__kwdefaults__, "base_wait_time", 0.02)  # the Hub's client waits 23 s otherwise
    hub.stop()
    writer = box(store, hub, batch=1)
    writer.open()
    fight(store)
    writer.voted()
    until(lambda: "votes are kept here" in caplog.text)
    hub.start()
    until(lambda: len(voted(hub)) == 1)
    writer.close()
    assert "cannot be reached" in caplog.text


# By hand


def votes(hub: HubServer, home: Path, *arguments: str) -> Done:
    with on_hub(hub.url, home / "hf", TOKEN):
        return understudy("votes", *arguments, env={"UNDERSTUDY_HOME": str(home)})


def test_votes_are_sent_and_brought_back_by_hand(hub: HubServer, tmp_path: Path):
    here, there = tmp_path / "here", tmp_path / "there"
    store = database(here, "understudy")
    history(store)
    assert votes(hub, here, "export", f"hub:{NAME}").stdout == "7 battles and 5 votes sent\n"
    assert votes(hub, here, "export", f"hub:{NAME}").stdout == "0 battles and 0 votes sent\n"
    hub.datasets[NAME].commit(hub.datasets[NAME].files() | {"votes/2026-11/notes.jsonl": b"mine"})
    done = votes(hub, there, "restore", f"hub:{NAME}", "--json")
    told = {"battles": 7, "votes": 5, "problems": ["votes/2026-11/notes.jsonl: not a name that we give; skipped"]}
    assert json.loads(done.stdout) == told
    assert same(store, database(there, "understudy"))
    for wrong in ((), ("ann/votes",)):
        failed = votes(hub, there, "restore", *wrong)
        assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1)
        assert "hub:ORG/NAME" in failed.stderr


def test_the_data_sets_library_reads_both_tables(store: BattleStore, hub: HubServer, tmp_path: Path):
    history(store)
    box(store, hub).export()
    fight(store)
    box(store, hub).export()
    program = (
        "import datasets, sys; rows = {n: datasets.load_dataset(sys.argv[1], n, split='train') "
        "for n in ('battles', 'votes')}; print(len(rows['battles']), sorted(rows['votes']['verdict']))"
    )
    env = {**os.environ, **hub.env(tmp_path / "hf", TOKEN)}
    done = subprocess.run([sys.executable, "-c", program, NAME], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout == "8 ['both_bad', 'left', 'left', 'right', 'right', 'tie']\n", done.stderr[-2000:]


# A real Space


@dataclasses.dataclass
class SpaceProcess:
    """The app as a Space runs it, with a disk that does not outlive it."""

    home: Path
    env: dict[str, str]

    def __post_init__(self) -> None:
        self.home.mkdir()
        port = free_port()
        with (self.home / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "space.app"],
                cwd=PROJECT,
                env={**os.environ, **self.env, "UNDERSTUDY_HOME": str(self.home), "UNDERSTUDY_SPACE_PORT": str(port)},
                stdout=log,
                stderr=log,
            )
        self.page = wait_for_page(f"http://127.0.0.1:{port}", self.process, self.home / "log")

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    def vote(self) -> None:
        page = Page(str(self.page.http.base_url))
        # Five alike on one prompt in a row would be a flood.
        page.call("battle", f"Hi {uuid4()}", "email-copy", "base")
        assert "Your vote is counted" in page.call("cast", None, [])

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)

    def votes(self) -> set[str]:
        engine = open_database(f"sqlite:///{self.home / 'understudy.db'}")
        with Session(engine) as db:
            assert db.scalar(select(func.count()).select_from(ExportRow)) is not None
        return {vote.battle for vote in list_votes(engine)}


@pytest.mark.slow
def test_killed_it_loses_at_most_a_batch_and_told_to_stop_it_loses_nothing(
    fake: FakeGateway, hub: HubServer, tmp_path: Path
):
    env = hub.env(tmp_path / "hf", TOKEN) | {
        "UNDERSTUDY_GATEWAY_URL": fake.url,
        "UNDERSTUDY_VOTES_REPO": f"hub:{NAME}",
        "UNDERSTUDY_VOTES_BATCH": "3",
        "UNDERSTUDY_VOTES_EVERY": "3600",
    }
    first, second = SpaceProcess(tmp_path / "first", env), None
    try:
        for _ in range(5):
            first.vote()
        until(lambda: len(voted(hub)) >= 3)
        acknowledged = set(voted(hub))
        first.end(signal.SIGKILL)
        cast = first.votes()
        assert len(cast) == 5
        assert len(cast - set(voted(hub))) <= 3
        second = SpaceProcess(tmp_path / "second", env)
        until(lambda: "votes restored" in second.log)
        assert acknowledged <= set(voted(hub)) == second.votes()
        second.vote()
        assert second.end(signal.SIGTERM) == 128 + signal.SIGTERM
        assert second.votes() == set(voted(hub))
        assert len(second.votes()) >= 4
    finally:
        first.process.kill()
        if second is not None:
            second.process.kill()
