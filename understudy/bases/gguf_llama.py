"""Reads a GGUF file of a Llama model and writes it as a folder that transformers and vLLM load.

GGUF: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Weights are dequantised to bfloat16. Nothing but
numpy computes, so the same file gives the same bytes on every machine.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from understudy.errors import BaseModelError

if TYPE_CHECKING:
    from gguf import GGUFReader
    from tokenizers import Tokenizer

Progress = Callable[[int, int], None]
"""Called with (tensors done, tensors in all)."""

BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
CONTROL = 3
"""GGUF's token type of special tokens."""


def convert(source: Path, out: Path, *, sampling: dict[str, Any], on_progress: Progress) -> None:
    """Writes config, weights, tokenizer and generation_config of the GGUF file `source` to the folder `out`.

    Args:
        sampling: sampling parameters for generation_config.json, as transformers names them.

    Raises:
        BaseModelError: the file is no GGUF of a Llama with a byte-level BPE tokenizer, or its tokenizer does not come
            out as it went in.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(source)
    except (OSError, ValueError, KeyError) as error:
        raise BaseModelError(f"{source.name}: not a GGUF file ({error})") from None
    if (architecture := _field(reader, "general.architecture")) != "llama":
        raise BaseModelError(f"{source.name}: its architecture is {architecture}; only llama can be read")
    _write_json(out / "config.json", _config(reader))
    _write_tokenizer(reader, out)
    special = {name: _field(reader, f"tokenizer.ggml.{name}") for name in ("bos_token_id", "eos_token_id")}
    padding = _field(reader, "tokenizer.ggml.padding_token_id")
    _write_json(out / "generation_config.json", {**special, "pad_token_id": padding, **sampling})
    _write_weights(reader, out / "model.safetensors", on_progress)


def _field(reader: "GGUFReader", name: str) -> Any:
    field = reader.get_field(name)
    if field is None:
        raise BaseModelError(f"the GGUF file does not say {name}")
    return field.contents()


def _config(reader: "GGUFReader") -> dict[str, Any]:
    heads = _field(reader, "llama.attention.head_count")
    hidden = _field(reader, "llama.embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": _field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": _field(reader, "tokenizer.ggml.eos_token_id"),
        "pad_token_id": _field(reader, "tokenizer.ggml.padding_token_id"),
        "dtype": "bfloat16",
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": _field(reader, "llama.feed_forward_length"),
        "max_position_embeddings": _field(reader, "llama.context_length"),
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": _field(reader, "llama.block_count"),
        "num_key_value_heads": _field(reader, "llama.attention.head_count_kv"),
        "rms_norm_eps": round(_field(reader, "llama.attention.layer_norm_rms_epsilon"), 12),
        "rope_theta": _field(reader, "llama.rope.freq_base"),
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        "vocab_size": _field(reader, "llama.vocab_size"),
    }


def _write_weights(reader: "GGUFReader", path: Path, on_progress: Progress) -> None:
    from safetensors import TensorSpec, serialize_file

    tensors = dict(sorted(_tensors(reader, on_progress)))  # a specification holds an address: they must stay alive
    specifications = {
        name: TensorSpec(
            dtype="bfloat16", shape=list(values.shape), data_ptr=values.ctypes.data, data_len=values.nbytes
        )
        for name, values in tensors.items()
    }
    serialize_file(specifications, str(path), metadata={"format": "pt"})
    path.chmod(0o644)  # it is written for its owner only


def _tensors(reader: "GGUFReader", on_progress: Progress) -> Iterator[tuple[str, np.ndarray]]:
    """Names in transformers and values, bfloat16 as 16-bit integers."""
    from gguf.quants import dequantize

    heads = {
        "attn_q": _field(reader, "llama.attention.head_count"),
        "attn_k": _field(reader, "llama.attention.head_count_kv"),
    }
    for number, tensor in enumerate(reader.tensors, 1):
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        part, name = _name(tensor.name)
        if part in heads:
            values = _interleave_halves(values, heads[part])
        yield name, _bfloat16(values)
        on_progress(number, len(reader.tensors))


def _name(name: str) -> tuple[str, str]:
    """The part of the model and the name in transformers of a tensor of llama.cpp's."""
    stem, _, kind = name.rpartition(".")
    if stem in WHOLE:
        return stem, f"{WHOLE[stem]}.{kind}"
    layer, _, part = stem.removeprefix("blk.").partition(".")
    if part not in BLOCK:
        raise BaseModelError(f"the GGUF file has a tensor {name}, which no Llama has")
    return part, f"model.layers.{layer}.{BLOCK[part]}.{kind}"


def _interleave_halves(values: np.ndarray, heads: int) -> np.ndarray:
    """Undoes the row order in which llama.cpp keeps queries and keys (its rotation pairs neighbours, not halves)."""
    rows = values.shape[0] // heads // 2
    return values.reshape(heads, rows, 2, *values.shape[1:]).swapaxes(2, 1).reshape(values.shape)


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper 16 bits of float32 values, rounded to nearest even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _write_tokenizer(reader: "GGUFReader", out: Path) -> None:
    tokens: list[str] = _field(reader, "tokenizer.ggml.tokens")
    kinds: list[int] = _field(reader, "tokenizer.ggml.token_type")
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    tokenizer = build_tokenizer(
        tokens, _field(reader, "tokenizer.ggml.merges"), special, _field(reader, "tokenizer.ggml.pre")
    )
    tokenizer.save(str(out / "tokenizer.json"))
    named = {
        "bos_token": tokens[_field(reader, "tokenizer.ggml.bos_token_id")],
        "eos_token": tokens[_field(reader, "tokenizer.ggml.eos_token_id")],
        "pad_token": tokens[_field(reader, "tokenizer.ggml.padding_token_id")],
        "unk_token": tokens[_field(reader, "tokenizer.ggml.unknown_token_id")],
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": _field(reader, "tokenizer.ggml.add_bos_token"),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": _field(reader, "llama.context_length"),
        **named,
    }
    _write_json(out / "tokenizer_config.json", settings)
    (out / "chat_template.jinja").write_text(_field(reader, "tokenizer.chat_template"), encoding="utf-8")


def build_tokenizer(tokens: list[str], merges: list[str], special: list[str], pre: str) -> "Tokenizer":
    """A byte-level BPE tokenizer with the vocabulary and the pre-tokenizer of a GGUF file.

    `smollm` (src/llama-vocab.cpp of llama.cpp): each digit alone, then GPT-2's expression.

    Raises:
        BaseModelError: another pre-tokenizer, or ids that differ from the file's.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    if pre != "smollm":
        raise BaseModelError(f"the GGUF file's pre-tokenizer is {pre!r}; only 'smollm' can be read")
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={token: n for n, token in enumerate(tokens)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    _check_tokenizer(tokenizer, tokens, special)
    return tokenizer


def _check_tokenizer(tokenizer: "Tokenizer", tokens: list[str], special: list[str]) -> None:
    """Every id means the file's token, special tokens are one token, digits stand alone, and text survives."""
    if tokenizer.get_vocab_size() != len(tokens):
        raise BaseModelError(f"the tokenizer has {tokenizer.get_vocab_size()} tokens, the GGUF file {len(tokens)}")
    wrong = [token for n, token in enumerate(tokens) if tokenizer.token_to_id(token) != n]
    wrong += [token for token in special if len(tokenizer.encode(token).ids) != 1]
    sample = "Room 1024, it's 7:05\u202fpm - naïve café, 東京 \U0001f600\n\n\tdef f(x):  return x**2"
    encoded = tokenizer.encode(sample)
    digits = [t for t in encoded.tokens if any(c.isdigit() for c in t)]
    if wrong or tokenizer.decode(encoded.ids) != sample or any(len(token.lstrip("Ġ")) != 1 for token in digits):
        raise BaseModelError(f"the tokenizer does not come out of the GGUF file as it went in: {wrong[:3] or sample!r}")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
