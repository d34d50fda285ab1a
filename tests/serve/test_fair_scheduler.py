"""Fair slots: never more adapters than slots, nobody starves, and whoever gives up leaves no trace."""

import asyncio
import random
from collections import Counter

import pytest

from serve.engine.fair_scheduler import FairScheduler


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Scene:
    """Answers that end when they are told to."""

    def __init__(self, capacity: int) -> None:
        self.clock = Clock()
        self.slots = FairScheduler(capacity, patience=1.0, clock=self.clock)
        self.running: list[str] = []
        self.ends: dict[asyncio.Task[None], asyncio.Event] = {}

    async def ask(self, adapter: str) -> asyncio.Task[None]:
        end = asyncio.Event()

        async def answer() -> None:
            async with self.slots.turn(adapter):
                self.running.append(adapter)
                try:
                    await end.wait()
                finally:
                    self.running.remove(adapter)

        task = asyncio.create_task(answer())
        self.ends[task] = end
        await settle()
        return task

    async def end(self, task: asyncio.Task[None]) -> None:
        self.ends[task].set()
        await settle()


def test_a_free_slot_is_taken_at_once_and_a_full_stage_makes_the_next_adapter_wait() -> None:
    async def scene() -> None:
        it = Scene(2)
        first, _, _ = await it.ask("a"), await it.ask("b"), await it.ask("c")
        assert it.running == ["a", "b"]
        assert it.slots.waiting == 1
        await it.end(first)
        assert it.running == ["b", "c"]

    asyncio.run(scene())


def test_an_adapter_takes_more_requests_until_another_has_waited_too_long() -> None:
    async def scene() -> None:
        it = Scene(1)
        it.clock.now = 9
        first, _ = await it.ask("a"), await it.ask("b")
        second = await it.ask("a")
        assert it.running == ["a", "a"]
        it.clock.now += 2
        await it.ask("a")
        assert it.running == ["a", "a"]
        await it.end(first)
        await it.end(second)
        assert it.running == ["b"], "whoever waited longest comes next, not who was there before"

    asyncio.run(scene())


def test_one_adapter_makes_room_for_each_that_has_waited_too_long_the_others_go_on() -> None:
    async def scene() -> None:
        it = Scene(3)
        first = await it.ask("a")
        for adapter in "bcd":
            await it.ask(adapter)
        it.clock.now = 2
        for adapter in "abc":
            await it.ask(adapter)
        assert sorted(it.running) == ["a", "b", "b", "c", "c"], "a has had its slot longest"
        await it.end(first)
        assert sorted(it.running) == ["b", "b", "c", "c", "d"]
        it.clock.now = 4
        await it.ask("b")
        assert sorted(it.running) == ["b", "b", "c", "c", "d"], "now b makes room for a"

    asyncio.run(scene())


def test_who_made_room_goes_on_as_soon_as_nobody_waits_too_long() -> None:
    async def scene() -> None:
        it = Scene(2)
        _, other, _ = await it.ask("a"), await it.ask("b"), await it.ask("c")
        it.clock.now = 2
        await it.ask("a")
        assert it.running == ["a", "b"]
        await it.end(other)
        assert sorted(it.running) == ["a", "a", "c"]

    asyncio.run(scene())


def test_with_nobody_else_waiting_a_slot_is_never_taken_away() -> None:
    async def scene() -> None:
        it = Scene(1)
        for _ in range(3):
            it.clock.now += 5
            await it.ask("a")
        assert it.running == ["a"] * 3
        waiting = await it.ask("b")
        it.clock.now += 5
        await it.ask("a")
        assert len(it.running) == 3
        waiting.cancel()
        await settle()
        assert it.running == ["a"] * 4, "the only other one gave up"

    asyncio.run(scene())


def test_who_is_admitted_and_cancelled_in_the_same_moment_gives_the_slot_on() -> None:
    async def scene() -> None:
        it = Scene(1)
        first, second, _ = await it.ask("a"), await it.ask("b"), await it.ask("c")
        it.ends[first].set()
        await asyncio.sleep(0)
        second.cancel()
        await settle()
        assert it.running == ["c"]

    asyncio.run(scene())


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_and_goes_the_rule_holds_and_everybody_gets_an_answer(seed: int) -> None:
    chance, answered = random.Random(seed), Counter[str]()

    async def scene() -> None:
        slots, running = FairScheduler(3, patience=0.002), Counter[str]()

        async def ask(adapter: str) -> None:
            async with slots.turn(adapter):
                running[adapter] += 1
                assert len(+running) <= 3
                try:
                    await asyncio.sleep(chance.random() * 0.002)
                    answered[adapter] += 1
                finally:
                    running[adapter] -= 1

        tasks = []
        for _ in range(300):
            tasks.append(asyncio.create_task(ask(chance.choice("aaaaaabcdef"))))
            if chance.random() < 0.1:
                chance.choice(tasks).cancel()
            await asyncio.sleep(chance.random() * 0.0005)
        async with asyncio.timeout(20):
            done = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [r for r in done if r is not None and not isinstance(r, asyncio.CancelledError)]
        assert not slots._running
        assert slots.waiting == 0
        assert not slots._since

    asyncio.run(scene())
    assert set(answered) == set("abcdef")
