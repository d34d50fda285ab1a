"""Static checks of an adapter before any engine sees it: vLLM's own answer to a bad one decides nothing.

vLLM 0.32 loads adapters with NaN (which then spoil every other answer), with the wrong rank, for another base,
or with layers that do not exist, and says 200 each time.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from understudy.adapters import CONFIG, WEIGHTS, read_config
from understudy.bases import Base, base_revision, read_safetensors_header, weight_shapes
from understudy.errors import AdapterError, BaseModelError

MAX_BYTES = 4 * 2**30
"""Largest adapter file we read."""

EXPONENT = {"BF16": (np.uint16, 0x7F80), "F16": (np.uint16, 0x7C00), "F32": (np.uint32, 0x7F800000)}
"""Safetensors type to its integer view and the exponent bits, which are all set in Inf and NaN (IEEE 754)."""

TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")

NOT_SERVED = {
    "use_dora": "DoRA",
    "lora_bias": "a LoRA bias",
    "modules_to_save": "modules_to_save (whole layers beside the adapter)",
    "trainable_token_indices": "trained token embeddings",
    "layer_replication": "layer replication",
    "alora_invocation_tokens": "activated LoRA",
}
PLAIN_INIT = (True, False, "gaussian", "orthogonal", "eva")
"""Initialisations that leave the base as it is; PiSSA, OLoRA, CorDA and LoftQ change it."""


def validate(folder: Path, base: Base, *, max_rank: int) -> list[str]:
    """Everything that keeps the adapter in `folder` from being served on `base`; empty when nothing does."""
    try:
        config = read_config(folder)
    except AdapterError as error:
        return [str(error)]
    size = (folder / WEIGHTS).stat().st_size
    if size > MAX_BYTES:
        return [f"{WEIGHTS} has {size:,} bytes, more than the {MAX_BYTES:,} we read"]
    try:
        header = read_safetensors_header(folder / WEIGHTS)
    except (ValueError, OSError) as error:
        return [f"{WEIGHTS}: {error}"]
    header.pop("__metadata__", None)
    return [
        *_check_config(config, max_rank),
        *_check_base(config, base),
        *_check_shapes(header, config, base),
        *_check_finite(folder / WEIGHTS, header),
    ]


def _check_config(config: dict[str, Any], max_rank: int) -> list[str]:
    problems = []
    if config.get("peft_type") != "LORA":
        problems.append(f"peft_type is {config.get('peft_type')!r}; only LORA can be served")
    if config.get("task_type") not in ("CAUSAL_LM", None):
        problems.append(f"task_type is {config['task_type']!r}; only CAUSAL_LM can be served")
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    bad = [r for r in ranks if not isinstance(r, int) or isinstance(r, bool) or r < 1]
    if bad:
        problems.append(f"{CONFIG}: rank {bad[0]!r} is not a positive whole number")
    elif max(ranks) > max_rank:
        problems.append(
            f"rank {max(ranks)} is over the engine's maximum {max_rank}; raise UNDERSTUDY_MAX_LORA_RANK and restart"
        )
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        problems.append("rank_pattern and alpha_pattern are not served by vLLM (it uses one rank for all modules)")
    if config.get("bias") not in ("none", None):
        problems.append(f"bias is {config['bias']!r}; vLLM serves adapters without bias only")
    problems += [f"{what} is not served by vLLM" for key, what in NOT_SERVED.items() if config.get(key)]
    if config.get("init_lora_weights", True) not in PLAIN_INIT:
        problems.append(
            f"init_lora_weights is {config['init_lora_weights']!r}; convert the adapter to plain LoRA first"
        )
    return problems


def _check_base(config: dict[str, Any], base: Base) -> list[str]:
    named, pinned = config.get("base_model_name_or_path"), config.get("revision")
    if _same_base(str(named)) != _same_base(base.name):
        return [f"it was trained on base {named!r}, but {base.name!r} is served"]
    served = base_revision(base)
    if pinned and served and base.local and pinned != served:
        return [f"it was trained on another build of {base.name} ({pinned}; served is {served}); train it again"]
    return []


def _same_base(name: str) -> str:
    """A base's name without the marks of quantised copies of the same weights."""
    name = name.rstrip("/").lower()
    name = re.sub(r"^unsloth/", "", name) if name.endswith("-bnb-4bit") else name
    return re.sub(r"(-unsloth)?-bnb-4bit$", "", name)


def _check_shapes(header: dict[str, Any], config: dict[str, Any], base: Base) -> list[str]:
    try:
        shapes = weight_shapes(base)
    except BaseModelError as error:
        return [str(error)]
    rank, problems, seen = config.get("r"), [], {}
    for name, info in header.items():
        match = TENSOR.fullmatch(name)
        if not match:
            problems.append(f"tensor {name} is no LoRA matrix of a module")
            continue
        module, side = match["module"], match["side"]
        weight = shapes.get(f"{module}.weight")
        if weight is None or len(weight) != 2:
            problems.append(f"tensor {name}: the base has no module {module}")
            continue
        expected = [rank, weight[1]] if side == "A" else [weight[0], rank]
        if info["shape"] != expected:
            problems.append(f"tensor {name} has shape {info['shape']}; rank {rank} on this base needs {expected}")
        seen.setdefault(module, set()).add(side)
    problems += [f"module {m} has only lora_{''.join(sides)}" for m, sides in seen.items() if len(sides) < 2]
    if not header:
        problems.append("it has no tensors")
    return problems


def _check_finite(path: Path, header: dict[str, Any]) -> list[str]:
    problems, start = [], 8 + int.from_bytes(path.open("rb").read(8), "little")
    data = np.memmap(path, dtype=np.uint8, mode="r")
    for name, info in header.items():
        kind = EXPONENT.get(info.get("dtype"))
        if kind is None:
            problems.append(f"tensor {name} has type {info.get('dtype')}; F32, F16 or BF16 can be served")
            continue
        first, last = info["data_offsets"]
        count = int(np.prod(info["shape"], dtype=np.int64))
        if not 0 <= first <= last <= data.size - start or last - first != count * np.dtype(kind[0]).itemsize:
            problems.append(f"tensor {name}: the file is cut short or its header is wrong")
            continue
        bits = np.frombuffer(data[start + first : start + last].tobytes(), dtype=kind[0])
        broken = int(np.count_nonzero((bits & kind[1]) == kind[1]))
        if broken:
            problems.append(f"tensor {name} has {broken} values that are NaN or infinite")
    return problems


def report(folder: Path, problems: list[str]) -> str:
    """The problems as one JSON document, for machines."""
    return json.dumps({"adapter": str(folder), "valid": not problems, "problems": problems}, indent=2)
