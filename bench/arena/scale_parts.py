"""What a database with many personas, publishes or votes costs: seconds (or MiB) of everything somebody waits for."""

import asyncio
import io
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import httpx
from fastapi import FastAPI
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
from bench.arena.scale_rows import add_personas, add_publishes, add_votes
from serve.http.routes import caller_routes
from serve.state import Gateway
from understudy.cli.show_personas import show_personas
from understudy.config.settings import Settings, load_settings
from understudy.errors import NotFoundError
from understudy.registry.database import open_database
from understudy.registry.registry import Registry
from understudy.registry.tables import now
from understudy.workflows.personas import list_personas

NEW = 100
"""Votes that come between two looks at the leaderboard."""
LARGE_REPO = "hub:bench/votes"


@dataclass(frozen=True)
class Costs:
    """What was measured at one size."""

    size: int
    values: dict[str, float]


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """Median of so many runs."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def persona_costs(engine: Engine, sizes: list[int]) -> Iterator[Costs]:
    """A gateway with so many live personas, without its engine: all of them rest."""
    before = 0
    with TemporaryDirectory() as folder:
        url = engine.url.render_as_string(hide_password=False)
        settings = load_settings(home=Path(folder), database_url=url, base="tiny")
        for size in sizes:
            add_personas(engine, before, size)
            before = size
            yield Costs(size, asyncio.run(_gateway_costs(settings, size)))


async def _gateway_costs(settings: Settings, size: int) -> dict[str, float]:
    registry = Registry(open_database(settings.database), settings.store_dir)
    async with aiohttp.ClientSession() as session:
        values = {
            "open the database": seconds(lambda: open_database(settings.database), 3),
            "make the gateway": seconds(lambda: Gateway(settings, session, None), 3),
            "what a start reads": seconds(registry.live),
            "understudy personas": seconds(lambda: _without_output(lambda: show_personas(list_personas(settings))), 3),
        }
        tracemalloc.start()
        gateway = Gateway(settings, session, None)
        live = registry.live()
        gateway.table.cards = {persona.name: persona.card for persona, _ in live}
        gateway.table.unloaded = {persona.name: revision for persona, revision in live}
        del live
        values["memory of the gateway's tables, MiB"] = tracemalloc.get_traced_memory()[0] / 2**20
        tracemalloc.stop()
        values |= await _request_costs(gateway, f"persona-{size - 1}")
    return values


async def _request_costs(gateway: Gateway, name: str) -> dict[str, float]:
    table = gateway.table
    table.flip(table.add(table.unloaded[name], 0, {}))

    def resolve() -> None:
        for _ in range(1000):
            with table.lease(name):
                pass

    def unknown() -> None:
        try:
            with table.lease("nobody"):
                pass
        except NotFoundError:
            return

    app = FastAPI()
    app.state.gateway = gateway
    app.include_router(caller_routes())
    listed, one = [], []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench") as client:
        for _ in range(7):
            for path, taken in (("/v1/models", listed), (f"/v1/models/{name}", one)):
                began = time.perf_counter()
                (await client.get(path)).raise_for_status()
                taken.append(time.perf_counter() - began)
    return {
        "find a persona for a request": seconds(resolve) / 1000,
        "refuse an unknown name": seconds(unknown),
        "GET /v1/models": statistics.median(listed),
        "GET /v1/models/NAME": statistics.median(one),
    }


def history_costs(engine: Engine, sizes: list[int]) -> Iterator[Costs]:
    """One persona with so many publishes, each of a revision of its own."""
    registry, before = Registry(engine, Path("unused")), 1
    registry.ensure_persona("poet")
    for size in sizes:
        add_publishes(engine, before, size)
        before = size
        newest = registry.revision("poet")
        url = engine.url.render_as_string(hide_password=False)
        detail = {"previous": newest.id, "seconds": 0.4}
        values = {
            "open the database": seconds(lambda url=url: open_database(url), 3),
            "understudy history": seconds(lambda: registry.history("poet", limit=51)),
            "all of it, as JSON": seconds(
                lambda: json.dumps([event.model_dump(mode="json") for event in registry.history("poet")]), 1
            ),
            "find a revision": seconds(lambda newest=newest: registry.revision("poet", newest.id)),
            "find the newest": seconds(lambda: registry.revision("poet")),
            "what a rollback goes back to": seconds(lambda: registry.previous("poet")),
            "how a trial ended": seconds(lambda newest=newest: registry.last("poet", newest.id, "publish")),
            "write a publish": seconds(
                lambda newest=newest, detail=detail: registry.set_live(
                    newest, actor="bench", action="publish", detail=detail
                )
            ),
        }
        yield Costs(size, values)


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


def _without_output(work: Callable[[], object]) -> None:
    with redirect_stdout(io.StringIO()):
        work()
