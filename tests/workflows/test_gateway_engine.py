"""The gateway's engine as `understudy verify` asks it: what a gateway that does not answer costs."""

import asyncio
import socket
from pathlib import Path

import pytest

from understudy.bases import resolve_base
from understudy.config.settings import Settings, load_settings
from understudy.errors import GatewayError
from understudy.workflows.evaluation import gateway_engine
from understudy.workflows.evaluation.gateway_engine import GatewayEngine


async def load(settings: Settings) -> None:
    gateway = GatewayEngine(settings)
    try:
        await gateway.load(resolve_base("tiny"), "pirate", "a" * 64)
    finally:
        await gateway.unload()


def test_a_gateway_that_is_stuck_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_engine, "LOADING", 0.2)
    monkeypatch.setattr(gateway_engine, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as stuck:  # takes connections, and never answers
        settings = load_settings(home=tmp_path, port=stuck.getsockname()[1])
        with pytest.raises(GatewayError, match=r"has not answered for 0.2 s; see its log, restart it, or use"):
            asyncio.run(asyncio.wait_for(load(settings), 20))
