"""Writes a Llama with a byte-level BPE tokenizer as a GGUF file that llama.cpp, Ollama and a browser read."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf

from train.export.gguf_tensors import (
    PRECISIONS,
    add_tensor,
    architecture_of,
    close,
    gguf_name,
    heads_of,
    read_tensors,
    reordered,
)
from understudy.errors import AdapterError

DIGITS = (
    {"type": "Digits", "individual_digits": True},
    {"type": "Split", "pattern": {"Regex": r"\d"}, "behavior": "Isolated", "invert": False},
)
"""Two ways to say "each digit alone" in tokenizer.json."""
TRAINING_MARKS = re.compile(r"\{%-? *(?:end)?generation *-?%\}")
"""Marks in a chat template that only training reads; llama.cpp's template engine does not know them."""


def write_model(folder: Path, out: Path, *, precision: str = "f16", name: str = "base") -> None:
    """Writes weights, tokenizer and chat template of the model in `folder` to the file `out`.

    Args:
        precision: one of PRECISIONS.

    Raises:
        AdapterError: the architecture or the tokenizer is one that this writer does not cover.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    require_llama(config, folder)
    pre = pre_tokenizer(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name(name)
    _add_shape(writer, config)
    writer.add_file_type(PRECISIONS[precision][1])
    _add_tokenizer(writer, folder, config, pre)
    layers = config["num_hidden_layers"]
    for path in sorted(folder.glob("*.safetensors")):
        for tensor, values in read_tensors(path):
            module = tensor.removesuffix(".weight")
            if module == "lm_head" and config.get("tie_word_embeddings"):
                continue
            add_tensor(writer, f"{gguf_name(module, layers)}.weight", reordered(module, values, config), precision)
    close(writer)


def require_llama(config: Mapping[str, Any], folder: Path) -> None:
    """Raises AdapterError unless config.json describes a Llama that the writer covers."""
    kind = architecture_of(config)
    if kind != "LlamaForCausalLM":
        raise AdapterError(
            f"{folder.name}: a {kind} cannot be written as GGUF here; export it as merged weights and use llama.cpp's "
            "convert_hf_to_gguf.py"
        )
    if config.get("attention_bias") or config.get("mlp_bias"):
        raise AdapterError(f"{folder.name}: a Llama with biases cannot be written as GGUF here")
    for key in ("rope_scaling", "rope_parameters"):  # the second is transformers' name since 5.0
        said = config.get(key) or {}
        if (said.get("rope_type") or said.get("type") or "default") != "default":
            raise AdapterError(f"{folder.name}: its {key} ({said}) cannot be written as GGUF here")


def pre_tokenizer(tokenizer: Mapping[str, Any]) -> str:
    """llama.cpp's name of how a tokenizer.json splits text before its merges (`src/llama-vocab.cpp` there).

    Raises:
        AdapterError: it is none of those known here.
    """
    steps = tokenizer.get("pre_tokenizer") or {}
    parts = steps.get("pretokenizers", [steps])
    if tokenizer["model"]["type"] != "BPE" or tokenizer.get("normalizer"):
        raise AdapterError("its tokenizer is no byte-level BPE; only those can be written as GGUF here")
    last = parts[-1]
    if last.get("type") == "ByteLevel" and last.get("use_regex") and not last.get("add_prefix_space"):
        if len(parts) == 1:
            return "gpt-2"
        if len(parts) == 2 and parts[0] in DIGITS:
            return "smollm"
    raise AdapterError(f"its tokenizer splits text in a way that is not known here: {json.dumps(parts)[:300]}")


def _add_shape(writer: gguf.GGUFWriter, config: Mapping[str, Any]) -> None:
    heads, key_heads = heads_of(config)
    rope = config.get("rope_parameters") or config
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_heads)
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: Mapping[str, Any], pre: str) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
    names = {number: token for token, number in tokenizer["model"]["vocab"].items()}
    names |= {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    numbers = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in numbers])
    writer.add_token_types([_token_type(number, names, special) for number in numbers])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    if config.get("bos_token_id") is not None:
        writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(_first(config["eos_token_id"]))
    if config.get("pad_token_id") is not None:
        writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)  # the chat template writes every special token itself
    writer.add_chat_template(TRAINING_MARKS.sub("", _template(folder)))


def _template(folder: Path) -> str:
    """The chat template; older models have it in tokenizer_config.json."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    settings = folder / "tokenizer_config.json"
    found = json.loads(settings.read_text(encoding="utf-8")).get("chat_template") if settings.is_file() else None
    if not isinstance(found, str):
        raise AdapterError(f"{folder.name}: it has no chat template; train on an instruct model")
    return found


def _token_type(number: int, names: Mapping[int, str], special: set[int]) -> gguf.TokenType:
    if number in special:
        return gguf.TokenType.CONTROL
    return gguf.TokenType.NORMAL if number in names else gguf.TokenType.UNUSED


def _first(tokens: int | list[int]) -> int:
    return tokens if isinstance(tokens, int) else tokens[0]
