"""A scratch engine answers a whole batch at once, and nobody hurries it."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from serve.engine import vllm
from serve.engine.scratch_engine import ScratchEngine
from understudy.bases import resolve_base
from understudy.config.settings import Settings

pytest.importorskip("vllm")


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(0.5)
    return web.json_response({"late": True})


@pytest.mark.anyio
async def test_it_waits_longer_than_people_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm, "READ_SECONDS", 0.1)

    async def ready(*_: Any) -> None:
        """The server below stands for the engine's process."""

    monkeypatch.setattr(vllm.Engine, "start", lambda engine: None)
    monkeypatch.setattr(vllm.Engine, "wait_ready", ready)
    monkeypatch.setattr(vllm.Engine, "stop", ready)
    engine = ScratchEngine(Settings(home=tmp_path), resolve_base("tiny"))
    app = web.Application()
    app.router.add_post("/tokenize", slow)
    async with TestServer(app, port=engine._plan.port), vllm.engine_session() as hurried:
        with pytest.raises(aiohttp.SocketTimeoutError):
            await hurried.post(f"http://127.0.0.1:{engine._plan.port}/tokenize", json={})
        async with engine:
            assert await engine.post("/tokenize", {}) == {"late": True}
