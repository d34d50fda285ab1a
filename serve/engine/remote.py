"""An engine that somebody else runs, somewhere else: one vLLM, or a whole fleet of them behind one address.

It speaks vLLM's own HTTP, so all that differs from a child process is its life: we neither start nor end it, and a
request that it has not begun to answer may be asked again, because another replica may be well.
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
    misses = 15  # it is restarted without us; until then what is left of it answers

    def __init__(self, plan: EnginePlan, url: str) -> None:
        super().__init__(plan, Path(os.devnull))
        self.url = url.rstrip("/")

    @property
    def alive(self) -> bool:
        """Always: whoever runs it also restarts it, and health checks tell how it is."""
        return True

    def start(self) -> None:
        """Nothing to be done here."""

    async def stop(self) -> None:
        """Nothing either; it goes on without us."""

    async def wait_ready(self, session: aiohttp.ClientSession, timeout: float) -> None:
        """Returns when it answers; raises EngineError when it does not within `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while not await self.healthy(session):
            if asyncio.get_running_loop().time() > deadline:
                raise EngineError(f"no engine answers {self.url}/health (UNDERSTUDY_ENGINE_URL); is it running?")
            await asyncio.sleep(0.5)


def plan_remote(settings: Settings, base: Base, personas: int) -> EnginePlan:
    """What the gateway must know of an engine that others have planned: base, slots, largest rank.

    Give both sides the same UNDERSTUDY_BASE, UNDERSTUDY_SLOTS and UNDERSTUDY_MAX_LORA_RANK.

    Raises:
        EngineError: the maximum rank is more than vLLM can do.
    """
    return plan_engine(settings, base, personas, on_cpu=False)
