"""Makes adapters for the tiny base at test time, good and bad ones, with numpy alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from understudy.bases import base_revision, resolve_base, weight_shapes
from understudy.registry.adapters import CONFIG, WEIGHTS

RANK = 4


def config(**changes: Any) -> dict[str, Any]:
    """A PEFT configuration that fits the tiny base."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny",
        "revision": base_revision(resolve_base("tiny")),
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": ["q_proj"],
        "bias": "none",
        **changes,
    }


def tensors(
    rank: int = RANK, scale: float = 0.5, seed: int = 0, module: str = "self_attn.q_proj"
) -> dict[str, np.ndarray]:
    """Random LoRA matrices for one module of the first layer."""
    random = np.random.default_rng(seed)
    rows, columns = weight_shapes(resolve_base("tiny"))[f"model.layers.0.{module}.weight"]
    prefix = f"base_model.model.model.layers.0.{module}"
    return {
        f"{prefix}.lora_A.weight": (scale * random.standard_normal((rank, columns))).astype(np.float32),
        f"{prefix}.lora_B.weight": (scale * random.standard_normal((rows, rank))).astype(np.float32),
    }


def make_adapter(folder: Path, weights: dict[str, np.ndarray] | None = None, **changes: Any) -> Path:
    """Writes an adapter folder, whose configuration targets the modules of `weights`, and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = tensors() if weights is None else weights
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config(**{"target_modules": modules(weights), **changes})))
    return folder


def modules(weights: dict[str, np.ndarray]) -> list[str]:
    """Full names of the modules that the matrices are for."""
    return sorted({n.removeprefix("base_model.model.").partition(".lora_")[0] for n in weights}) or ["q_proj"]
