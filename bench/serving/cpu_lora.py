"""Adapters on a CPU: our plugin for vLLM against vLLM's own way, at the shapes of two models.

python -m bench.serving.cpu_lora [--engines] [--rounds 5] [--tokens 64]

With --engines (some ten minutes) whole ones besides, without and with the plugin: on the tiny base under 16 chats at
once, and on a random model of the shape of Qwen2.5-0.5B with prompts of 512 tokens; the base alone, one adapter, six.
`bench.serving.peers_serving` has them on the default base, with other servers.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import linear
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from bench.figures import save_bars
from bench.machine import save
from bench.serving.cpu_lora_engine import MAX_RANK, half_billion_engine, tiny_engine
from serve.engine.cpu_lora.punica_wrapper import GroupedPunicaWrapper

SLOTS, RANK = 8, 16


@dataclass(frozen=True)
class Model:
    """Shapes of the projections of one layer: inputs, and outputs of each part."""

    name: str
    dtype: torch.dtype
    layers: int
    modules: tuple[tuple[int, tuple[int, ...]], ...]


MODELS = (
    Model(
        *("smollm2", torch.bfloat16, 30),
        ((576, (576, 192, 192)), (576, (576,)), (576, (1536, 1536)), (1536, (576,))),
    ),
    Model(
        *("0.5B", torch.bfloat16, 24),
        ((896, (896, 128, 128)), (896, (896,)), (896, (4864, 4864)), (4864, (896,))),
    ),
)
BATCHES = (("decode", 16, 1), ("decode", 16, 6), ("prefill", 512, 1))
"""What, tokens, adapters."""


class Layer:
    """The four projections of one layer with their stacks of adapters, random."""

    def __init__(self, model: Model, adapters: int) -> None:
        self.parts = []
        for inputs, outputs in model.modules:
            a = tuple(torch.zeros(SLOTS, 1, MAX_RANK, inputs, dtype=model.dtype) for _ in outputs)
            b = tuple(torch.zeros(SLOTS, 1, size, MAX_RANK, dtype=model.dtype) for size in outputs)
            for stack in (*(part[:adapters, 0, :RANK] for part in a), *(part[:adapters, 0, :, :RANK] for part in b)):
                stack.normal_(std=0.05)
            weight = torch.randn(sum(outputs), inputs, dtype=model.dtype)
            self.parts.append((weight, a, b, outputs))

    def run(self, inputs: list[torch.Tensor], wrapper: PunicaWrapperCPU | None) -> None:
        for x, (weight, a, b, outputs) in zip(inputs, self.parts, strict=True):
            y = linear(x, weight)
            if wrapper is not None:
                wrapper.add_lora_linear(y, x, a, b, 1.0, outputs)


def main() -> None:
    """Measures, prints the tables, writes docs/results/cpu-lora.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", action="store_true", help="whole engines besides")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, everything in turn in each (5)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each answer of an engine (64)")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows = [_shapes(model, *batch, arguments.rounds) for model in MODELS for batch in BATCHES]
    _print("Four projections of one layer, one thread", rows)
    figures: dict[str, Any] = {"slots": SLOTS, "max_rank": MAX_RANK, "rank": RANK, "shapes": rows}
    if arguments.engines:
        engines = [tiny_engine(plugin, arguments.rounds, arguments.tokens) for plugin in (False, True)]
        _print("The engine on the tiny base, 16 at once, tokens/s", engines)
        large = [half_billion_engine(plugin, arguments.rounds) for plugin in (False, True)]
        _print("The engine on a 0.5B-shaped model, prompts of 512 tokens, prompt tokens/s", large)
        figures |= {"engine": engines, "same_answers": engines[0]["answers"] == engines[1]["answers"]}
        figures |= {"engine_half_billion": large, "plugin_over_vllm": round(large[1]["one"] / large[0]["one"], 1)}
    print(save("cpu-lora", figures))
    print(_figure(rows))


def _figure(rows: list[dict[str, Any]]) -> Path:
    names = {"base_ms": "base alone", "plugin_ms": "with our plugin", "vllm_ms": "with vLLM's own"}
    panels: dict[str, dict[str, float | None]] = {
        f"{row['model']}, {row['what']} of {row['tokens']} tokens, {row['adapters']} adapters, ms": {
            name: row[key] for key, name in names.items()
        }
        for row in rows
    }
    return save_bars("cpu-lora", "Adapters on a CPU: four projections of one layer, one thread", panels, digits=1)


def _shapes(model: Model, what: str, tokens: int, adapters: int, rounds: int) -> dict[str, Any]:
    """Medians over the rounds of the base's products alone, with vLLM's LoRA and with ours, in milliseconds."""
    layer = Layer(model, adapters)
    inputs = [torch.randn(tokens, size, dtype=model.dtype) for size, _ in model.modules]
    wrappers = {
        "base": None,
        "vllm": _wrapper(PunicaWrapperCPU, tokens, adapters),
        "plugin": _wrapper(GroupedPunicaWrapper, tokens, adapters),
    }
    times: dict[str, list[float]] = {name: [] for name in wrappers}
    for number in range(-1, rounds):
        for name, wrapper in wrappers.items():
            seconds = _time(lambda wrapper=wrapper: layer.run(inputs, wrapper), once=name == "vllm" and tokens > 16)
            if number >= 0:  # the first round warms up
                times[name].append(1000 * seconds)
    medians = {f"{name}_ms": round(statistics.median(values), 3) for name, values in times.items()}
    return {
        **{"model": model.name, "what": what, "tokens": tokens, "adapters": adapters, **medians},
        "plugin_over_vllm": round(medians["vllm_ms"] / medians["plugin_ms"], 1),
        "plugin_over_base": round(medians["base_ms"] / medians["plugin_ms"], 2),
    }


def _wrapper(kind: type[PunicaWrapperCPU], tokens: int, adapters: int) -> PunicaWrapperCPU:
    """Requests take the adapters in turn: a token each when decoding, a prompt each otherwise."""
    wrapper = kind(tokens, tokens, "cpu")
    used = tuple(1 + row % adapters for row in range(tokens))
    slots = [slot + 1 if slot < adapters else None for slot in range(SLOTS)]
    wrapper.update_metadata(LoRAMapping(used, used, is_prefill=True), slots, SLOTS + 1, 4096)
    return wrapper


def _time(call: Callable[[], None], *, once: bool) -> float:
    """Median seconds of the calls that fit into a fifth of a second; at least three unless `once`."""
    times: list[float] = []
    with torch.no_grad():
        while not times or (not once and (len(times) < 3 or sum(times) < 0.2)):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def _print(title: str, rows: list[dict[str, Any]]) -> None:
    columns = [name for name in rows[-1] if name != "answers"]
    table = Table(*(name.replace("_", " ") for name in columns), title=title)
    for row in rows:
        table.add_row(*(str(row.get(name, "-")) for name in columns))
    Console().print(table)


if __name__ == "__main__":
    main()
