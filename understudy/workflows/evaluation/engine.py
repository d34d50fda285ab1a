"""The engine of an evaluation: the running gateway's where that serves the same base, else one of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluate.served_model import AT_ONCE, Post, ServedModel
from serve.engine.adapter_engine import BASE_NAME
from serve.engine.scratch_engine import CANDIDATE, ScratchEngine
from understudy.bases import Base, resolve_base
from understudy.config.settings import Settings
from understudy.errors import GatewayError
from understudy.registry.adapters import content_revision
from understudy.workflows.evaluation.gateway_engine import GatewayEngine

Where = Literal["auto", "own", "gateway"]
"""Whose engine; `auto` takes the gateway's if that serves the same base."""
Say = Callable[[str], None]

SHARE_OF_FREE = 0.95
"""Largest share of a GPU's free memory that an engine takes beside other processes."""


@dataclass(frozen=True)
class Models:
    """The two models that are compared."""

    base: ServedModel
    adapter: ServedModel
    engine: str
    """`own engine` or `gateway`."""


@asynccontextmanager
async def evaluation_models(
    settings: Settings, base: Base, product: Path, persona: str, *, full: bool, rank: int, where: Where, say: Say
) -> AsyncIterator[Models]:
    """Yields base and adapter, ready for requests; `product` is an adapter or, with `full`, a whole model.

    Raises:
        EngineError: no engine starts, or it does not take the adapter.
        GatewayError: `where` is `gateway`, and the gateway refuses; the message says why.
    """
    if where != "own" and not full:
        gateway = GatewayEngine(settings)
        try:
            name = await gateway.load(base, persona, content_revision(product))
        except GatewayError as error:
            await gateway.close()
            if where == "gateway":
                raise
            say(f"starting an engine of its own ({error})")
        else:
            say("asking the gateway's engine")
            try:
                yield _models(gateway.post, BASE_NAME, name, "gateway")
            finally:
                await gateway.unload()
            return
    elif where == "gateway":
        raise GatewayError("a full fine-tune is a base of its own, which the gateway does not serve; use --engine own")
    say("starting an engine")
    async with own_models(settings, base, product, full=full, rank=rank) as models:
        say("asking the engine")
        yield models


@asynccontextmanager
async def own_models(settings: Settings, base: Base, product: Path, *, full: bool, rank: int) -> AsyncIterator[Models]:
    """Yields the models from engines of our own; a full fine-tune has one beside the base's."""
    wanted = settings.model_copy(
        update={
            "max_lora_rank": max(settings.max_lora_rank, rank),
            "gpu_memory_utilization": share_of_gpu(settings, engines=2 if full else 1),
        }
    )
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(ScratchEngine(wanted, base))
        if not full:
            await engine.load(product.resolve())
            yield _models(engine.post, BASE_NAME, CANDIDATE, "own engine")
            return
        other = ScratchEngine(wanted, resolve_base(str(product)), log="scratch-engine-2.log")
        tuned = await stack.enter_async_context(other)
        yield Models(ServedModel(BASE_NAME, engine.post), ServedModel(BASE_NAME, tuned.post), "own engine")


def _models(post: Post, base: str, adapter: str, engine: str) -> Models:
    limit = asyncio.Semaphore(AT_ONCE)
    return Models(ServedModel(base, post, limit=limit), ServedModel(adapter, post, limit=limit), engine)


def share_of_gpu(settings: Settings, *, engines: int) -> float:
    """Returns the share of a GPU that vLLM may take: as set, but no more than is free; 0 leaves it to the plan."""
    import torch

    if not torch.cuda.is_available():
        return settings.gpu_memory_utilization
    free, total = torch.cuda.mem_get_info()
    return min(settings.gpu_memory_utilization or 0.9, round(SHARE_OF_FREE * free / total / engines, 3))
