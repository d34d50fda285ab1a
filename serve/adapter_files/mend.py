"""Writes a mended copy of a third-party adapter: names, types, parts and settings, where only one thing can be meant.

No value of a tensor changes, except that float64 becomes float32. What is not listed as mended is copied as it is, so
that validation sees it; nothing is dropped.
"""

import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import TensorSpec, serialize_file

from serve.adapter_files.mend_config import complete_config
from serve.adapter_files.tensor_names import TENSOR, ModuleNames, spelled
from serve.adapter_files.weights_file import read_header
from serve.rollout.validate_config import read_strictly, strict_json
from serve.rollout.validate_weights import linear_modules
from understudy.bases import Base
from understudy.errors import AdapterError
from understudy.registry.adapters import CONFIG, KEPT, WEIGHTS
from understudy.registry.found_files import INDEX, missing_files, missing_parts, shards

NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""What safetensors calls its types when it writes them."""


@dataclass
class MendedAdapter:
    """What was changed in the copy, in words; empty where the original needed nothing."""

    folder: Path
    changes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as it is stored: type, shape and bytes."""

    dtype: str
    shape: list[int]
    data: np.ndarray
    """Bytes."""


def mend(folder: Path, base: Base, out: Path, *, base_is: str = "", alpha: float | None = None) -> MendedAdapter:
    """Writes the mended copy of the adapter in `folder` to the new folder `out`.

    Args:
        base_is: the base that it was trained on, where it says another name or none.
        alpha: its lora_alpha, where it does not say it.

    Raises:
        AdapterError: what is wrong can be mended in more than one way or in none; or `out` exists.
        BaseModelError: the base is not here, so that its modules are not known.
    """
    if out.exists():
        raise AdapterError(f"{out} exists; give another folder with --out")
    mended = MendedAdapter(out)
    try:
        tensors = _read_tensors(folder, mended.changes)
        config = read_strictly(folder) if (folder / CONFIG).is_file() else {}
        named = _renamed(tensors, ModuleNames(linear_modules(base)), mended.changes)
        ranks = {TENSOR.fullmatch(n)["module"]: t.shape[0] for n, t in named.items() if _is_a(n)}  # pyright: ignore
        names = ModuleNames(linear_modules(base))
        config = complete_config(config, ranks, names, mended.changes, base_is=base_is, alpha=alpha)
    except (OSError, ValueError) as error:
        raise error if isinstance(error, AdapterError) else AdapterError(f"{folder}: {error}") from None
    _write(folder, out, {name: _served_type(name, t, mended.changes) for name, t in named.items()}, config)
    return mended


def _read_tensors(folder: Path, changes: list[str]) -> dict[str, StoredTensor]:
    """Reads all tensors, of one file or of its parts. Raises AdapterError and ValueError."""
    whole, parts = folder / WEIGHTS, shards(folder)
    if whole.is_file():
        return _read_file(whole)
    if not parts:
        raise AdapterError(missing_files(folder) or f"{folder}: no {WEIGHTS} there")
    _check_parts(folder, parts)
    tensors: dict[str, StoredTensor] = {}
    for path in parts:
        found = _read_file(path)
        if twice := sorted(tensors.keys() & found.keys()):
            raise AdapterError(f"{folder}: tensor {twice[0]} is in two parts; which one counts cannot be told")
        tensors |= found
    changes.append(f"joined {len(parts)} parts into {WEIGHTS}")
    return tensors


def _check_parts(folder: Path, parts: list[Path]) -> None:
    """Checks by the index, else by the number in their names, that no part is missing."""
    there = {path.name for path in parts}
    if (folder / INDEX).is_file():
        index = strict_json((folder / INDEX).read_bytes())
        named = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
            raise AdapterError(f"{folder / INDEX}: it has no weight_map of tensors and files")
        missing = sorted(set(named.values()) - there)
    else:
        missing = missing_parts(there)
    if missing:
        wanted = len(there) + len(missing)
        raise AdapterError(f"{folder}: the part {missing[0]} is missing ({len(there)} of {wanted} are there)")


def _read_file(path: Path) -> dict[str, StoredTensor]:
    header, start = read_header(path)
    data = np.memmap(path, np.uint8, mode="r", offset=start) if header else np.zeros(0, np.uint8)
    found = {}
    for name, info in header.items():
        first, last = info["data_offsets"]
        found[name] = StoredTensor(info["dtype"], info["shape"], data[first:last])
    return found


def _renamed(tensors: dict[str, StoredTensor], names: ModuleNames, changes: list[str]) -> dict[str, StoredTensor]:
    """Gives the tensors PEFT's own names. Raises AdapterError where two would get one name."""
    meant = {name: names.renamed(name) or name for name in tensors}
    if len(set(meant.values())) < len(meant):
        adapters = sorted({parts.adapter for parts in map(spelled, tensors) if parts and parts.adapter})
        told = f"it holds several adapters ({', '.join(adapters)})" if len(adapters) > 1 else "two tensors are for one"
        raise AdapterError(f"{told}: which matrices are meant cannot be told; save one adapter by itself")
    if changed := [name for name, new in meant.items() if new != name]:
        changes.append(f"renamed {len(changed)} tensors, such as {changed[0]} to {meant[changed[0]]}")
    return {meant[name]: tensor for name, tensor in tensors.items()}


def _served_type(name: str, tensor: StoredTensor, changes: list[str]) -> StoredTensor:
    """Makes float64 float32. Raises AdapterError for a type that is not a number's in the engine."""
    if tensor.dtype in NAMES:
        return tensor
    if tensor.dtype != "F64":
        raise AdapterError(f"tensor {name} has type {tensor.dtype}, which cannot be converted without its scales")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and validation says so
        data = np.frombuffer(tensor.data.tobytes(), np.float64).astype(np.float32)
    note = "converted tensors from float64 to float32"
    if note not in changes:
        changes.append(note)
    return StoredTensor("F32", tensor.shape, data.view(np.uint8))


def _write(folder: Path, out: Path, tensors: dict[str, StoredTensor], config: dict[str, Any]) -> None:
    """Writes the copy, all of it or nothing: a folder that appears is complete."""
    staging = out.with_name(f".{out.name}.incoming")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        for path in _others(folder):
            shutil.copyfile(path, staging / path.name)
        kept = {name: np.ascontiguousarray(tensor.data) for name, tensor in tensors.items()}  # alive while written
        specs = {name: _spec(tensors[name], data) for name, data in kept.items()}
        serialize_file(specs, str(staging / WEIGHTS), {"format": "pt"})
        (staging / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _spec(tensor: StoredTensor, data: np.ndarray) -> TensorSpec:
    if math.prod(tensor.shape) * (4 if tensor.dtype == "F32" else 2) != data.nbytes:
        raise AdapterError(f"a tensor of shape {tensor.shape} has {data.nbytes} bytes")
    return TensorSpec(dtype=NAMES[tensor.dtype], shape=tensor.shape, data_ptr=data.ctypes.data, data_len=data.nbytes)


def _others(folder: Path) -> Iterable[Path]:
    """The files beside the adapter that belong to it: its card and its tokenizer."""
    kept = (p for p in folder.iterdir() if KEPT.fullmatch(p.name) and p.name not in (CONFIG, WEIGHTS))
    return [p for p in kept if p.is_file() and not p.is_symlink()]


def _is_a(name: str) -> bool:
    match = TENSOR.fullmatch(name)
    return match is not None and match["side"] == "A"
