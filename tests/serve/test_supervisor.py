"""What /ready says while an engine starts, gets its personas, and dies."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from serve.engine import supervisor
from serve.engine.supervisor import Status, Supervisor
from tests.support.space import eventually
from understudy.errors import EngineError

Running = asyncio.Task[None]


class FakeEngine:
    """An engine process that lives until it is told otherwise."""

    misses = 1

    def __init__(self) -> None:
        self.alive = True
        self.starts = 0

    def resize(self, slots: int) -> None: ...

    def start(self) -> None:
        self.alive, self.starts = True, self.starts + 1

    async def wait_ready(self, session: Any, timeout: float) -> None: ...

    async def healthy(self, session: Any) -> bool:
        return self.alive

    async def stop(self) -> None:
        self.alive = False


class FakePublisher:
    """Knows two personas and loads them when it may; `fails` are not loaded."""

    def __init__(self, fails: list[str] | None = None, error: Exception | None = None) -> None:
        self.may_load, self.fails, self.error = asyncio.Event(), fails or [], error
        self.cancelled = 0

    async def replay(self, *, engine_died: bool, on_listed: Callable[[int], None]) -> list[str]:
        on_listed(2)
        try:
            await self.may_load.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return self.fails


def play(publisher: Callable[[], FakePublisher], scene: Callable[..., Awaitable[None]]) -> list[str]:
    """Runs a scene with a supervised engine; returns every status and what was said of it."""
    told: list[str] = []

    async def run() -> None:
        engine, there = FakeEngine(), publisher()

        def on_change(before: Status, status: Status, seconds: float) -> None:
            told.append(f"{status.status}: {status.detail}")

        watched = Supervisor(
            cast(Any, engine), cast(Any, there), cast(Any, None), 5, size=lambda: 2, on_change=on_change
        )
        running = asyncio.create_task(watched.run())
        try:
            await scene(engine, there, running, told)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    return told


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "WATCH", 0.01)
    monkeypatch.setattr(supervisor, "BACK_OFF", (0.01,))


STARTING = "starting: The engine is loading the base."
DOWN = "down: The engine stopped; it is being started again."


def test_the_base_answers_before_the_personas_are_loaded():
    async def scene(engine: FakeEngine, publisher: FakePublisher, running: Running, told: list[str]) -> None:
        await eventually(lambda: len(told) == 2)
        publisher.may_load.set()
        await eventually(lambda: len(told) == 3)

    told = play(lambda: FakePublisher(["poet"]), scene)
    assert told == [
        STARTING,
        "loading: The base answers; 2 personas are being loaded.",
        "ready: Ready. Not loaded: poet.",
    ]


def test_an_engine_that_dies_while_they_are_loaded_is_started_again():
    async def scene(engine: FakeEngine, publisher: FakePublisher, running: Running, told: list[str]) -> None:
        await eventually(lambda: len(told) == 2)
        engine.alive = False
        await eventually(lambda: len(told) == 5)
        assert (engine.starts, publisher.cancelled) == (2, 1)
        publisher.may_load.set()
        await eventually(lambda: len(told) == 6)

    told = play(FakePublisher, scene)
    loading = "loading: The base answers; 2 personas are being loaded."
    assert told == [STARTING, loading, DOWN, STARTING, loading, "ready: Ready."]


def test_an_engine_that_dies_is_no_reason_to_give_up():
    async def scene(engine: FakeEngine, publisher: FakePublisher, running: Running, told: list[str]) -> None:
        publisher.may_load.set()
        await eventually(lambda: engine.starts == 1)
        engine.alive = False
        await eventually(lambda: engine.starts == 2)

    assert DOWN in play(lambda: FakePublisher(error=EngineError("gone")), scene)


def test_what_nobody_expected_ends_it():
    async def scene(engine: FakeEngine, publisher: FakePublisher, running: Running, told: list[str]) -> None:
        publisher.may_load.set()
        with pytest.raises(RuntimeError, match="no database"):
            await asyncio.wait_for(running, 5)
        assert not engine.alive

    play(lambda: FakePublisher(error=RuntimeError("no database")), scene)
