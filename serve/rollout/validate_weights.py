"""Checks adapter_model.safetensors byte by byte: its layout, its names and shapes against the base, and its values.

Only the header and one piece of a tensor are in memory at a time, and nothing in the file is executed.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np

from serve.rollout.validate_config import module_rank, module_scale, modules_wanted, ranks_readable, strict_json
from understudy.bases import Base, weight_shapes
from understudy.errors import BaseModelError

MAX_BYTES = 4 * 2**30
"""Largest adapter file we read."""

MAX_HEADER_BYTES = 16 * 2**20
"""About 100,000 tensors; a dense model of 100 layers needs 0.2 MB."""

PIECE_BYTES = 2**24
"""Bytes of a tensor in memory at a time."""

LARGEST = 65504.0
"""Largest value of float16. The engine multiplies lora_B by lora_alpha / rank in its own type, and what becomes
infinite there corrupts every other answer, too."""

ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4}
TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out")

Header = dict[str, dict[str, Any]]


def read_header(path: Path) -> tuple[Header, int]:
    """Reads dtype, shape and data_offsets by tensor name, and the byte at which data starts.

    Stricter than `read_safetensors_header`, which is for bases we trust: names once, types known, data without
    gaps, overlaps or bytes at the end (https://huggingface.co/docs/safetensors).

    Raises:
        ValueError: the first thing that is wrong.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than the {MAX_BYTES:,} we read")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise ValueError(f"not a safetensors file: its header says {length:,} bytes")
        try:
            header = strict_json(file.read(length))
        except ValueError as error:
            raise ValueError(f"not a safetensors file: its header is {error}") from None
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file: its header is not a JSON object")
    header.pop("__metadata__", None)
    end = 0
    for name, info in sorted(header.items(), key=lambda item: _start(item[1])):
        if wrong := _wrong_entry(info, end):
            raise ValueError(f"tensor {name}: {wrong}")
        end = info["data_offsets"][1]
    if 8 + length + end != size:
        raise ValueError(
            f"the file is cut short or has bytes at its end: {size:,} bytes found, {8 + length + end:,} by its header"
        )
    return header, 8 + length


def check_tensors(header: Header, config: dict[str, Any], base: Base) -> list[str]:
    """Lists names and shapes that disagree with the base's own modules or with the configuration."""
    try:
        modules = linear_modules(base)
    except (BaseModelError, ValueError, OSError) as error:
        return [str(error)]
    if not header:
        return ["it has no tensors"]
    readable = ranks_readable(config)
    problems, sides = [], defaultdict(set)
    for name, info in header.items():
        match = TENSOR.fullmatch(name)
        if match is None:
            problems.append(f"tensor {name} is not a LoRA matrix of a module")
        elif match["module"] not in modules:
            problems.append(f"tensor {name}: {_absent(match['module'])}")
        else:
            sides[match["module"]].add(match["side"])
            if not readable:
                continue
            rank, (rows, columns) = module_rank(config, match["module"]), modules[match["module"]]
            expected = [rank, columns] if match["side"] == "A" else [rows, rank]
            if info["shape"] != expected:
                problems.append(f"tensor {name} has shape {info['shape']}; rank {rank} on this base needs {expected}")
    problems += [f"module {m} has only lora_{''.join(found)}" for m, found in sides.items() if len(found) < 2]
    return problems + _check_coverage(set(sides), config, list(modules))


def check_values(path: Path, header: Header, start: int, config: dict[str, Any]) -> list[str]:
    """Lists tensors with NaN or infinite values, or values that become infinite in the engine."""
    problems, readable = [], ranks_readable(config)
    with path.open("rb") as file:
        for name, info in header.items():
            if info["dtype"] not in ITEM_BYTES:
                problems.append(f"tensor {name} has type {info['dtype']}; F32, F16 or BF16 can be served")
                continue
            broken, largest = _measure(file, start, info)
            match = TENSOR.fullmatch(name)
            scaled = readable and match is not None and match["side"] == "B"
            scale = module_scale(config, match["module"]) if match and scaled else 1.0
            if broken:
                problems.append(f"tensor {name} has {broken} values that are NaN or infinite")
            elif largest * max(scale, 1.0) > LARGEST:
                problems.append(f"tensor {name} has values that overflow in the engine: {largest:.3g} times {scale:g}")
    return problems


def linear_modules(base: Base) -> dict[str, tuple[int, int]]:
    """Returns (outputs, inputs) of the base's linear layers by full name, without embeddings.

    LoRA on embeddings and on the output layer is refused: vLLM serves it for some architectures only, and where
    the two are tied (as in `tiny` and `smollm2`) PEFT and vLLM mean different things by it.

    Raises:
        BaseModelError: the base is not here, or its own weights are stored quantised, so that shapes cannot be read.
    """
    shapes = weight_shapes(base)
    if any(".quant_state." in name or name.endswith(".qweight") for name in shapes):
        raise BaseModelError(f"{base.name} is stored quantised, its modules have no shapes; serve the original instead")
    return {
        name.removesuffix(".weight"): (shape[0], shape[1])
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and name.split(".")[-2] not in EMBEDDINGS
    }


def _check_coverage(found: set[str], config: dict[str, Any], modules: list[str]) -> list[str]:
    """Lists where the configuration names other modules than the tensors."""
    wanted = modules_wanted(config, modules)
    if wanted is None or not found:
        return []
    extra, missing = sorted(found - set(wanted)), sorted(set(wanted) - found)
    problems = []
    if extra:
        problems.append(f"target_modules does not cover {_some(extra)}, but there are tensors for it")
    if missing:
        problems.append(f"target_modules covers {_some(missing)}, but there are no tensors for it")
    return problems


def _some(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _absent(module: str) -> str:
    if module.split(".")[-1] in EMBEDDINGS:
        return "LoRA on embeddings or the output layer is not served; train the linear layers (all-linear)"
    return f"the base has no module {module}"


def _start(info: Any) -> int:
    offsets = info.get("data_offsets") if isinstance(info, dict) else None
    return offsets[0] if _is_sizes(offsets) and offsets else -1


def _wrong_entry(info: Any, end: int) -> str:
    """What is wrong with one entry of the header, whose data must begin at `end`; empty when nothing is."""
    if not isinstance(info, dict) or not isinstance(info.get("dtype"), str) or not _is_sizes(info.get("shape")):
        return "its header is wrong: dtype and shape are missing or malformed"
    offsets = info.get("data_offsets")
    if not _is_sizes(offsets) or len(offsets) != 2 or offsets[1] < offsets[0]:
        return f"its header is wrong: data_offsets is {offsets!r}"
    if offsets[0] != end:
        return f"its data starts at {offsets[0]}, not where the one before ends ({end}): a gap or an overlap"
    item = ITEM_BYTES.get(info["dtype"])
    if item and offsets[1] - offsets[0] != math.prod(info["shape"]) * item:
        return f"its header is wrong: shape {info['shape']} of {info['dtype']} does not fill its data"
    return ""


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) <= 8 and all(type(v) is int and 0 <= v < 2**48 for v in value)


def _measure(file: BinaryIO, start: int, info: dict[str, Any]) -> tuple[int, float]:
    """Counts the values that are not finite, and finds the largest of the others."""
    broken, largest = 0, 0.0
    first, last = info["data_offsets"]
    file.seek(start + first)
    for values in _pieces(file, last - first, info["dtype"]):
        finite = np.isfinite(values)
        broken += int(values.size - np.count_nonzero(finite))
        largest = max(largest, float(np.max(np.abs(values), where=finite, initial=0)))
    return broken, largest


def _pieces(file: BinaryIO, length: int, dtype: str) -> Iterator[np.ndarray]:
    while length > 0:
        data = file.read(min(length, PIECE_BYTES))
        if not data:
            raise OSError("the file got shorter while it was read")
        length -= len(data)
        if dtype == "BF16":  # the upper half of a float32
            yield (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            yield np.frombuffer(data, np.float16 if dtype == "F16" else np.float32)
