"""A thousand personas, some slots: what a start loads, what stays unloaded, and what whoever asks for them gets."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import event

from serve.http.errors import HttpRefusalError
from serve.rollout.lazy_load import REFUSED_FOR, LazyLoader
from serve.rollout.loader import Loader
from serve.rollout.publisher import Publisher
from serve.rollout.routing import RoutingTable
from serve.rollout.vllm_adapters import VllmAdapters
from serve.state import Gateway
from tests.support.adapters import make_adapter, tensors
from tests.support.fake_engine import FakeEngine
from understudy.config.settings import Settings
from understudy.errors import NotFoundError
from understudy.registry.adapters import WEIGHTS
from understudy.registry.personas import NAMED
from understudy.registry.registry import Registry, open_registry

ROOM = 7
"""The fake engine has eight slots, and one is for a candidate."""


class Company:
    """Many personas, live in the registry, and a stage that is too small for them."""

    def __init__(self, registry: Registry, engine: FakeEngine, session: aiohttp.ClientSession, folder: Path) -> None:
        self.registry, self.engine, self.folder, self.table = registry, engine, folder, RoutingTable()
        emit = lambda happening: None  # noqa: E731
        self.loader = Loader(registry, self.table, VllmAdapters(engine, session), drain_timeout=5, emit=emit)
        self.publisher = Publisher(registry, self.table, self.loader, emit=emit, trial_answers=20)
        self.now = 0.0
        self.lazy_loader = LazyLoader(self.table, self.publisher.load_live, clock=lambda: self.now)

    def hire(self, *names: str) -> None:
        for name in names:
            revision = self.registry.push(name, make_adapter(self.folder / "voice", tensors(seed=1)), actor="test")
            self.registry.set_live(revision, actor="test", action="publish", detail={})

    @property
    def loaded(self) -> list[str]:
        return sorted(self.table.live)

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """What the database is asked meanwhile."""
        asked: list[str] = []
        listen = lambda *arguments: asked.append(arguments[2])  # noqa: E731
        event.listen(self.registry.engine, "before_cursor_execute", listen)
        yield asked
        event.remove(self.registry.engine, "before_cursor_execute", listen)


def play(settings: Settings, folder: Path, scene: Callable[[Company], Awaitable[None]]) -> None:
    async def run() -> None:
        engine = FakeEngine()
        async with engine.serving() as session:
            company = Company(open_registry(settings), engine, session, folder)
            async with asyncio.timeout(60):
                await scene(company)
            await company.lazy_loader.close()
            await company.publisher.close()

    asyncio.run(run())


def named(count: int) -> list[str]:
    return [f"p{number:03}" for number in range(count)]


def test_a_start_loads_no_more_than_there_is_room_for_however_many_personas_are_live(
    settings: Settings, tmp_path: Path
) -> None:
    async def scene(company: Company) -> None:
        counts = []
        for size in (10, 60):
            company.hire(*named(size))
            company.engine.loaded = {"base": ""}
            with company.statements() as asked:
                assert await company.publisher.replay() == []
            counts.append(len(asked))
            assert len(company.engine.loaded) - 1 == len(company.table.live) == ROOM
            assert len(company.table.unloaded) == size - ROOM
        assert counts[0] == counts[1], "the database is asked once for all, and for each that is loaded"

    play(settings, tmp_path, scene)


def test_whoever_is_on_trial_comes_first_and_then_the_latest_used(settings: Settings, tmp_path: Path) -> None:
    async def scene(company: Company) -> None:
        company.hire(*named(20))
        on_trial = company.registry.push("p003", make_adapter(company.folder / "new", tensors(seed=2)), actor="test")
        company.registry.set_trial(on_trial, 0.5, actor="test", detail={})
        later = datetime.now(UTC) + timedelta(hours=1)
        company.registry.used({f"p{n:03}": later + timedelta(minutes=n) for n in (5, 9, 11)})
        await company.publisher.replay()
        assert {"p003", "p005", "p009", "p011"} <= set(company.loaded)
        assert list(company.table.trials) == ["p003"]

    play(settings, tmp_path, scene)


def test_many_who_ask_for_one_that_is_not_loaded_wait_for_one_load_and_nobody_ends_it_by_going_away(
    settings: Settings, tmp_path: Path
) -> None:
    async def scene(company: Company) -> None:
        company.hire(*named(20))
        await company.publisher.replay()
        name, revision = next(iter(company.table.unloaded.items()))
        company.engine.load_gate.clear()
        asking = [asyncio.create_task(company.lazy_loader.ensure_loaded(name)) for _ in range(10)]
        await asyncio.sleep(0.05)
        asking.pop(0).cancel()
        company.engine.load_gate.set()  # the fake engine refuses a second load of one name
        await asyncio.gather(*asking)
        with company.table.lease(name) as target:
            assert target.engine_name == revision.served_name
        assert revision.served_name in company.engine.asked, "it was proved to work, as at a publish"
        assert name not in company.table.unloaded

    play(settings, tmp_path, scene)


def test_a_pinned_name_wakes_only_the_revision_that_is_meant(settings: Settings, tmp_path: Path) -> None:
    async def scene(company: Company) -> None:
        company.hire(*named(9))
        await company.publisher.replay()
        (name, revision), (other, _) = company.table.unloaded.items()
        await company.lazy_loader.ensure_loaded(f"{name}@{revision.id[:12]}")
        await company.lazy_loader.ensure_loaded(f"{other}@{'0' * 12}")
        await company.lazy_loader.ensure_loaded("nobody")
        assert name in company.loaded
        assert other not in company.loaded
        with company.table.lease(f"{name}@{revision.id[:12]}") as target:
            assert target.persona == name

    play(settings, tmp_path, scene)


def test_who_cannot_come_is_refused_with_the_reason_and_tried_again_later(settings: Settings, tmp_path: Path) -> None:
    async def scene(company: Company) -> None:
        company.hire(*named(9))
        await company.publisher.replay()
        name = next(iter(company.table.unloaded))
        company.engine.misbehave = "refuse load"
        for _ in range(3):
            with pytest.raises(HttpRefusalError, match=f"{name} cannot be loaded now.*no room") as refused:
                await company.lazy_loader.ensure_loaded(name)
            assert (refused.value.status, refused.value.code) == (503, "model_not_ready")
        rejects = [one for one in company.registry.history(name) if one.action == "reject"]
        assert len(rejects) == 1, "asking again and again is no new try"
        company.engine.misbehave = ""
        company.now += REFUSED_FOR + 1
        await company.lazy_loader.ensure_loaded(name)
        assert name in company.loaded

    play(settings, tmp_path, scene)


def test_a_publish_on_one_that_is_not_loaded_knows_what_was_live_before(settings: Settings, tmp_path: Path) -> None:
    async def scene(company: Company) -> None:
        company.hire(*named(9))
        await company.publisher.replay()
        (one, before), (other, _) = company.table.unloaded.items()
        for name, share in ((one, 1.0), (other, 0.5)):
            new = company.registry.push(name, make_adapter(company.folder / "new", tensors(seed=2)), actor="test")
            done = await company.publisher.publish(name, new.id, actor="test", share=share)
            assert done.previous == before.id
        assert company.registry.history(one)[0].detail["previous"] == before.id
        assert (await company.publisher.rollback(one, actor="test")).revision == before.id

    play(settings, tmp_path, scene)


def test_a_publish_goes_through_even_if_what_is_not_loaded_is_broken(settings: Settings, tmp_path: Path) -> None:
    async def scene(company: Company) -> None:
        company.hire(*named(9))
        await company.publisher.replay()
        name, before = next(iter(company.table.unloaded.items()))
        (company.registry.path(before) / WEIGHTS).unlink()
        new = company.registry.push(name, make_adapter(company.folder / "new", tensors(seed=2)), actor="test")
        await company.publisher.publish(name, new.id, actor="test")
        assert company.table.live[name].revision.id == new.id
        assert company.registry.history(name)[0].detail["previous"] == before.id

    play(settings, tmp_path, scene)


def test_models_lists_what_is_not_loaded_and_use_is_written_down(settings: Settings, tmp_path: Path) -> None:
    async def scene(company: Company) -> None:
        company.hire(*named(30))
        await company.publisher.replay()
        async with aiohttp.ClientSession() as session:
            gateway = Gateway(settings, session, None)
        gateway.table = company.table
        listed = {one["id"]: one["understudy"].get("resting", False) for one in gateway.models()}
        assert list(listed) == ["base", *named(30)]
        assert {name for name, unloaded in listed.items() if unloaded} == set(company.table.unloaded)
        assert gateway.model("p029") == gateway.models()[-1]
        with pytest.raises(NotFoundError):
            gateway.model("nobody")
        with company.table.lease(company.loaded[-1]):
            pass
        gateway.write_use()
        assert company.registry.live()[0][0].name == company.loaded[-1]
        assert company.table.used == {}

    play(settings, tmp_path, scene)


def test_an_unknown_name_is_told_some_of_the_others_not_all(settings: Settings, tmp_path: Path) -> None:
    async def scene(company: Company) -> None:
        company.hire(*named(30))
        await company.publisher.replay()
        with pytest.raises(NotFoundError) as raised, company.table.lease("nobody"):
            pass
        assert f"and {31 - NAMED} more" in str(raised.value)
        assert "p029" not in str(raised.value)
        with pytest.raises(NotFoundError, match="p000.*…"):
            company.registry.persona("nobody")

    play(settings, tmp_path, scene)
