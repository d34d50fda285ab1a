"""An engine that runs elsewhere: one vLLM, or a fleet of them behind one address.

It speaks vLLM's own HTTP, and differs from a child process only in its lifetime: we neither start nor end it, and a
request that it has not begun to answer is sent again, because another replica may be healthy.
"""

import asyncio
import os
from pathlib import Path

import aiohttp

from serve.engine.vllm import Engine, EnginePlan, plan_engine
from understudy.bases import Base
from understudy.config.settings import Settings
from understudy.errors import EngineError


class RemoteEngine(Engine):
    """The engine at a URL (`UNDERSTUDY_ENGINE_URL`), for instance the one of deploy/ray."""

    retries = (0.1, 0.5, 2.0, 5.0)
    misses = 15  # others restart it; until then its remaining replicas answer

    def __init__(self, plan: EnginePlan, url: str) -> None:
        super().__init__(plan, Path(os.devnull))
        self.url = url.rstrip("/")

    @property
    def alive(self) -> bool:
        """Always true: its operator restarts it, and health checks show its state."""
        return True

    def start(self) -> None:
        """Does nothing: the engine is started elsewhere."""

    async def stop(self) -> None:
        """Does nothing: the engine is stopped elsewhere."""

    async def wait_ready(self, session: aiohttp.ClientSession, timeout: float) -> None:
        """Returns when it answers; raises EngineError when it does not within `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while not await self.healthy(session):
            if asyncio.get_running_loop().time() > deadline:
                raise EngineError(f"no engine answers {self.url}/health (UNDERSTUDY_ENGINE_URL); is it running?")
            await asyncio.sleep(0.5)


def plan_remote(settings: Settings, base: Base, personas: int) -> EnginePlan:
    """Plans for an engine that runs elsewhere: base, slots, largest rank.

    Give both sides the same UNDERSTUDY_BASE, UNDERSTUDY_SLOTS and UNDERSTUDY_MAX_LORA_RANK.

    Raises:
        EngineError: the maximum rank is more than vLLM can do.
    """
    return plan_engine(settings, base, personas, on_cpu=False)
