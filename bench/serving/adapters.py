"""Random adapters, for measuring speed; what they say makes no sense."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from understudy.bases import TINY, Base, base_revision, resolve_base, weight_shapes
from understudy.registry.adapters import CONFIG, WEIGHTS

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""All linear layers, as training does."""


def random_adapter(
    folder: Path,
    *,
    seed: int,
    rank: int = 16,
    scale: float = 0.1,
    base: Base | None = None,
    dtype: type[np.floating[Any]] = np.float32,
) -> Path:
    """Writes a PEFT adapter for `base` (the tiny one) with every matrix random and returns its folder."""
    base = base or resolve_base(TINY)
    random = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    for name, shape in weight_shapes(base).items():
        module = name.removesuffix(".weight")
        if module.endswith(MODULES):
            rows, columns = shape
            for part, size in (("A", (rank, columns)), ("B", (rows, rank))):
                values = scale * random.standard_normal(size, dtype=np.float32)
                weights[f"base_model.model.{module}.lora_{part}.weight"] = values.astype(dtype)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(_config(base, rank)))
    return folder


def _config(base: Base, rank: int) -> dict[str, object]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "revision": base_revision(base),
        "r": rank,
        "lora_alpha": rank,
        "target_modules": list(MODULES),
        "bias": "none",
    }
