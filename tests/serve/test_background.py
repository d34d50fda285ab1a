"""Blocking work aside: its result, its error, its limit, and a cancel that nobody swallows."""

import asyncio
import threading
import time

import pytest

from serve.hub_sync.background import run_in_background


def fail() -> None:
    raise ValueError("no")


def test_a_result_and_an_error_come_back() -> None:
    assert asyncio.run(run_in_background(60.0, int, "7")) == 7
    with pytest.raises(ValueError, match="no"):
        asyncio.run(run_in_background(60.0, fail))


def test_work_that_takes_too_long_is_given_up() -> None:
    never = threading.Event()
    with pytest.raises(TimeoutError):
        asyncio.run(run_in_background(0.05, never.wait))
    never.set()


def test_a_cancel_that_comes_with_the_result_is_a_cancel() -> None:
    """As when the gateway ends while the Hub answers: a follower that went on would wait for its next look."""

    async def scene() -> None:
        task = asyncio.create_task(run_in_background(60.0, int))
        await asyncio.sleep(0)
        time.sleep(0.2)  # the loop stands still: the result is waiting when the cancel comes
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
