"""A server that is compared: where it listens, what it weighs, and what a request must say to get an adapter."""

import contextlib
import importlib.metadata
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.gateway import START, Stage
from bench.serving.peers.llama_cpp import PeerError
from serve.engine.adapter_engine import BASE_NAME
from serve.engine.vllm import installed_vllm
from understudy.bases import Base
from understudy.processes import Child

Cell = tuple[int, int]
"""Adapters (0: the base alone) and how many ask at once."""

Voice = dict[str, Any]
"""What a request adds to its body; None leaves a field out."""

OURS, DIRECT = "understudy", "vLLM, our plugin"
STRAIGHT: tuple[Cell, ...] = tuple((adapters, people) for adapters in (0, 1, 6) for people in (1, 4, 16))
"""Of our engine without the gateway."""


@dataclass(frozen=True)
class Cast:
    """What every server serves."""

    base: Base
    adapters: dict[str, Path]
    """PEFT folders by name."""
    folder: Path
    """For files that a server needs of its own."""

    @property
    def names(self) -> list[str]:
        return list(self.adapters)


@dataclass(frozen=True)
class Server:
    """One that listens."""

    name: str
    url: str
    root: psutil.Process
    """It and its descendants are what memory is counted of."""
    version: str
    voice: Callable[[str | None, int], Voice]
    """What a request for an adapter, or for the base, adds, of exactly so many tokens (0: until the model ends)."""
    most: int = 10**6
    """Adapters that it can serve at once."""
    asked: tuple[Cell, ...] | None = None
    """The cells in which it is asked: all, unless most would take minutes and say what others say."""

    def memory(self) -> dict[str, int]:
        """MiB of all its processes: proportional sets, in which what they share counts once, and resident sets."""
        found = [process.memory_full_info() for process in (self.root, *self.root.children(recursive=True))]
        return {"pss_mib": sum(x.pss for x in found) >> 20, "rss_mib": sum(x.rss for x in found) >> 20}


def of_stage(stage: Stage) -> list[Server]:
    """Ours, and the engine behind it asked straight: vLLM with our plugin, no gateway."""
    (gateway,) = stage.processes()["gateway"]
    live = stage.status()["live"]

    def straight(name: str | None, tokens: int) -> Voice:
        return {"model": f"{name}@{live[name]}" if name else BASE_NAME, "ignore_eos": tokens > 0}

    ours = Server(OURS, stage.url, psutil.Process(stage.child.pid), version("understudy"), by_name)
    vllm = (installed_vllm() or ("vllm", "here"))[1]
    engine = Server(DIRECT, stage.engine_url, gateway.children()[0], vllm, straight, asked=STRAIGHT)
    return [ours, engine]


def by_name(name: str | None, tokens: int) -> Voice:
    """The voice of servers that call adapters by name."""
    return {"model": name or BASE_NAME, "ignore_eos": tokens > 0}


def version(package: str) -> str:
    """The installed version of a package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "here"


@contextlib.contextmanager
def running(child: Child, url: str) -> Iterator[psutil.Process]:
    """Waits until the server answers; ends it with all it started.

    Raises:
        PeerError: it ended while starting, or was not ready in time.
    """
    try:
        deadline = time.monotonic() + START
        while not _healthy(url):
            if child.exit_code is not None:
                raise PeerError(f"it ended while starting, exit code {child.exit_code}: {child.log_tail(1)}")
            if time.monotonic() > deadline:
                raise PeerError(f"it was not ready after {START} s: {child.log_tail(1)}")
            time.sleep(0.1)
        yield psutil.Process(child.pid)
    finally:
        child.stop()


def _healthy(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    return False
