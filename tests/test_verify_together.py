"""While `understudy verify` asks transformers, its vLLM starts beside them, and never outlives them."""

import asyncio
import threading

import pytest

from understudy.cli.verify import begun
from understudy.proof import Served


class Asked:
    """Stands for a vLLM that answers once it is `allowed` to."""

    def __init__(self) -> None:
        self.started, self.allowed, self.cancelled = threading.Event(), threading.Event(), threading.Event()

    async def __call__(self) -> Served:
        self.started.set()
        try:
            while not self.allowed.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Served(problem="none")


def test_it_starts_at_once_and_is_waited_for_at_the_end() -> None:
    ask = Asked()
    with begun(ask, now=True) as served:
        assert ask.started.wait(10)
        ask.allowed.set()
        assert served() == Served(problem="none")


def test_without_memory_for_both_it_starts_when_transformers_are_done() -> None:
    ask = Asked()
    ask.allowed.set()
    with begun(ask, now=False) as served:
        assert not ask.started.is_set()
        assert served() == Served(problem="none")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_ends_verify_ends_its_vllm(error: type[BaseException]) -> None:
    def fails() -> None:
        assert ask.started.wait(10)
        raise error

    ask = Asked()
    with pytest.raises(error), begun(ask, now=True):
        fails()
    assert ask.cancelled.is_set()


def test_an_error_of_vllm_is_raised_where_it_is_waited_for() -> None:
    async def fails() -> Served:
        raise ValueError("no memory")

    with begun(fails, now=True) as served, pytest.raises(ValueError, match="no memory"):
        served()
