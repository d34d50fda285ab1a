"""The gateway with an engine that somebody else runs: second tries, its patience, and where adapters are found."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from huggingface_hub import HfApi, constants

from serve.app import build_gateway
from serve.engine import remote
from serve.engine.remote import RemoteEngine, plan_remote
from serve.hub_sync.adapter_cache import AdapterFolders
from tests.support.adapters import make_adapter, tensors
from tests.support.fake_engine import USAGE
from tests.support.hub.server import TOKEN, HubServer
from understudy.bases import resolve_base
from understudy.config.settings import Settings, load_settings
from understudy.errors import AdapterError, EngineError, NotFoundError
from understudy.processes import free_port
from understudy.registry.adapters import WEIGHTS
from understudy.registry.hub import fetch_adapter
from understudy.registry.registry import open_registry

ANSWER = f'{{"model":"base","system_fingerprint":null,"choices":[{{"message":{{"content":"yes"}}}}],{USAGE}}}'
EVENT = b'data: {"model":"base","choices":[{"delta":{"content":"yes"}}]}\n\n'
CHAT = {"model": "base", "messages": [{"role": "user", "content": "Is it you?"}]}


class Elsewhere:
    """An engine behind an address. `script` says how it takes each request, in turn; then it answers."""

    def __init__(self, *script: str) -> None:
        self.script, self.asked, self.well = list(script), 0, True

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/load_lora_adapter", self._chat)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self.well else 503)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        turn = self.script.pop(0) if self.script else ""
        if turn.isdigit():
            return web.json_response({"error": {"message": "the replica died"}}, status=int(turn))
        assert request.transport
        if turn == "hang up":
            request.transport.abort()
            return web.Response()
        if not (await request.json()).get("stream"):
            return web.Response(text=ANSWER, content_type="application/json")
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(EVENT)
        if turn == "die mid-answer":
            await asyncio.sleep(0.05)
            request.transport.abort()
            return response
        await response.write(b"data: [DONE]\n\n")
        return response


Scene = Callable[[aiohttp.ClientSession, str], Awaitable[None]]


def play(elsewhere: Elsewhere, settings: Settings, scene: Scene) -> None:
    """A gateway in front of `elsewhere`; the scene gets a session and the gateway's address."""

    async def run() -> None:
        runner = await elsewhere.start()
        here = settings.model_copy(update={"engine_url": elsewhere.url + "/", "port": free_port()})
        server = uvicorn.Server(uvicorn.Config(build_gateway(here), port=here.port, log_level="error"))
        serving = asyncio.create_task(server.serve())
        try:
            async with asyncio.timeout(60), aiohttp.ClientSession() as session:
                while not await ready(session, here.gateway):
                    await asyncio.sleep(0.02)
                await scene(session, here.gateway)
        finally:
            server.should_exit = True
            await serving
            await runner.cleanup()

    asyncio.run(run())


async def ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def ask(session: aiohttp.ClientSession, url: str, **more: Any) -> tuple[int, str]:
    async with session.post(f"{url}/v1/chat/completions", json={**CHAT, **more}) as response:
        return response.status, await response.text()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.RemoteEngine, "retries", (0.01, 0.01))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("script", [["500"], ["503", "500"], ["hang up"], ["500", "hang up"]])
def test_what_no_replica_has_begun_to_answer_is_asked_again(
    settings: Settings, script: list[str], stream: bool
) -> None:
    elsewhere = Elsewhere(*script)

    async def scene(session: aiohttp.ClientSession, url: str) -> None:
        status, text = await ask(session, url, stream=stream)
        assert (status, '"content":"yes"' in text) == (200, True)

    play(elsewhere, settings, scene)
    assert elsewhere.asked == len(script) + 1


@pytest.mark.parametrize(("turn", "status"), [("500", 502), ("hang up", 503)])
def test_but_not_for_ever(settings: Settings, turn: str, status: int) -> None:
    elsewhere = Elsewhere(*[turn] * 9)

    async def scene(session: aiohttp.ClientSession, url: str) -> None:
        got, text = await ask(session, url)
        assert got == status
        assert '"error"' in text

    play(elsewhere, settings, scene)
    assert elsewhere.asked == 3


def test_a_refusal_is_not_asked_again(settings: Settings) -> None:
    elsewhere = Elsewhere("400")

    async def scene(session: aiohttp.ClientSession, url: str) -> None:
        assert (await ask(session, url))[0] == 400

    play(elsewhere, settings, scene)
    assert elsewhere.asked == 1


def test_an_answer_that_has_begun_is_not_begun_again_and_ends_with_an_error(settings: Settings) -> None:
    elsewhere = Elsewhere("die mid-answer")

    async def scene(session: aiohttp.ClientSession, url: str) -> None:
        status, text = await ask(session, url, stream=True)
        assert status == 200
        assert text.count('"content":"yes"') == 1
        assert '"code":"engine_down"' in text.replace(": ", ":")
        assert "[DONE]" not in text

    play(elsewhere, settings, scene)
    assert elsewhere.asked == 1


@pytest.mark.parametrize(
    ("turn", "asked", "passing"), [("503", 3, True), ("hang up", 3, True), ("400", 1, False), ("404", 1, False)]
)
def test_a_load_is_tried_again_unless_it_was_refused(settings: Settings, turn: str, asked: int, passing: bool) -> None:
    elsewhere = Elsewhere(*[turn] * 9)

    async def run() -> None:
        runner = await elsewhere.start()
        engine = RemoteEngine(plan_remote(settings, resolve_base("tiny"), 2), elsewhere.url)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(EngineError) as caught:
                await engine.load(session, "poet@0123456789ab", Path("/somewhere"))
        assert caught.value.passing == passing
        await runner.cleanup()

    asyncio.run(run())
    assert elsewhere.asked == asked


def test_an_engine_that_is_not_there_is_named(settings: Settings) -> None:
    engine = RemoteEngine(plan_remote(settings, resolve_base("tiny"), 2), "http://127.0.0.1:9")

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            await engine.wait_ready(session, 0)

    with pytest.raises(EngineError, match=r"no engine answers http://127.0.0.1:9/health \(UNDERSTUDY_ENGINE_URL\)"):
        asyncio.run(run())


# Where adapters are


def pushed(settings: Settings, folder: Path, seed: int = 0) -> tuple[str, Path]:
    revision = open_registry(settings).push("poet", make_adapter(folder, tensors(seed=seed)), actor="test")
    return revision.id, settings.store_dir / revision.id


def test_a_served_name_leads_to_its_folder_in_the_store(settings: Settings, tmp_path: Path) -> None:
    revision, folder = pushed(settings, tmp_path / "poet")
    folders = AdapterFolders(settings)
    assert folders.find(f"poet@{revision[:12]}") == folder
    assert folders.find(f"poet@{revision}") == folder


@pytest.mark.parametrize(
    "name",
    [
        "poet",
        "poet@",
        "poet@latest",
        "poet@0123456789a",
        "poet@0123456789AB",
        "poet@" + "0" * 65,
        "../poet@0123456789ab",
        "a/b/c@0123456789ab",
        "/etc/passwd",
        "poet@0123456789ab/..",
        "poet@0123456789ab\n",
        "poet@*",
        "Poet@0123456789ab",
    ],
)
def test_nothing_else_is_a_name(settings: Settings, name: str) -> None:
    with pytest.raises(AdapterError, match="does not name an adapter"):
        AdapterFolders(settings).find(name)


def test_a_revision_that_nobody_knows_is_not_found(settings: Settings, tmp_path: Path) -> None:
    pushed(settings, tmp_path / "poet")
    with pytest.raises(NotFoundError):
        AdapterFolders(settings).find("poet@0123456789ab")


def test_one_that_was_pushed_where_the_store_is_not_shared_says_so(settings: Settings, tmp_path: Path) -> None:
    revision, folder = pushed(settings, tmp_path / "poet")
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(NotFoundError, match="is the store shared"):
        AdapterFolders(settings).find(f"poet@{revision[:12]}")


def test_digits_that_fit_two_folders_are_refused(settings: Settings) -> None:
    for digit in "01":
        (settings.store_dir / ("a" * 12 + digit * 52)).mkdir(parents=True)
    with pytest.raises(AdapterError, match="fits 2 folders"):
        AdapterFolders(settings).find("poet@" + "a" * 12)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with HubServer() as server:
        yield server


def commit(hub: HubServer, folder: Path, seed: int) -> str:
    """Pushes an adapter to ann/poet; the commit."""
    api = HfApi(endpoint=hub.url)
    api.create_repo("ann/poet", exist_ok=True)
    return api.upload_folder(repo_id="ann/poet", folder_path=make_adapter(folder, tensors(seed=seed))).oid


def test_a_followed_commit_comes_from_the_hub_where_the_store_is_not_shared(
    settings: Settings, hub: HubServer, tmp_path: Path
) -> None:
    first = commit(hub, tmp_path / "first", seed=1)
    registry = open_registry(settings)
    snapshot, _ = fetch_adapter("ann/poet", first, endpoint=hub.url)
    registry.add_hub_revision("poet", snapshot, first, source="hub:ann/poet@main", actor="test")
    weights = (settings.store_dir / first / WEIGHTS).read_bytes()
    commit(hub, tmp_path / "second", seed=2)
    elsewhere = load_settings(home=tmp_path / "another-machine", database_url=settings.database, hub_endpoint=hub.url)
    found = AdapterFolders(elsewhere).find(f"poet@{first[:12]}")
    assert found == elsewhere.store_dir / first
    assert (found / WEIGHTS).read_bytes() == weights, "not the commit that was asked for"


@pytest.mark.parametrize(("allowed", "found"), [("ann", True), ("ann/poet", True), ("eve", False), ("", False)])
def test_a_hub_id_needs_its_whole_commit_and_an_organisation_on_the_list(
    settings: Settings, hub: HubServer, tmp_path: Path, allowed: str, found: bool
) -> None:
    pinned = commit(hub, tmp_path / "poet", seed=1)
    folders = AdapterFolders(settings.model_copy(update={"hub_orgs": allowed, "hub_endpoint": hub.url}))
    with pytest.raises(NotFoundError, match="40 digits"):
        folders.find(f"ann/poet@{pinned[:12]}")
    if not found:
        with pytest.raises(NotFoundError, match="UNDERSTUDY_HUB_ORGS"):
            folders.find(f"ann/poet@{pinned}")
        return
    assert folders.find(f"ann/poet@{pinned}") == settings.home / "guests" / pinned
    assert folders.find(f"ann/poet@{pinned[:12]}") == settings.home / "guests" / pinned
