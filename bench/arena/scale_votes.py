"""What an arena with many votes costs: the leaderboard, a visitor's battle, exports, and what reads every vote."""

import statistics
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from arena.battles.store import BattleAnswer, BattleStore
from arena.battles.vote_spam import suspicion
from arena.ranking.leaderboard import build_leaderboard
from arena.ranking.rank_votes import rank_votes
from arena.votes.counts import ArenaCounts
from arena.votes.export import acknowledge, pending
from arena.votes.public_export import votes_csv
from arena.votes.votes import cast_vote, list_votes
from bench.arena.scale_parts import Costs, seconds
from bench.arena.scale_rows import add_votes
from understudy.config.settings import load_settings
from understudy.registry.tables import now

NEW = 100
"""Votes that come between two looks at the leaderboard."""
LARGE_REPO = "hub:bench/votes"


def vote_costs(engine: Engine, sizes: list[int]) -> Iterator[Costs]:
    """An arena with so many votes of twenty contestants."""
    store, before = BattleStore(engine), 0
    with TemporaryDirectory() as folder:
        for size in sizes:
            add_votes(engine, before, size)
            before = size
            yield Costs(size, _counting_costs(engine, store) | _visitor_costs(engine, store))
            if size == sizes[-1]:
                yield Costs(size, _whole_costs(engine, Path(folder) / "votes.csv"))


def _counting_costs(engine: Engine, store: BattleStore) -> dict[str, float]:
    tracemalloc.start()
    traced = ArenaCounts(engine)
    traced.refresh()
    kept, peak = (size / 2**20 for size in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    del traced
    counts = ArenaCounts(engine)
    values = {
        "leaderboard: first refresh, counts all": seconds(counts.refresh, 1),
        "memory of the counts, MiB": kept,
        "most memory while all are counted, MiB": peak,
    }
    refreshes = []
    for _ in range(3):
        vote(store, NEW)
        refreshes.append(seconds(counts.refresh, 1))
    values[f"leaderboard: refresh after {NEW} votes"] = statistics.median(refreshes)
    values["leaderboard: refresh with nothing new"] = seconds(counts.refresh, 3)
    values["leaderboard: all figures from the counts"] = seconds(lambda: build_leaderboard(counts.refresh()), 3)
    return values


def _visitor_costs(engine: Engine, store: BattleStore) -> dict[str, float]:
    values = {
        "a battle and its vote": seconds(lambda: vote(store, 1), 10),
        "draw a battle to replay": seconds(lambda: store.replay(session="somebody"), 5),
        "votes on a persona against the base": seconds(lambda: list_votes(engine, "persona-3"), 3),
    }
    with Session(engine) as db, db.begin():  # as after many exports
        db.connection().exec_driver_sql(
            f"insert into exports (repo, kind, battle, at) select '{LARGE_REPO}', 'battle', id, at from battles "
            "where true on conflict do nothing"
        )
        db.connection().exec_driver_sql(
            f"insert into exports (repo, kind, battle, at) select '{LARGE_REPO}', 'vote', battle, at from votes "
            "where true on conflict do nothing"
        )
    values["export: look for all that is new"] = seconds(lambda: pending(engine, LARGE_REPO), 1)
    sent = now()
    vote(store, NEW)
    values[f"export: {NEW} new votes"] = seconds(
        lambda: acknowledge(engine, LARGE_REPO, pending(engine, LARGE_REPO, since=sent)), 1
    )
    return values


def _whole_costs(engine: Engine, file: Path) -> dict[str, float]:
    """What reads every vote because it is about every vote."""
    values = {"all votes as CSV": seconds(lambda: file.write_text(votes_csv(engine)), 1)}
    settings = load_settings(database_url=engine.url.render_as_string(hide_password=False))
    ranked = {"base": "base", "min_votes": 30, "by": None, "bootstrap": 0, "seed": 0}
    values["understudy rank"] = seconds(lambda: rank_votes(settings, None, **ranked), 1)
    values["understudy rank FILE.csv"] = seconds(lambda: rank_votes(settings, file, **ranked), 1)
    return values


def vote(store: BattleStore, times: int) -> None:
    """So many battles and votes, as the Space has them, each of another visitor."""
    for _ in range(times):
        name = f"visitor {time.perf_counter_ns()}"
        battle, ticket = store.create(
            prompt=f"Write about {name}.", persona="persona-3", session=name, temperature=0.7, max_tokens=50
        )
        store.finish(battle.id, BattleAnswer("one kettle"), BattleAnswer("two kettles"))
        suspect = suspicion(store.engine, battle.id, "left", session=name)
        cast_vote(store.engine, ticket, "left", session=name, suspect=suspect)
