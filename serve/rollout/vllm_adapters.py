"""vLLM as what revisions are loaded into."""

from pathlib import Path
from typing import Any

import aiohttp

from serve.engine.adapter_engine import ProbeReport
from serve.engine.vllm import Engine
from serve.rollout.probe import Probe
from understudy.bases import Base


class VllmAdapters:
    """An AdapterEngine: one running vLLM and the probe of its adapters."""

    def __init__(self, engine: Engine, session: aiohttp.ClientSession) -> None:
        self._engine, self._session = engine, session
        self._probe = Probe(engine, session)

    @property
    def base(self) -> Base:
        return self._engine.plan.base

    @property
    def max_rank(self) -> int:
        return self._engine.plan.max_rank

    @property
    def capacity(self) -> int:
        return max(1, self._engine.plan.slots - 1)

    async def load(self, name: str, folder: Path) -> None:
        await self._engine.load(self._session, name, folder)

    async def unload(self, name: str, folder: Path) -> None:
        await self._engine.unload(self._session, name)

    async def probe(self, name: str, card: dict[str, Any], live: str | None) -> ProbeReport:
        return await self._probe.check(name, card.get("prompts", []), golden=card.get("golden", []), live=live)
