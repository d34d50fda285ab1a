"""Loads a base for training (quantised or not) or as it is served, and describes its adapter."""

import logging
import os
from collections.abc import Sequence
from typing import Literal

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit, Params4bit
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from train.memory import MOST_UNPACKED
from train.model.precision import computed_in
from understudy.bases import Base, pinned
from understudy.bases.precision import serving_dtype
from understudy.config.training import Training
from understudy.errors import BaseModelError

REPACKS = "support_avx512bf16_for_cpu"
"""The attribute that makes bitsandbytes repack a layer, see `keep_trainable`."""


def quiet() -> None:
    """Silence the libraries' progress bars and everything below an error."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """Load the base's tokenizer. Raises BaseModelError."""
    try:
        return AutoTokenizer.from_pretrained(base.location, **pinned(base))
    except (OSError, ValueError) as error:
        raise BaseModelError(f"base {base.name}: its tokenizer cannot be loaded: {first_line(error)}") from error


def load_model(base: Base, training: Training) -> PreTrainedModel:
    """Load the base, quantised for `training.method`, on this process's GPU or the CPU. Raises BaseModelError."""
    computes = computed_in(training)
    quantization = {
        "qlora": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=computes,
        ),
        "lora-8bit": BitsAndBytesConfig(load_in_8bit=True),
    }.get(training.method)
    # The steps of a full fine-tune are often too small to change a weight in bfloat16.
    dtype = torch.float32 if training.method == "full" else computes
    model = open_base(base, dtype, quantization)
    if training.method == "qlora" and device() == "cpu":
        unpack_small(model)
    return model


def unpack_small(model: torch.nn.Module) -> None:
    """Replace NF4 layers by linear ones with the same rounded weights, if these take little memory.

    The result stays the same. On a CPU, unpacking every weight in every pass takes half of a step, and the memory
    that NF4 saves is small beside what the step itself of a small model needs.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, Linear4bit)}
    if sum(layer.in_features * layer.out_features for layer in layers.values()) > MOST_UNPACKED:
        return
    for name, layer in layers.items():
        packed = layer.weight
        assert isinstance(packed, Params4bit)
        values = dequantize_4bit(packed.data, packed.quant_state).to(layer.compute_dtype)
        plain = torch.nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        plain.weight = torch.nn.Parameter(values, requires_grad=False)
        plain.bias = layer.bias
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, plain)
    for flag in ("is_loaded_in_4bit", "is_quantized"):
        setattr(model, flag, False)
    model.__dict__.pop("hf_quantizer", None)
    del model.config.quantization_config  # pyright: ignore[reportAttributeAccessIssue]


def load_served(base: Base) -> PreTrainedModel:
    """Load the base in the precision in which vLLM serves it. Raises BaseModelError."""
    dtype = serving_dtype(base, on_cpu=not torch.cuda.is_available())
    return open_base(base, torch.float32 if dtype == "float32" else torch.bfloat16)


def open_base(base: Base, dtype: torch.dtype, quantization: BitsAndBytesConfig | None = None) -> PreTrainedModel:
    """Load the base on this process's device. Raises BaseModelError."""
    try:
        return AutoModelForCausalLM.from_pretrained(
            base.location, dtype=dtype, quantization_config=quantization, device_map={"": device()}, **pinned(base)
        )
    except (OSError, ValueError) as error:
        raise BaseModelError(f"base {base.name} cannot be loaded: {first_line(error)}") from error


def keep_trainable(model: torch.nn.Module) -> None:
    """Stop bitsandbytes from repacking NF4 weights for inference when the model is evaluated between two steps.

    On a CPU with AVX512-BF16 it does so at the first forward pass in eval mode and never undoes it; gradients no
    longer flow through the repacked layers, and it only warns (bitsandbytes 0.50, nn/modules.py, Linear4bit).
    """
    for module in model.modules():
        if hasattr(module, REPACKS):
            setattr(module, REPACKS, False)


def stop_tokens(tokenizer: PreTrainedTokenizerBase, base: Base) -> set[int]:
    """Return the ids that end a served answer: the tokenizer's eos token and those of generation_config.json."""
    try:
        configured = GenerationConfig.from_pretrained(base.location, **pinned(base)).eos_token_id
    except OSError:
        configured = None
    found = [tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])]
    return {token for token in found if isinstance(token, int)}


def device() -> str:
    """Return this process's device; each GPU has a process of its own, numbered by accelerate's LOCAL_RANK."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def lora_config(training: Training) -> LoraConfig | None:
    """Return the shape of the adapter to train; None for a full fine-tune."""
    return None if training.method == "full" else lora(training, "CAUSAL_LM")


def lora(training: Training, task: Literal["CAUSAL_LM", "SEQ_CLS"], saved: Sequence[str] | None = None) -> LoraConfig:
    """Return an adapter of the shape in the settings; the modules `saved` are trained and saved as a whole."""
    return LoraConfig(
        r=training.rank,
        lora_alpha=training.alpha,
        lora_dropout=training.dropout,
        target_modules=training.targets,
        use_rslora=training.rslora,
        task_type=task,
        modules_to_save=list(saved) if saved else None,
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type's name."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
