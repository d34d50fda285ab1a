"""Runs blocking work in daemon threads, so that a Hub that hangs does not keep the gateway from ending."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_background(timeout: float, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
    """Runs `work` in a daemon thread of its own; returns or raises what it does.

    Raises:
        TimeoutError: it took longer than `timeout` seconds. The thread continues, so its work must end at some time.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return  # the caller has left
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # pyright: ignore[reportArgumentType] - None is a result, too

    def run() -> None:
        result, error = None, None
        try:
            result = work(*args, **more)
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the event loop has ended
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=f"background {getattr(work, '__name__', '')}", daemon=True).start()
    async with asyncio.timeout(timeout):  # asyncio.wait_for swallows a cancel that comes with the result
        return await future
