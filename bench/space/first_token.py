"""How soon a ZeroGPU Space says its first word, here on a CPU; and how many seconds of GPU a battle is estimated at.

python -m bench.space.first_token [--base smollm2] [--battles 9]

Measured: a question to the base alone, one to a persona, and a battle of both, through the backend that the page uses,
each after a first one that does not count. Adapters are random, of rank 16 on all linear layers: what they say is
nonsense, and the time is that of real ones. Calculated: what `space.backends.zerogpu_model` estimates for bases of
other sizes; nothing of that was measured on a GPU.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from safetensors.numpy import save_file

from bench.goals import Goal, judge
from bench.machine import save
from space.backends.protocol import Question
from space.backends.zerogpu import ZeroGpuBackend
from space.backends.zerogpu_adapters import ModelAdapters
from space.backends.zerogpu_model import AdapterModel, BatchSampling, call_seconds, step_seconds
from understudy.bases import Base, resolve_base, weight_shapes
from understudy.config.settings import load_settings
from understudy.registry.database import open_database
from understudy.registry.hub_registry import HubRegistry

RANK = 16
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PROMPT = "Write a short marketing email about a bicycle bell for people who ride to work."
SIZES = {"SmolLM2-135M": (0.27e9, 30), "Qwen3-0.6B": (1.2e9, 28), "Qwen3-4B": (8.0e9, 36), "Qwen3-8B": (16.4e9, 36)}
"""Bytes of the weights in bfloat16, and layers."""
ANSWERS = (64, 100, 123, 256)
"""Tokens of the longer answer; 256 is the limit unless a card says otherwise."""
BATTLE = 100
"""Tokens of the longer answer of the battle that has a goal."""


def main() -> None:
    """Measures, prints, writes docs/results/zerogpu.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2", help="as for UNDERSTUDY_BASE (smollm2)")
    parser.add_argument("--battles", type=int, default=9, help="questions of each kind (9)")
    chosen = parser.parse_args()
    base = resolve_base(chosen.base)
    load = [round(one, 2) for one in os.getloadavg()]
    with tempfile.TemporaryDirectory() as home:
        measured = asyncio.run(measure(base, Path(home), chosen.battles))
    found = {"load_average": load, "base": base.name, "rank": RANK, "measured": measured, "battles": battles()}
    Console(soft_wrap=True).print(found)
    print(save("zerogpu", {**found, **judge(goals(found))}))


def goals(found: dict[str, Any]) -> list[Goal]:
    """What a visitor waits for on a CPU, and what a battle may cost of a visitor's quota."""
    largest = found["battles"][-1]
    battle = f"a battle of {BATTLE} tokens on {largest['base']}, s of a GPU, estimated"
    return [
        Goal("first words of both sides on a CPU, s", found["measured"]["battle"]["first_token"], 1, most=True),
        Goal(battle, largest["seconds"][str(BATTLE)], 4, most=True),
    ]


async def measure(base: Base, home: Path, count: int) -> dict[str, Any]:
    """Medians in seconds until the first words, and tokens a second after them, by kind of question."""
    settings = load_settings(home=home, base=base.name)
    registry = HubRegistry(open_database(settings.database), settings.store_dir)
    adapters = ModelAdapters(AdapterModel(base), base, settings.max_lora_rank)
    backend = ZeroGpuBackend(settings, registry, adapters)
    revision = registry.push("bell", write_adapter(base, home / "bell"), actor="bench")
    await adapters.load(revision.served_name, registry.path(revision))
    backend.table.flip(backend.table.add(revision, 0, {}))
    kinds = {"base": ("base",), "persona": ("bell",), "battle": ("base", "bell")}
    found: dict[str, Any] = {}
    for kind, contestants in kinds.items():
        runs = [await ask(backend, contestants) for _ in range(count + 1)][1:]
        firsts = [first for first, _ in runs]
        found[kind] = {
            "first_token": round(statistics.median(firsts), 3),
            "first_token_worst": round(max(firsts), 3),
            "tokens_per_second": round(statistics.median(pace for _, pace in runs), 1),
        }
    return found


async def ask(backend: ZeroGpuBackend, contestants: tuple[str, ...], tokens: int = 48) -> tuple[float, float]:
    """Seconds until every side has said something, and tokens a second (of one side) from then on."""
    questions = [Question(one, [{"role": "user", "content": PROMPT}]) for one in contestants]
    began, firsts = time.perf_counter(), {}

    async def read(number: int, stream: Any) -> None:
        async for chunk in stream:
            if chunk.text:
                firsts.setdefault(number, time.perf_counter() - began)

    streams = backend.battle(questions, temperature=0.2, max_tokens=tokens, seed=1)
    await asyncio.gather(*(read(n, stream) for n, stream in enumerate(streams)))
    first = max(firsts.values())
    return first, (tokens - 1) / (time.perf_counter() - began - first)


def write_adapter(base: Base, folder: Path) -> Path:
    """A random adapter with an effect, on every linear layer."""
    import json

    folder.mkdir()
    random, weights = np.random.default_rng(0), {}
    for name, shape_of_weight in weight_shapes(base).items():
        module = name.removesuffix(".weight")
        if module.rpartition(".")[2] in LINEAR:
            rows, columns = shape_of_weight
            draws = {"lora_A": (RANK, columns), "lora_B": (rows, RANK)}
            for part, shape in draws.items():
                key = f"base_model.model.{module}.{part}.weight"
                weights[key] = (random.standard_normal(shape) / 100).astype(np.float32)
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 32, "target_modules": [*LINEAR]}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": base.name}))
    return folder


def battles() -> list[dict[str, Any]]:
    """What a battle computes on a ZeroGPU, and what its call asks for, in seconds by tokens of its longer answer."""
    found = []
    for name, (weights, layers) in SIZES.items():
        step = step_seconds(weights, layers)
        seconds = {str(tokens): round(tokens * step, 2) for tokens in ANSWERS}
        asked = {str(tokens): call_seconds([60, 60], BatchSampling(0.7, tokens), step) for tokens in ANSWERS}
        found.append({"base": name, "step_ms": round(1000 * step, 1), "seconds": seconds, "asks_for": asked})
    return found


if __name__ == "__main__":
    main()
