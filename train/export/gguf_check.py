"""Names the errors that GGUF exports usually have, by comparing the written files with what they were made from.

The proof hears that an export says something else; this says why.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from train.export.gguf_model import pre_tokenizer
from train.export.gguf_tensors import heads_of, read_tensors
from understudy.registry.adapters import CONFIG

EMBEDDINGS, HEAD, QUERIES = "token_embd.weight", "output.weight", "blk.0.attn_q.weight"
NAMES = {EMBEDDINGS: "model.embed_tokens.weight", QUERIES: "model.layers.0.self_attn.q_proj.weight"}
"""Names of the base's tensors in safetensors."""


def model_faults(model: Path, base: Path) -> list[str]:
    """What is wrong with a GGUF model made of the model folder `base`, with an adapter merged into it or without."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    reader = gguf.GGUFReader(model)
    weights = {tensor.name: tensor for tensor in reader.tensors if tensor.name in (*NAMES, HEAD)}
    found = _tokenizer_faults(reader, base, config)
    if config.get("tie_word_embeddings") and HEAD in weights:
        if not np.array_equal(weights[HEAD].data, weights[EMBEDDINGS].data):
            found.append(f"it has a head of its own ({HEAD}); the base's is tied to its embeddings")
    elif not config.get("tie_word_embeddings") and HEAD not in weights:
        found.append(f"it has no head ({HEAD}), and the base's is not tied to its embeddings")
    if not _turned(_values(weights[QUERIES]), base, config):
        found.append("its query and key rows are not in the order of llama.cpp's rotation (RoPE)")
    return found


def adapter_faults(adapter: Path, peft: Path) -> list[str]:
    """What is wrong with a GGUF adapter made of the PEFT folder `peft`."""
    reader = gguf.GGUFReader(adapter)
    alpha = reader.get_field("adapter.lora.alpha")
    rank = next(int(tensor.shape[-1]) for tensor in reader.tensors if tensor.name.endswith(".lora_a"))
    theirs = float(alpha.contents()) / rank if alpha else 1.0
    config = json.loads((peft / CONFIG).read_text(encoding="utf-8"))
    ours = float(config["lora_alpha"]) / float(config["r"]) ** (0.5 if config.get("use_rslora") else 1.0)
    if abs(theirs - ours) <= 1e-4 * abs(ours):
        return []
    return [f"its adapter counts {theirs:g} times, ours {ours:g} times (alpha by rank)"]


def _tokenizer_faults(reader: gguf.GGUFReader, base: Path, config: Mapping[str, Any]) -> list[str]:
    """`base` is a folder whose chat template writes every special token itself."""
    said = {name: reader.get_field(f"tokenizer.ggml.{name}") for name in ("add_bos_token", "eos_token_id", "pre")}
    values = {name: field.contents() if field else None for name, field in said.items()}
    ends = config["eos_token_id"] if isinstance(config["eos_token_id"], list) else [config["eos_token_id"]]
    pre = pre_tokenizer(json.loads((base / "tokenizer.json").read_text(encoding="utf-8")))
    found = []
    if values["add_bos_token"] is not False:
        found.append("llama.cpp puts a BOS before prompts that have all they need: doubled, where they have one")
    if values["eos_token_id"] not in ends:
        found.append(f"its end of turn is token {values['eos_token_id']}, ours {' or '.join(map(str, ends))}")
    if values["pre"] != pre:
        found.append(f"its pre-tokenizer is {values['pre']}, the base's {pre}")
    return found


def _turned(rows: np.ndarray, base: Path, config: Mapping[str, Any]) -> bool:
    """Whether the query rows are nearer to llama.cpp's order than to transformers'; a merged adapter changes little."""
    files = sorted(base.glob("*.safetensors"))
    ours = next(values for file in files for name, values in read_tensors(file) if name == NAMES[QUERIES])
    half = ours.shape[0] // heads_of(config)[0] // 2
    heads = ours.reshape(-1, 2, half, ours.shape[1])
    turned = np.stack([heads[:, 0], heads[:, 1]], axis=2).reshape(ours.shape)  # one of each half, in turn
    return bool(np.abs(rows - turned).mean() < np.abs(rows - ours).mean())


def _values(tensor: gguf.ReaderTensor) -> np.ndarray:
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
