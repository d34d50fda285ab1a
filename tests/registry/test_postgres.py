"""The same registry and votes on a real PostgreSQL, started here for these tests alone."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from arena.battles.store import BattleAnswer, BattleStore
from arena.ranking.leaderboard import build_leaderboard
from arena.votes.counts import ArenaCounts, arena_votes, count_cells
from arena.votes.export import acknowledge, pending, restore
from arena.votes.votes import VoteError, cast_vote, list_votes
from tests.support.adapters import make_adapter, tensors
from tests.support.votes import MadeUpVote, VoteWriter, same_figures
from understudy.errors import ConfigError
from understudy.processes import free_port
from understudy.registry.api_keys import KeyStore, hash_of
from understudy.registry.database import MIGRATIONS, open_database
from understudy.registry.registry import Registry
from understudy.registry.tables import now

PLACES = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/bin"), Path("/usr/local/bin")]


def as_postgres(*command: object, folder: Path) -> None:
    """Runs a PostgreSQL program; its server refuses to run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    subprocess.run([*prefix, *map(str, command)], check=True, cwd=folder, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of an empty database in a cluster of its own, on loopback."""
    programs = next((place for place in PLACES if (place / "initdb").is_file()), None)
    if programs is None:
        pytest.skip("needs a PostgreSQL server (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="understudy-postgres-"))
    if os.getuid() == 0:
        try:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        except KeyError:
            pytest.skip("running as root, and there is no user 'postgres' to run the server as")
    data, port = folder / "data", free_port()
    as_postgres(programs / "initdb", "-D", data, "-U", "test", "--auth=trust", folder=folder)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    as_postgres(programs / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start", folder=folder)
    try:
        yield f"postgresql://test@127.0.0.1:{port}/postgres"
    finally:
        as_postgres(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop", folder=folder)
        shutil.rmtree(folder, ignore_errors=True)


def test_many_processes_may_open_a_new_database_at_once(url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        engines = list(pool.map(lambda _: open_database(url), range(6)))
    newest = max(path.stem[:4] for path in (MIGRATIONS / "versions").glob("0*.py"))
    with engines[0].connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).all() == [(newest,)]
    for engine in engines:
        engine.dispose()


def test_the_registry_tells_the_same_story_as_on_sqlite(url: str, tmp_path: Path) -> None:
    registry = Registry(open_database(url), tmp_path / "store")
    first = registry.push("poet", make_adapter(tmp_path / "a", tensors(seed=1)), card={"title": "Poet"}, actor="ann")
    second = registry.push("poet", make_adapter(tmp_path / "b", tensors(seed=2)), actor="bob")
    registry.set_live(first, actor="ann", action="publish", detail={"previous": None})
    registry.set_live(second, actor="bob", action="publish", detail={"previous": first.id})
    assert registry.revision("poet") == second
    assert registry.persona("poet").live == second.id
    assert registry.persona("poet").card == {"title": "Poet"}
    story = [(event.actor, event.action, event.revision) for event in registry.history("poet")]
    assert story == [
        ("bob", "publish", second.id),
        ("ann", "publish", first.id),
        ("bob", "push", second.id),
        ("ann", "push", first.id),
    ]
    assert all(event.at.tzinfo for event in registry.history("poet"))


def test_of_many_votes_on_one_battle_at_once_exactly_one_counts(url: str) -> None:
    engine = open_database(url)
    store = BattleStore(engine)
    battle, ticket = store.create(prompt="Hi", persona="poet", session="tab", temperature=0.7, max_tokens=10)
    store.finish(battle.id, BattleAnswer("one"), BattleAnswer("two"))

    def cast(verdict: str) -> bool:
        try:
            cast_vote(engine, ticket, verdict, session="tab")
        except VoteError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(cast, ["left", "right", "tie", "both_bad"] * 4))
    assert sum(counted) == 1
    assert len(list_votes(engine)) == 1


def test_of_many_who_end_one_key_at_once_exactly_one_did(url: str) -> None:
    keys = KeyStore(open_database(url))
    key, secret = keys.create("app", "inference", tokens_per_minute=2**31 - 1, created_by="ann")
    assert keys.active().get(hash_of(secret)) == key
    assert keys.active() == {hash_of(secret): key}

    def end(by: str) -> bool:
        try:
            return keys.revoke(key.id, by=by).revoked_by == by
        except ConfigError:
            return False

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(end, [f"person {n}" for n in range(16)]))
    assert sum(ended) == 1
    assert keys.list()[0].revoked_by == f"person {ended.index(True)}"
    assert keys.active().get(hash_of(secret)) is None


def test_a_database_that_does_not_answer_is_named() -> None:
    with pytest.raises(ConfigError, match="UNDERSTUDY_DATABASE_URL"):
        open_database(f"postgresql://test@127.0.0.1:{free_port()}/postgres")
    with pytest.raises(ConfigError, match="UNDERSTUDY_DATABASE_URL"):
        open_database("nonsense")


def test_battles_and_votes_move_between_databases_and_are_replayed(url: str, tmp_path: Path) -> None:
    here, there = BattleStore(open_database(f"sqlite:///{tmp_path / 'space.db'}")), BattleStore(open_database(url))
    battle, ticket = here.create(prompt="Hi", persona="stray", session="s", temperature=0.5, max_tokens=9)
    here.finish(battle.id, BattleAnswer("one"), BattleAnswer("two", "3fa9"))
    cast_vote(here.engine, ticket, "left", session="s")
    batch = pending(here.engine, "hub:a/b")
    files = batch.files("abc", 1, now())
    outcomes = [restore(there.engine, "hub:a/b", files.items()) for _ in range(2)]
    assert [(outcome.battles, outcome.votes) for outcome in outcomes] == [(1, 1), (0, 0)]
    assert (there.get(battle.id), list_votes(there.engine, "stray")) == (
        here.get(battle.id),
        list_votes(here.engine),
    )
    assert battle.id not in {one.id for one in pending(there.engine, "hub:a/b").battles}
    replayed = there.replay(session="other", persona="stray")
    assert replayed
    assert replayed[0].replay_of == battle.id
    assert there.replay(session="other", persona="stray") is None
    acknowledge(there.engine, "hub:c/d", pending(there.engine, "hub:c/d"))
    assert not pending(there.engine, "hub:c/d")


def test_the_grouped_query_counts_as_on_sqlite(url: str) -> None:
    writer = VoteWriter(open_database(url))
    counts = ArenaCounts(writer.engine)
    counts.refresh()
    writer.fill(40)
    writer.fill(3, suspect="too fast")
    last = writer.write(MadeUpVote("poet", "poet", left_length=0, right_length=0, revisions=("a" * 64, None)))
    for refresh in range(2):
        cells, singly = counts.refresh(), count_cells(arena_votes(writer.engine))
        assert cells.count.sum() == singly.count.sum()
        assert sorted(cells.contestants) == sorted(singly.contestants)
        one, other = (build_leaderboard(each, min_votes=1) for each in (cells, singly))
        assert same_figures(one, other)
        assert any(row.name == f"poet@{'a' * 12}" for row in one.rows) == (refresh == 0)
        if refresh == 0:
            writer.withdraw(last, 10)
