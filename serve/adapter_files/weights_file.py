"""Reads adapter_model.safetensors byte by byte: a stricter layout than readers require, and values piece by piece.

Only the header and one piece of a tensor are in memory at a time, and nothing in the file is executed.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np

from serve.rollout.validate_config import strict_json

MAX_BYTES = 4 * 2**30
"""Largest adapter file we read."""

MAX_HEADER_BYTES = 16 * 2**20
"""About 100,000 tensors; a dense model of 100 layers needs 0.2 MB."""

PIECE_BYTES = 2**24
"""Bytes of a tensor in memory at a time."""

ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4}

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


def measure(file: BinaryIO, start: int, info: dict[str, Any]) -> tuple[int, float]:
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
