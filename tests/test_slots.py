"""Fair turns: never more adapters than slots, nobody starves, and whoever gives up leaves no trace."""

import asyncio
import random
from collections import Counter

import pytest

from serve.slots import Slots


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
        self.slots = Slots(capacity, turn=1.0, clock=self.clock)
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


def test_an_adapter_takes_more_requests_while_its_turn_lasts_and_none_after_it() -> None:
    async def scene() -> None:
        it = Scene(1)
        first, _ = await it.ask("a"), await it.ask("b")
        second = await it.ask("a")
        assert it.running == ["a", "a"]
        it.clock.now = 2
        await it.ask("a")
        assert it.running == ["a", "a"]
        await it.end(first)
        await it.end(second)
        assert it.running == ["b"], "whoever waited longest comes next, not who was there before"

    asyncio.run(scene())


def test_with_nobody_else_waiting_a_turn_has_no_end() -> None:
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
        slots, running = Slots(3, turn=0.002), Counter[str]()

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
        running_after = Counter({name: count for name, count in slots._running.items() if count})
        assert not running_after
        assert slots.waiting == 0
        assert not slots._since

    asyncio.run(scene())
    assert set(answered) == set("abcdef")
