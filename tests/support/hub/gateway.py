"""A whole gateway in this process, on a fake engine, beside a small Hub: for what follows repositories and fetches."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from huggingface_hub import constants

from serve.app import build_gateway
from serve.engine.vllm import EnginePlan
from serve.hub_sync import commit_lookup, follower, on_demand, watcher
from serve.state import Gateway
from tests.support.adapters import make_adapter, tensors
from tests.support.fake_engine import FakeEngine
from tests.support.hub.server import HubServer, Repo
from understudy.config.settings import Settings, load_settings
from understudy.registry.records import Event

CHAT = "/v1/chat/completions"
SECRET = "a secret of the hub"
FOLLOW = "poet: {repo: ann/poet}"
SLOWLY = {"hub_poll": 600}
"""No poll comes in a test's time, so what happens is the webhook's doing."""


class StartedEngine(FakeEngine):
    """A fake engine that counts as started for as long as it serves."""

    @property
    def alive(self) -> bool:
        return True

    def start(self) -> None:
        self.loaded = {"base": ""}

    async def stop(self) -> None:
        pass

    def planned(self, plan: EnginePlan, log: Path) -> "StartedEngine":
        """In the place of `Engine(plan, log)`."""
        self.plan = plan
        return self


class HubStage:
    """The running gateway, and the Hub that it polls."""

    def __init__(self, hub: HubServer, folder: Path, settings: Settings) -> None:
        self.hub, self.folder, self.settings = hub, folder, settings
        self.url = f"http://127.0.0.1:{settings.port}"
        self.engine = StartedEngine()
        self.session: aiohttp.ClientSession
        self.gateway: Gateway
        self._made = 0

    # The Hub

    def push(self, repo: str = "ann/poet", ref: str = "main", **changes: Any) -> str:
        """Commits another good adapter, or one with `changes` in its configuration; returns the commit."""
        self._made += 1
        adapter = make_adapter(self.folder / f"adapter-{self._made}", tensors(seed=self._made), **changes)
        shelf = self.hub.repos.get(repo) or Repo()
        if ref != "main":
            shelf.tags.add(ref)
        commit = shelf.commit_folder(adapter, ref)
        self.hub.repos[repo] = shelf  # only now: the gateway may be polling
        return commit

    # The gateway

    async def ask(self, model: str = "poet", **headers: str) -> tuple[int, dict[str, Any], Any]:
        """Status, body and headers of one answer."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        async with self.session.post(f"{self.url}{CHAT}", json=body, headers=headers) as response:
            return response.status, await response.json(), response.headers

    async def answering(self, model: str = "poet") -> str:
        """The revision that answers, in 12 digits; or the status."""
        status, _, headers = await self.ask(model)
        return headers["x-understudy-revision"] if status == 200 else str(status)

    async def hook(self, payload: object, secret: str | None = SECRET) -> int:
        headers = {} if secret is None else {"X-Webhook-Secret": secret}
        async with self.session.post(f"{self.url}/hooks/hub", json=payload, headers=headers) as response:
            return response.status

    async def admin(self, path: str, **body: object) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.settings.admin_secret}"}
        method = "POST" if body else "GET"
        async with self.session.request(method, f"{self.url}/admin/{path}", json=body or None, headers=headers) as r:
            return await r.json()

    async def following(self, persona: str = "poet") -> dict[str, Any]:
        return (await self.admin("status"))["following"]["personas"][persona]

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.02)

    async def until_answering(self, commit: str, model: str = "poet") -> None:
        async def it_is() -> bool:
            return await self.answering(model) == commit[:12]

        await self.until(it_is)

    async def until_handled(self, commit: str, persona: str = "poet") -> dict[str, Any]:
        """Waits until something was done about a commit; returns the persona's status."""
        found: dict[str, Any] = {}

        async def it_is() -> bool:
            found.update(await self.following(persona))
            return found["handled"] == commit

        await self.until(it_is)
        return found

    async def until_trouble(self, words: str, persona: str = "poet") -> dict[str, Any]:
        """Waits until the persona's last error has these words in it; returns its status."""
        found: dict[str, Any] = {}

        async def it_has() -> bool:
            found.update(await self.following(persona))
            return words in (found["last_error"] or "")

        try:
            await self.until(it_has)
        except TimeoutError:
            raise AssertionError(f"no error with {words!r}: {found}") from None
        return found

    async def polls(self, more: int = 3) -> None:
        """Waits until the repository was polled so many times more."""
        start = self.count("/refs")

        async def polled() -> bool:
            return self.count("/refs") >= start + more

        await self.until(polled)

    def count(self, words: str) -> int:
        """Requests to the Hub with these words."""
        return sum(words in line for line in self.hub.asked)

    def history(self, persona: str = "poet", action: str = "") -> list[Event]:
        """Oldest first."""
        events = reversed(self.gateway.registry.history(persona))
        return [event for event in events if action in ("", event.action)]

    def metric(self, name: str, **labels: str) -> float:
        return self.gateway.metrics.registry.get_sample_value(f"understudy_{name}", labels) or 0.0


class Plays:
    """Runs scenes; `again` goes on with the same state, as after a restart."""

    def __init__(self, hub: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hub, self.folder, self._patch = hub, folder, monkeypatch
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        for module, name, seconds in (
            (follower, "MIN_GAP", 0.05),
            (watcher, "FILE_POLL", 0.05),
            (on_demand, "MIN_STAY", 0.0),
            (commit_lookup, "PAUSE", 1.0),
            (on_demand, "PAUSE", 1.0),
        ):
            monkeypatch.setattr(module, name, seconds)

    def __call__(self, scene: Callable[[HubStage], Awaitable[None]], following: str = "", **changes: Any) -> None:
        """Plays a scene; `following` is the text of personas.yaml."""
        if following:
            path = self.folder / "personas.yaml"
            path.write_text(following)
            changes["personas_file"] = path
        listener = socket.create_server(("127.0.0.1", 0))  # bound at once: a free port may be somebody's in a moment
        settings = load_settings(
            **{
                "home": self.folder / "home",
                "port": listener.getsockname()[1],
                "hub_endpoint": self.hub.url,
                "hub_poll": 0.1,
                "webhook_secret": SECRET,
                **changes,
            }
        )
        with listener:
            asyncio.run(self._run(HubStage(self.hub, self.folder, settings), scene, listener))

    async def _run(
        self, stage: HubStage, scene: Callable[[HubStage], Awaitable[None]], listener: socket.socket
    ) -> None:
        engine = stage.engine
        async with engine.serving() as session:
            stage.session = session
            self._patch.setattr("serve.state.Engine", engine.planned)
            app = build_gateway(stage.settings)
            server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                async with asyncio.timeout(60):
                    await self._ready(stage)
                    stage.gateway = app.state.gateway
                    await scene(stage)
            finally:
                engine.hold.set()
                engine.load_gate.set()
                server.should_exit = True
                await serving

    async def _ready(self, stage: HubStage) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                async with stage.session.get(f"{stage.url}/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)
        raise AssertionError("the gateway did not get ready")


@pytest.fixture
def play(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plays:
    """Scenes around an empty Hub."""
    return Plays(hub, tmp_path, monkeypatch)
