"""Ways to put a new revision of an adapter live while people stream from it, all measured alike.

A person asks again and again, tries again a tenth of a second after a failure, and waits: for the next piece of an
answer, or for the first piece of the next one.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.gateway import START, Stage
from bench.serving.load import PROMPTS, RefusedError, ask, strangers
from bench.serving.peers import llama_cpp
from bench.serving.peers.servers import CONVERSATIONS, Cast, Voice
from serve.engine.vllm import EnginePlan, engine_command, engine_environment
from understudy.processes import Child

QUIET = 4.0
"""Seconds of load before a swap."""
AFTER = 2.0
"""Seconds of load after the first token of the new revision."""
RETRY = 0.1
TOKENS = 120
ANSWERS = 6
"""Prompts, and so answers of a revision that are known."""


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
    """llama.cpp's server, whose adapters are those of its command line. Raises PeerError when it is not built."""
    llama_cpp.prepare(build=False)
    model = llama_cpp.write_base(cast.base, cast.folder)
    files = [llama_cpp.write_adapter(cast.base, p, cast.folder / f"{n}.gguf") for n, p in cast.adapters.items()]

    def start(revision: int) -> tuple[Child, str]:
        return llama_cpp.start(model, [files[revision]], log=cast.folder / "llama.log", slots=CONVERSATIONS)

    return Restart("llama.cpp restart", start, None)


async def load(session: aiohttp.ClientSession, url: str, name: str, folder: Path, **more: Any) -> None:
    """vLLM's endpoint that loads an adapter. Raises RefusedError."""
    body = {"lora_name": name, "lora_path": str(folder), **more}
    async with session.post(f"{url}/v1/load_lora_adapter", json=body) as response:
        if response.status != 200:
            raise RefusedError(f"{response.status}: {await response.text()}")


@dataclass(frozen=True)
class Given:
    """One answer that came to its end; times are those of `time.perf_counter`."""

    prompt: int
    text: str
    began: float
    ended: float


@dataclass
class Watch:
    """What all people of one swap saw."""

    waits: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end of each wait for a piece."""
    answers: list[Given] = field(default_factory=list)
    failures: int = 0
    first: float = 0.0
    """When the first piece of an answer that was asked of the new revision came."""
    last_error: str = ""


def figures_of(watch: Watch, begin: float, known: tuple[list[str], list[str]]) -> dict[str, float]:
    """What a swap that began at `begin` cost; `known` are the answers to each prompt, old and new.

    An answer counts as mixed when it ran across the swap and is neither the old nor the new one.
    """
    before = sorted(end - since for since, end in watch.waits if end <= begin)
    during = [end - since for since, end in watch.waits if end > begin and since <= watch.first]
    strange = [a for a in watch.answers if a.text not in (known[0][a.prompt], known[1][a.prompt])]
    mixed = [a for a in strange if a.ended > begin and a.began < watch.first]
    return {
        "first_token_s": watch.first - begin,
        "failed_requests": watch.failures,
        "longest_wait_s": max(during, default=0.0),
        "usual_wait_p99_s": before[int(0.99 * len(before))] if before else 0.0,
        "mixed_answers": len(mixed),
        "strange_answers_else": len(strange) - len(mixed),
        "answers": len(watch.answers),
    }


async def swap(way: Way, streams: int, revision: int) -> dict[str, float]:
    """Loads, swaps from the other revision to `revision` and says what people saw; `way` serves the other one."""
    watch, stop = Watch(), asyncio.Event()
    async with strangers() as session:
        old = [await text(session, way, prompt) for prompt in range(ANSWERS)]
        async with _people(session, way, watch, streams, stop, revision):
            await asyncio.sleep(QUIET)
            begin = time.perf_counter()
            await way.publish(session, revision)
            while not watch.first:
                await asyncio.sleep(0.005)
            await asyncio.sleep(AFTER)
        new = [await text(session, way, prompt) for prompt in range(ANSWERS)]
    return figures_of(watch, begin, (old, new))


async def text(session: aiohttp.ClientSession, way: Way, prompt: int) -> str:
    """The whole greedy answer to one of the prompts."""
    pieces: list[str] = []
    await _ask(session, way, prompt, lambda _, line: pieces.append(_content(line)))
    return "".join(pieces)


@contextlib.asynccontextmanager
async def _people(
    session: aiohttp.ClientSession, way: Way, watch: Watch, streams: int, stop: asyncio.Event, revision: int
) -> AsyncIterator[None]:
    people = [asyncio.create_task(_person(session, way, watch, n, stop, revision)) for n in range(streams)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*people)


async def _person(
    session: aiohttp.ClientSession, way: Way, watch: Watch, number: int, stop: asyncio.Event, revision: int
) -> None:
    last = time.perf_counter()
    while not stop.is_set():
        prompt, began, pieces, meant = number % len(PROMPTS), time.perf_counter(), [], way.revision
        number += 1

        def piece(now: float, line: bytes, pieces: list[str] = pieces, meant: int = meant) -> None:
            nonlocal last
            watch.waits.append((last, now))
            last = now
            if meant == revision and not watch.first:
                watch.first = now
            pieces.append(_content(line))

        try:
            ended = await _ask(session, way, prompt, piece)
        except (aiohttp.ClientError, RefusedError, ConnectionError, TimeoutError) as error:
            watch.last_error, ended = repr(error), False
        if ended:
            watch.answers.append(Given(prompt, "".join(pieces), began, time.perf_counter()))
        else:
            watch.failures += 1
            await asyncio.sleep(RETRY)


async def _ask(session: aiohttp.ClientSession, way: Way, prompt: int, seen: Callable[[float, bytes], None]) -> bool:
    voice = {"temperature": 0.0, **way.voice()}
    answer = await ask(session, way.url, "", prompt, tokens=TOKENS, to_the_end=True, seen=seen, more=voice)
    return answer.ended


def _content(line: bytes) -> str:
    return json.loads(line.removeprefix(b"data: "))["choices"][0]["delta"]["content"]
