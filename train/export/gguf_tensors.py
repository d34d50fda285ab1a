"""Names, order and precision of a Llama's tensors in a GGUF file.

GGUF: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. llama.cpp rotates neighbouring pairs of a head where
transformers rotate its two halves, so the rows of query and key projections are reordered
(`LlamaModel.permute` in llama.cpp's convert_hf_to_gguf.py).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import safetensors

from understudy.errors import AdapterError

PRECISIONS: Mapping[str, tuple[gguf.GGMLQuantizationType, gguf.LlamaFileType]] = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_1": (gguf.GGMLQuantizationType.Q4_1, gguf.LlamaFileType.MOSTLY_Q4_1),
}
"""What the `gguf` package can write. It has no K-quants (Q4_K_M): llama.cpp's own `llama-quantize` makes those."""

DTYPES = {"F32": np.float32, "F16": np.float16}


def read_tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Name and float32 values of each tensor in a safetensors file."""
    for name, tensor in safetensors.deserialize(path.read_bytes()):
        if tensor["dtype"] == "BF16":  # the upper half of a float32
            values = (np.frombuffer(tensor["data"], np.uint16).astype(np.uint32) << 16).view(np.float32)
        elif tensor["dtype"] in DTYPES:
            values = np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]]).astype(np.float32)
        else:
            raise AdapterError(f"{path.name}: {name} is {tensor['dtype']}; only F32, F16 and BF16 can be exported")
        yield name, values.reshape(tensor["shape"])


def architecture_of(config: Mapping[str, Any]) -> str:
    """The model's class in transformers, as config.json names it; `none` where it does not."""
    return str((config.get("architectures") or ["none"])[0])


def heads_of(config: Mapping[str, Any]) -> tuple[int, int]:
    """Query heads and key heads of a Llama's config.json."""
    heads = int(config["num_attention_heads"])
    return heads, int(config.get("num_key_value_heads") or heads)


def matrix_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Rows and columns of a Llama's matrices, by kind; without the embeddings."""
    heads, key_heads = heads_of(config)
    hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    size = int(config.get("head_dim") or hidden // heads)
    return {
        "q_proj": (heads * size, hidden),
        "k_proj": (key_heads * size, hidden),
        "v_proj": (key_heads * size, hidden),
        "o_proj": (hidden, heads * size),
        "gate_proj": (inner, hidden),
        "up_proj": (inner, hidden),
        "down_proj": (hidden, inner),
        "lm_head": (int(config["vocab_size"]), hidden),
    }


def reordered(module: str, rows: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """Rows of query and key projections in llama.cpp's order; every other matrix as it is."""
    if not module.endswith(("q_proj", "k_proj")):
        return rows
    heads = heads_of(config)[module.endswith("k_proj")]
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))


def restored(module: str, rows: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """The reverse of `reordered`."""
    if not module.endswith(("q_proj", "k_proj")):
        return rows
    heads = heads_of(config)[module.endswith("k_proj")]
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, rows.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))


def gguf_name(module: str, layers: int) -> str:
    """GGUF's name of a module such as `model.layers.0.self_attn.q_proj`, without `.weight`. Raises AdapterError."""
    name = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers).get_name(module)
    if name is None:
        raise AdapterError(f"{module}: llama.cpp has no such module in a Llama")
    return name


def module_names(layers: int) -> dict[str, str]:
    """transformers' module name by GGUF's name, for every matrix of a Llama."""
    inner = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    inner += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    modules = [f"model.layers.{layer}.{part}" for layer in range(layers) for part in inner]
    return {gguf_name(module, layers): module for module in [*modules, "model.embed_tokens", "lm_head"]}


def add_tensor(writer: gguf.GGUFWriter, name: str, values: np.ndarray, precision: str) -> None:
    """Adds one tensor; vectors, and rows that do not fill whole blocks, stay in float32 or float16."""
    kind = PRECISIONS[precision][0]
    if values.ndim < 2 or kind == gguf.GGMLQuantizationType.F32:
        writer.add_tensor(name, values.astype(np.float32))
    elif kind == gguf.GGMLQuantizationType.F16 or values.shape[1] % gguf.GGML_QUANT_SIZES[kind][0]:
        writer.add_tensor(name, values.astype(np.float16))
    else:
        # Embeddings and head decide every token: 8 bits where the rest has 4, as llama-quantize does.
        if precision == "q4_1" and re.fullmatch(r"(token_embd|output)\.weight", name):
            kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(values.astype(np.float32), kind), raw_dtype=kind)


def close(writer: gguf.GGUFWriter) -> None:
    """Writes everything to the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
