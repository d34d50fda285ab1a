"""The ZeroGPU backend on a CPU: the tiny base, made-up adapters, and a follower that takes what it is given."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import Any

import yaml
from safetensors.numpy import save

from space.backends.protocol import Question
from space.backends.zerogpu import ZeroGpuBackend, zerogpu_backend
from space.backends.zerogpu_model import BASE_ROW, AdapterModel, Batch, BatchSampling
from tests.support.adapters import config, modules, tensors
from tests.support.hub.server import HubServer
from understudy.bases import resolve_base
from understudy.config.settings import Settings
from understudy.registry.adapters import CONFIG, WEIGHTS

TINY = resolve_base("tiny")
REPO = "ann/poet"


@lru_cache
def tiny_model() -> AdapterModel:
    """The tiny base, loaded once for all tests of a process."""
    return AdapterModel(TINY)


def ask(
    model: AdapterModel,
    prompts: Sequence[str],
    names: Sequence[str],
    adapters: Mapping[str, str],
    sampling: BatchSampling = BatchSampling(0.0, 40),  # noqa: B008 - frozen
) -> list[str]:
    """The whole answers of one batch."""
    encoded = [model.encode([{"role": "user", "content": prompt}]) for prompt in prompts]
    tokens: list[list[int]] = [[] for _ in prompts]
    wanted = {name: adapters[name] for name in names if name != BASE_ROW}
    for piece in model.generate(Batch(encoded, list(names), wanted, list(adapters), sampling)):
        for row, new in zip(tokens, piece, strict=True):
            row += new
    return [model.decode(row) for row in tokens]


def adapter_files(seed: int = 0, scale: float = 0.15, card: str = "", **changes: Any) -> dict[str, bytes]:
    """A repository with an adapter for the tiny base."""
    import json

    weights = tensors(seed=seed, scale=scale)
    settings = config(**{"target_modules": modules(weights), **changes})
    found = {WEIGHTS: save(weights), CONFIG: json.dumps(settings).encode()}
    return found | ({"persona.json": card.encode()} if card else {})


def backend(hub: HubServer, settings: Settings, repo: str = REPO, **follow: str) -> ZeroGpuBackend:
    """A backend whose one persona follows `repo` of the small Hub; nothing is live before its `lifespan`."""
    return zerogpu_backend(settings_of(hub, settings, {"poet": {"repo": repo, **follow}}))


def settings_of(hub: HubServer, settings: Settings, personas: dict[str, dict[str, str]]) -> Settings:
    path = settings.home / "personas.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(personas))
    there = {"hub_endpoint": hub.url, "hub_poll": 0.2, "base": "tiny", "personas_file": path}
    return settings.model_copy(update=there)


async def until(condition: Callable[[], bool]) -> None:
    """Waits until `condition` holds; a minute is for a machine that does much else."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def answers(
    backend: ZeroGpuBackend, *contestants: str, prompt: str = "Write about a lamp.", user: str = ""
) -> list[str]:
    """The answers of one battle, greedy; each begins with the revision that gave it and a colon."""
    questions = [Question(one, [{"role": "user", "content": prompt}]) for one in contestants]

    async def read(stream: Any) -> str:
        text, revision = "", ""
        async with aclosing(stream):
            async for chunk in stream:
                text, revision = text + chunk.text, chunk.revision
        return f"{revision}:{text}"

    streams = backend.battle(questions, temperature=0.0, max_tokens=40, user=user)
    return list(await asyncio.gather(*(read(stream) for stream in streams)))
