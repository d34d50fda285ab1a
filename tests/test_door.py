"""The pass-through on a fake engine: keys, limits, broken answers, and clients that go away."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from serve.proxy import Proxy
from serve.routing import RoutingTable
from serve.supervisor import Status
from tests.adapters_made_here import make_adapter
from tests.fake_engine import FakeEngine
from understudy.processes import free_port
from understudy.registry import open_registry
from understudy.settings import Settings

BODY = {"model": "poet", "messages": [{"role": "user", "content": "Hi"}]}


class Door:
    """A proxy in front of a fake engine, listening for real."""

    def __init__(self, engine: FakeEngine, session: aiohttp.ClientSession, url: str) -> None:
        self.engine, self.session, self.url, self.table = engine, session, url, RoutingTable()
        self.status = Status(status="ready", detail="Ready.")
        self.key = ""

    def app(self) -> Starlette:
        proxy = Proxy(
            "/v1/chat/completions",
            engine=self.engine,
            table=self.table,
            session=self.session,
            status=lambda: self.status,
            authorized=lambda request: request.headers.get("authorization", "") == self.key,
            max_body=10_000,
        )
        return Starlette(routes=[Route("/v1/chat/completions", proxy)])

    def ask(self, **changes: object):
        return self.session.post(f"{self.url}/v1/chat/completions", json={**BODY, **changes})


def play(settings: Settings, folder: Path, scene: Callable[[Door], Awaitable[None]]) -> None:
    """Runs a scene with a door open; `poet` is live behind it."""

    async def run() -> None:
        engine, port = FakeEngine(), free_port()
        async with engine.serving() as session:
            door = Door(engine, session, f"http://127.0.0.1:{port}")
            revision = open_registry(settings).push("poet", make_adapter(folder / "a"), actor="test")
            engine.loaded[revision.served_name] = "somewhere"
            door.table.flip(door.table.add(revision))
            server = uvicorn.Server(uvicorn.Config(door.app(), port=port, log_level="error"))
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                async with asyncio.timeout(30):
                    await scene(door)
            finally:
                engine.hold.set()
                server.should_exit = True
                await serving

    asyncio.run(run())


def test_an_answer_names_its_revision_in_body_and_header(settings: Settings, tmp_path: Path) -> None:
    async def scene(door: Door) -> None:
        revision = next(iter(door.table.live.values())).revision
        async with door.ask() as response:
            body = await response.json()
            assert response.headers["x-understudy-revision"] == revision.id[:12]
        assert body["model"] == revision.served_name
        assert body["system_fingerprint"] == revision.id[:12]

    play(settings, tmp_path, scene)


def test_events_that_arrive_in_pieces_leave_whole_and_labelled(settings: Settings, tmp_path: Path) -> None:
    async def scene(door: Door) -> None:
        async with door.ask(stream=True) as response:
            events = (await response.text()).split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        words = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
        assert [word["choices"][0]["delta"]["content"] for word in words] == ["one", "two", "three"]
        assert len({word["system_fingerprint"] for word in words}) == 1

    play(settings, tmp_path, scene)


def test_a_name_in_an_answers_text_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    async def scene(door: Door) -> None:
        name = next(iter(door.table.live.values())).name
        tricky = f'"model":"{name}" "system_fingerprint":null'
        async with door.ask(messages=[{"role": "user", "content": tricky}]) as response:
            assert (await response.json())["choices"][0]["message"]["content"] == f"{name} heard: {tricky}"

    play(settings, tmp_path, scene)


def test_a_client_that_goes_away_ends_its_request_upstream(settings: Settings, tmp_path: Path) -> None:
    async def scene(door: Door) -> None:
        door.engine.hold.clear()
        response = await door.ask(stream=True)
        await response.content.readany()
        assert door.engine.running == 1
        assert door.table.live["poet"].in_flight == 1
        response.close()
        while door.engine.running or door.table.live["poet"].in_flight:
            await asyncio.sleep(0.01)

    play(settings, tmp_path, scene)


def test_an_engine_that_dies_in_mid_answer_ends_the_stream_with_an_error_event(
    settings: Settings, tmp_path: Path
) -> None:
    async def scene(door: Door) -> None:
        door.engine.misbehave = "die mid-answer"
        async with door.ask(stream=True) as response:
            assert response.status == 200
            events = (await response.text()).strip().split("\n\n")
        assert "one" in events[0]
        error = json.loads(events[-1].removeprefix("data: "))["error"]
        assert error["code"] == "engine_down"
        assert "[DONE]" not in events[-1]

    play(settings, tmp_path, scene)


@pytest.mark.parametrize("status", ["starting", "down"])
def test_without_an_engine_the_answer_is_503_with_the_reason(settings: Settings, tmp_path: Path, status: str) -> None:
    async def scene(door: Door) -> None:
        door.status = Status(status=status, detail="The engine is loading the base.")  # pyright: ignore
        async with door.ask() as response:
            assert response.status == 503
            assert int(response.headers["retry-after"]) > 0
            assert (await response.json())["error"]["message"] == "The engine is loading the base."
        assert door.engine.asked == []

    play(settings, tmp_path, scene)


def test_the_engines_own_500_never_reaches_a_client(settings: Settings, tmp_path: Path) -> None:
    async def scene(door: Door) -> None:
        door.engine.misbehave = "500"
        async with door.ask() as response:
            assert response.status == 503
            assert "EngineDeadError" not in await response.text()

    play(settings, tmp_path, scene)


def test_a_key_is_asked_for_before_anything_is_read(settings: Settings, tmp_path: Path) -> None:
    async def scene(door: Door) -> None:
        door.key = "Bearer right"
        async with door.session.post(f"{door.url}/v1/chat/completions", data=b"{not json") as response:
            assert response.status == 401
            assert (await response.json())["error"]["code"] == "invalid_api_key"
        headers = {"authorization": "Bearer right"}
        async with door.session.post(f"{door.url}/v1/chat/completions", json=BODY, headers=headers) as response:
            assert response.status == 200

    play(settings, tmp_path, scene)


def test_a_body_over_the_limit_is_413(settings: Settings, tmp_path: Path) -> None:
    async def scene(door: Door) -> None:
        async with door.ask(messages=[{"role": "user", "content": "x" * 20_000}]) as response:
            assert response.status == 413
            assert "larger than 10,000 bytes" in (await response.json())["error"]["message"]
        assert door.engine.asked == []

    play(settings, tmp_path, scene)
