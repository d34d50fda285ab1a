"""What a database with many personas or publishes costs: seconds (or MiB) of everything somebody waits for."""

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

from bench.arena.scale_rows import add_personas, add_publishes
from serve.http.routes import caller_routes
from serve.state import Gateway
from understudy.cli.show_personas import show_personas
from understudy.config.settings import Settings, load_settings
from understudy.errors import NotFoundError
from understudy.registry.database import open_database
from understudy.registry.registry import Registry
from understudy.workflows.personas import list_personas


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


def _without_output(work: Callable[[], object]) -> None:
    with redirect_stdout(io.StringIO()):
        work()
