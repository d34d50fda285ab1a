"""Ways to put a new revision of an adapter live while people stream from it: ours, vLLM's own, and restarts."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from bench.gateway import START, Stage
from bench.serving.load import RefusedError
from bench.serving.peers import llama_cpp
from bench.serving.peers.others import CONVERSATIONS
from bench.serving.peers.servers import Cast, Voice
from serve.engine.vllm import EnginePlan, engine_command, engine_environment
from understudy.processes import Child


class Way:
    """A server that serves one adapter, in one of two revisions, and a way from one to the other."""

    name = ""
    url = ""

    def __init__(self) -> None:
        self.revision = 0
        """That requests which begin now are meant for."""

    def voice(self) -> Voice:
        """What a request that begins now adds to its body."""
        raise NotImplementedError

    async def publish(self, session: aiohttp.ClientSession, revision: int) -> None:
        """Makes 0 or 1 live; returns when new requests may be sent."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Ends what this way has started itself."""


class Gateway(Way):
    """Ours: one publish; the name stays."""

    name = "understudy"

    def __init__(self, stage: Stage, persona: str, revisions: tuple[str, str]) -> None:
        super().__init__()
        self._stage, self._persona, self._revisions, self.url = stage, persona, revisions, stage.url

    def voice(self) -> Voice:
        return {"model": self._persona}

    async def publish(self, session: aiohttp.ClientSession, revision: int) -> None:
        await asyncio.to_thread(self._stage.admin, "publish", persona=self._persona, revision=self._revisions[revision])
        self.revision = revision


class NewName(Way):
    """vLLM's own endpoint by hand: load under a new name, then every client must ask for that name."""

    name = "vLLM, new name by hand"

    def __init__(self, url: str, folders: tuple[Path, Path]) -> None:
        super().__init__()
        self.url, self._folders, self._names, self._count = url, folders, ["", ""], 0

    def voice(self) -> Voice:
        return {"model": self._names[self.revision]}

    async def publish(self, session: aiohttp.ClientSession, revision: int) -> None:
        self._count += 1
        name = f"by-hand-{self._count}"
        await load(session, self.url, name, self._folders[revision])
        self._names[revision], self.revision = name, revision


class InPlace(Way):
    """vLLM's own endpoint with `load_inplace`: the name stays, the weights change under running answers."""

    name = "vLLM, load_inplace"

    def __init__(self, url: str, folders: tuple[Path, Path]) -> None:
        super().__init__()
        self.url, self._folders = url, folders

    def voice(self) -> Voice:
        return {"model": "in-place"}

    async def publish(self, session: aiohttp.ClientSession, revision: int) -> None:
        await load(session, self.url, "in-place", self._folders[revision], load_inplace=True)
        self.revision = revision


class Restart(Way):
    """Ends the server and starts it again with the other revision; `start` says how."""

    def __init__(self, name: str, start: Callable[[int], tuple[Child, str]], model: str | None) -> None:
        super().__init__()
        self.name, self._start, self._model, self._child = name, start, model, None

    def voice(self) -> Voice:
        return {"model": self._model} if self._model else {"lora": [{"id": 0, "scale": 1.0}]}

    async def publish(self, session: aiohttp.ClientSession, revision: int) -> None:
        await self.stop()
        self._child, self.url = await asyncio.to_thread(self._start, revision)
        for _ in range(10 * START):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{self.url}/health") as response:
                    if response.status == 200:
                        self.revision = revision
                        return
            if self._child.exit_code is not None:
                raise llama_cpp.PeerError(f"it ended while starting: {self._child.log_tail(1)}")
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        if self._child is not None:
            await asyncio.to_thread(self._child.stop)


def vllm_restart(plan: EnginePlan, folders: tuple[Path, Path], log: Path) -> Restart:
    """vLLM with the adapter on its command line."""

    def start(revision: int) -> tuple[Child, str]:
        command = [*engine_command(plan), "--lora-modules", f"voice={folders[revision]}"]
        return Child(command, log=log, env=engine_environment(plan)), f"http://127.0.0.1:{plan.port}"

    return Restart("vLLM restart", start, "voice")


def llama_restart(cast: Cast) -> Restart:
    """llama.cpp's server, whose adapters are those of its command line. Raises PeerError when it cannot be had."""
    llama_cpp.prepare()
    model = llama_cpp.write_base(cast.base, cast.folder, "f32")
    files = [
        llama_cpp.write_adapter(cast.base, folder, cast.folder / f"{name}.gguf", half=False)
        for name, folder in cast.adapters.items()
    ]

    def start(revision: int) -> tuple[Child, str]:
        log = cast.folder / "llama.log"
        return llama_cpp.start(model, [files[revision]], log=log, slots=CONVERSATIONS, cache_type="f32")

    return Restart("llama.cpp restart", start, None)


async def load(session: aiohttp.ClientSession, url: str, name: str, folder: Path, **more: Any) -> None:
    """vLLM's endpoint that loads an adapter. Raises RefusedError."""
    body = {"lora_name": name, "lora_path": str(folder), **more}
    async with session.post(f"{url}/v1/load_lora_adapter", json=body) as response:
        if response.status != 200:
            raise RefusedError(f"{response.status}: {await response.text()}")
