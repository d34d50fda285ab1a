"""Several sampled answers of a base and of the models trained on it, from engines of our own."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evaluate.served_model import Chat, ServedModel
from serve.engine.adapter_engine import BASE_NAME
from serve.engine.scratch_engine import ScratchEngine
from understudy.bases import Base, resolve_base
from understudy.config.settings import Settings
from understudy.registry.adapters import CONFIG, read_config
from understudy.workflows.evaluation.engine import share_of_gpu

OnProgress = Callable[[int, int], None]
"""Called with answers done and answers wanted."""


def sampled_answers(
    settings: Settings,
    base: Base,
    products: Mapping[str, Path | None],
    chats: Sequence[Chat],
    *,
    samples: int,
    temperature: float,
    max_tokens: int,
    seed: int,
    on_progress: OnProgress,
) -> dict[str, list[tuple[str, ...]]]:
    """Returns `samples` answers to each chat by name in `products`: an adapter of `base`, a whole model, or None for
    the base itself.

    Every sample of every chat has a seed of its own: with one seed, answers to two prompts would be drawn alike, and
    be more like each other than by chance. Models share the seeds.

    Raises:
        EngineError: the engine does not start, does not take an adapter, or cannot answer.
    """
    room = settings.model_copy(update={"gpu_memory_utilization": share_of_gpu(settings, engines=1)})

    async def answers(model: ServedModel, done: int) -> list[tuple[str, ...]]:
        drawn: list[list[str]] = []
        for number in range(samples):
            first = (seed * samples + number) * len(chats)
            batch = await model.answers(chats, max_tokens=max_tokens, seed=first, temperature=temperature)
            drawn.append([one.text for one in batch])
            on_progress(done + len(drawn) * len(chats), len(products) * samples * len(chats))
        return list(zip(*drawn, strict=True))

    async def all_models() -> dict[str, list[tuple[str, ...]]]:
        found: dict[str, list[tuple[str, ...]]] = {}
        each = samples * len(chats)
        whole = {name: path for name, path in products.items() if path and not _is_adapter(path)}
        ranks = [int(read_config(path).get("r") or 0) for name, path in products.items() if path and name not in whole]
        if len(whole) < len(products):
            wanted = room.model_copy(update={"max_lora_rank": max(settings.max_lora_rank, *ranks, 0)})
            async with ScratchEngine(wanted, base) as engine:
                for number, (name, path) in enumerate(products.items()):
                    if name in whole:
                        continue
                    model = BASE_NAME
                    if path is not None:
                        model = f"candidate-{number}"
                        await engine.load(path.resolve(), model)
                    found[name] = await answers(ServedModel(model, engine.post), len(found) * each)
        for name, path in whole.items():
            async with ScratchEngine(room, resolve_base(str(path))) as engine:
                found[name] = await answers(ServedModel(BASE_NAME, engine.post), len(found) * each)
        return found

    return asyncio.run(all_models())


def _is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file()
