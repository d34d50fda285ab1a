"""What an adapter for the tiny base can be spoiled with, and what validation then says."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from serve.rollout.validate import validate
from tests.support.adapters import tensors
from understudy.bases import resolve_base

A, B = tensors()
"""Names of the two matrices."""

TINY_A = "base_model.model.model.embed_tokens.lora_embedding_A"


def problems(folder: Path) -> list[str]:
    return validate(folder, resolve_base("tiny"), max_rank=64)


def write_safetensors(path: Path, arrays: dict[str, np.ndarray], dtype: str) -> None:
    """The format by hand, for types that numpy does not know."""
    header, at = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(a.tobytes() for a in arrays.values()))


def spoiled(value: float) -> dict[str, np.ndarray]:
    weights = tensors()
    weights[A][0, 0] = value
    return weights


def header_of(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def rewritten(change: Callable[[dict], object], *, more: bytes = b"") -> Callable[[Path], None]:
    """Changes the header and leaves the data."""

    def spoil(path: Path) -> None:
        header, data = header_of(path)
        change(header)
        with_header(json.dumps(header).encode(), more)(path, data)

    return spoil


def with_header(text: bytes, more: bytes = b"") -> Callable[..., None]:
    def spoil(path: Path, data: bytes = b"") -> None:
        path.write_bytes(len(text).to_bytes(8, "little") + text + data + more)

    return spoil


def with_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return spoil


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def sound_lines(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(p, str) and p and p.isprintable() for p in found)
