"""A publisher on a fake engine, and a way to play a scene on it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from serve.rollout.loader import Loader, RolloutEvent
from serve.rollout.publisher import Publisher
from serve.rollout.routing import RoutingTable
from serve.rollout.vllm_adapters import VllmAdapters
from tests.support.adapters import make_adapter, tensors
from tests.support.fake_engine import FakeEngine
from understudy.config.settings import Settings
from understudy.registry.records import Revision
from understudy.registry.registry import Registry, open_registry


class Bench:
    """A publisher with its registry, routing table and fake engine, and three registered revisions."""

    def __init__(self, registry: Registry, engine: FakeEngine, session, folder: Path) -> None:
        self.registry, self.engine, self.table = registry, engine, RoutingTable()
        self.told: list[RolloutEvent] = []
        emit = self.told.append
        self.adapters = VllmAdapters(engine, session)
        self.loader = Loader(registry, self.table, self.adapters, drain_timeout=5, emit=emit)
        self.publisher = Publisher(registry, self.table, self.loader, emit=emit, trial_answers=20)
        self.first = self.push(folder / "first", seed=1)
        self.second = self.push(folder / "second", seed=2)
        self.third = self.push(folder / "third", seed=3)

    def push(self, folder: Path, seed: int) -> Revision:
        return self.registry.push("poet", make_adapter(folder, tensors(seed=seed)), actor="test")

    async def publish(self, revision: Revision) -> None:
        await self.publisher.publish("poet", revision.id, actor="test")

    def answering(self, user: str = "") -> str:
        with self.table.lease("poet", user) as target:
            return target.engine_name

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)


def play(settings: Settings, folder: Path, scene: Callable[[Bench], Awaitable[None]]) -> None:
    """Runs a scene on a fresh bench."""

    async def run() -> None:
        engine = FakeEngine()
        async with engine.serving() as session:
            bench = Bench(open_registry(settings), engine, session, folder)
            await scene(bench)
            await bench.publisher.close()

    asyncio.run(run())
