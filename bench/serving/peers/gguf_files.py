"""Writes the files that llama.cpp reads: a Llama base with byte-level BPE, and PEFT adapters for it, all in float32.

Run by the Python of llama.cpp's own environment, which has `gguf`:

    python bench/serving/peers/gguf_files.py base FOLDER OUT
    python bench/serving/peers/gguf_files.py adapter FOLDER OUT --heads 4 --kv-heads 4

llama.cpp's own `convert_hf_to_gguf.py` knows a tokenizer by a hash of what it does, and does not know ours.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf  # pyright: ignore[reportMissingImports]  # it is in llama.cpp's own environment
import numpy as np
import safetensors

PRE_TOKENIZER = "smollm"
"""Each digit alone, then GPT-2's expression (src/llama-vocab.cpp there): what the tiny base's tokenizer does."""

TYPES = {"F32": np.float32, "F16": np.float16}
PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def main() -> None:
    """Writes one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("base", "adapter"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--heads", type=int)
    parser.add_argument("--kv-heads", type=int)
    arguments = parser.parse_args()
    if arguments.what == "base":
        write_base(arguments.folder, arguments.out)
    else:
        write_adapter(arguments.folder, arguments.out, arguments.heads, arguments.kv_heads)


def write_base(folder: Path, out: Path) -> None:
    """Weights, shape, tokenizer and chat template of the model in `folder`."""
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(out, "llama")
    _write_shape(writer, config)
    _write_tokenizer(writer, folder, config)
    for name, tensor in read(folder / "model.safetensors"):
        module = name.removesuffix(".weight")
        writer.add_tensor(
            f"{_rename(module)}.weight", _turned(module, tensor, config["num_attention_heads"], _kv_heads(config))
        )
    _write(writer)


def write_adapter(folder: Path, out: Path, heads: int, kv_heads: int) -> None:
    """The PEFT adapter in `folder`; `heads` and `kv_heads` are those of its base."""
    config = json.loads((folder / "adapter_config.json").read_text())
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(config["lora_alpha"]))
    for name, tensor in read(folder / "adapter_model.safetensors"):
        module, part = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name).groups()  # type: ignore[union-attr]
        if part == "B":
            tensor = _turned(module, tensor, heads, kv_heads)
        writer.add_tensor(f"{_rename(module)}.weight.lora_{part.lower()}", tensor)
    _write(writer)


def read(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Name and float32 values of each tensor in a safetensors file."""
    for name, tensor in safetensors.deserialize(path.read_bytes()):
        if tensor["dtype"] == "BF16":  # the upper half of a float32
            values = (np.frombuffer(tensor["data"], np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(tensor["data"], TYPES[tensor["dtype"]]).astype(np.float32)
        yield name, values.reshape(tensor["shape"])


def _turned(module: str, tensor: np.ndarray, heads: int, kv_heads: int) -> np.ndarray:
    """Rows of queries and keys in the order of llama.cpp's rotation: the two halves of a head take turns."""
    if not module.endswith(("q_proj", "k_proj")):
        return tensor
    count = heads if module.endswith("q_proj") else kv_heads
    rows, columns = tensor.shape
    halves = tensor.reshape(count, 2, rows // count // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def _rename(module: str) -> str:
    if module in WHOLE:
        return WHOLE[module]
    layer, part = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", module).groups()  # type: ignore[union-attr]
    return f"blk.{layer}.{PARTS[part]}"


def _write_shape(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    writer.add_name("base")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(_kv_heads(config))
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _write_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    special = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
    names = {number: token for token, number in tokenizer["model"]["vocab"].items()}
    numbers = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list([names[number] for number in numbers])
    writer.add_token_types([gguf.TokenType.CONTROL if n in special else gguf.TokenType.NORMAL for n in numbers])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    template = (folder / "chat_template.jinja").read_text()
    writer.add_chat_template(re.sub(r"\{%-? (end)?generation -?%\}", "", template))  # marks for training alone


def _kv_heads(config: dict[str, Any]) -> int:
    return config.get("num_key_value_heads") or config["num_attention_heads"]


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
