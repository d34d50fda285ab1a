"""A real gateway with its engine and many personas: its start, its memory, and the first request to an unloaded one."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from sqlalchemy import insert

from bench.arena.scale_parts import Costs
from bench.gateway import Stage, memory, open_stage
from bench.serving.adapters import random_adapter
from understudy.config.settings import load_settings
from understudy.registry.registry import Registry, open_registry
from understudy.registry.tables import PersonaRow, RevisionRow, now

VOICES = 40
"""Different adapters; the other personas share their weights, each under a revision of its own."""
ASKED = 10


def stage_costs(sizes: list[int]) -> Iterator[Costs]:
    """So many live personas, a start each; the engine is vLLM with the tiny base."""
    with TemporaryDirectory() as folder:
        home, before = Path(folder), 0
        for size in sizes:
            registry = open_registry(load_settings(home=home))
            _hire(registry, home, before, size)
            before = size
            began = time.perf_counter()
            with open_stage(home, base="tiny") as stage:
                yield Costs(size, {"start to ready": time.perf_counter() - began} | _asked(stage))


def _hire(registry: Registry, home: Path, first: int, last: int) -> None:
    """Live personas; the store holds each revision's folder, as links to one of the voices."""
    rows, live = [], []
    for number in range(first, last):
        voice = home / "voices" / str(number % VOICES)
        if not voice.is_dir():
            random_adapter(voice, seed=number % VOICES, rank=8, scale=0.02)
        name, revision = f"persona-{number}", f"{number:012x}" + "0" * 52
        folder = registry.store_dir / revision
        folder.mkdir(parents=True)
        for file in voice.iterdir():
            (folder / file.name).hardlink_to(file)
        common = {"base": "tiny", "rank": 8, "size": 100_000, "source": "bench", "created_at": now()}
        rows.append({"persona": name, "id": revision, **common})
        live.append({"name": name, "live": revision, "card": {"title": name}, "share": 0.0, "updated_at": now()})
    with registry.engine.begin() as connection:
        connection.execute(insert(RevisionRow), rows)
        connection.execute(insert(PersonaRow), live)


def _asked(stage: Stage) -> dict[str, float]:
    status = stage.status()
    processes = stage.processes()
    values = {
        "personas live, number": float(len(status["live"])),
        "memory of the gateway, MiB": memory(processes["gateway"]),
        "memory of the engine, MiB": memory(processes["engine"]),
        "first request to a loaded one": _ask(stage, next(iter(status["live"]))),
        "loaded one": statistics.median(_ask(stage, name) for name in list(status["live"])[:ASKED]),
        "GET /v1/models": _timed(lambda: httpx.get(f"{stage.url}/v1/models", timeout=60)),
    }
    unloaded = list(status["unloaded"])[:ASKED]
    if unloaded:
        values["first request to an unloaded persona"] = statistics.median(_ask(stage, name) for name in unloaded)
        values["second request to it"] = statistics.median(_ask(stage, name) for name in unloaded)
    return values


def _ask(stage: Stage, model: str) -> float:
    """Seconds of a chat of one token."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 1}
    return _timed(lambda: httpx.post(f"{stage.url}/v1/chat/completions", json=body, timeout=120))


def _timed(send) -> float:
    began = time.perf_counter()
    send().raise_for_status()
    return time.perf_counter() - began
