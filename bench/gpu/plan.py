"""How much is measured: on a GPU, and in a rehearsal, which runs the same lines with less of everything."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.bases import SMOLLM2, resolve_base

LLAMA_8B: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
}
"""Of Llama 3.1 8B (https://huggingface.co/meta-llama/Llama-3.1-8B, config.json)."""
KEYS = tuple(LLAMA_8B)


def shape_of_smollm2() -> dict[str, Any]:
    """The shape of the default base, for a rehearsal."""
    config = json.loads((Path(resolve_base(SMOLLM2).location) / "config.json").read_text())
    return {key: config[key] for key in KEYS if key in config}


@dataclass(frozen=True)
class Plan:
    """Sizes of everything that is measured."""

    variant: str
    """`gpu` or `cpu`: whose requirements."""
    device: str
    shape: dict[str, Any]
    adapters: tuple[int, int, int, int]
    """The base alone, one, a few that are mixed, and many."""
    people: tuple[int, ...]
    """At once."""
    rounds: int
    prompt: int
    """Tokens."""
    tokens: int
    """Of each answer."""
    swaps: int
    streams: int
    rows: int
    """That are learnt, each of twice `length` tokens."""
    length: int
    batch: int


def on_gpu() -> Plan:
    """An 8B base and a hundred adapters."""
    return Plan(
        variant="gpu",
        device="cuda",
        shape=LLAMA_8B,
        adapters=(0, 1, 8, 100),
        people=(1, 32, 128),
        rounds=3,
        prompt=200,
        tokens=64,
        swaps=5,
        streams=32,
        rows=64,
        length=256,
        batch=4,
    )


def rehearsal() -> Plan:
    """The shape of the default base on a CPU, and as little of everything as shows that each line runs."""
    return Plan(
        variant="cpu",
        device="cpu",
        shape=shape_of_smollm2(),
        adapters=(0, 1, 2, 3),
        people=(1, 2),
        rounds=1,
        prompt=32,
        tokens=4,
        swaps=1,
        streams=2,
        rows=4,
        length=32,
        batch=2,
    )
