"""A plugin for vLLM: mixed adapters on a CPU at nearly the speed of the base.

vLLM finds `register` by the entry point `vllm.general_plugins` and calls it in each of its processes. It tells the CPU
platform which class computes LoRA: `GroupedPunicaWrapper`, a subclass of vLLM's own that only the worker imports. It
also works around a bug with seeds (`seed`) and makes top-p and norms fast (`sampling`, `norms`).
`UNDERSTUDY_CPU_LORA=0` switches off all but the work around the bug; a vLLM that differs from the one it was written
for, the wrapper alone, with one warning.
"""

import importlib
import inspect
import logging
import os

from serve.engine.cpu_lora.seed import keep_generators

VARIABLE = "UNDERSTUDY_CPU_LORA"
WRAPPER = "serve.engine.cpu_lora.punica_wrapper.GroupedPunicaWrapper"
FASTER = ("serve.engine.cpu_lora.sampling", "serve.engine.cpu_lora.norms")
"""Imported only in the worker, because they need torch."""
VERSION = "0.32."
"""vLLM versions that the wrapper was written for."""

CLASS = "PunicaWrapperCPU"
SIGNATURES = {
    "__init__": ("self", "max_num_batched_tokens", "max_batches", "device", "kwargs"),
    "update_metadata": ("self", "mapping", "lora_index_to_id", "max_loras", "vocab_size", "kwargs"),
    "add_shrink": ("self", "y", "x", "lora_a_stacked", "scale", "kwargs"),
    "add_expand": ("self", "y", "x", "lora_b_stacked", "output_slices", "offset_start", "add_inputs", "kwargs"),
    "add_lora_embedding": ("self", "y", "x", "lora_b_stacked", "add_inputs", "kwargs"),
    "add_lora_linear": (
        *("self", "y", "x", "lora_a_stacked", "lora_b_stacked", "scale", "output_slices", "buffer", "kwargs"),
    ),
    "add_lora_logits": ("self", "y", "x", "lora_a_stacked", "lora_b_stacked", "scale", "buffer", "kwargs"),
    "apply_lora_full_linear": ("self", "y", "x", "weight_stacked", "bias_stacked", "module_enabled"),
    "_select_full_linear_output": ("self", "y", "adapter_y", "bias_stacked", "module_enabled"),
}
"""The parameters of every method that the wrapper overrides or calls."""

logger = logging.getLogger("vllm.understudy_cpu_lora")


def register() -> None:
    """Makes vLLM's CPU platform use our wrapper; may be called again. Other platforms stay as they are."""
    platforms = importlib.import_module("vllm.platforms")
    platform = type(platforms.current_platform)
    if not platforms.current_platform.is_cpu() or hasattr(platform, "_understudy_original"):
        return
    original = platform.get_punica_wrapper
    platform._understudy_original = original
    platform.get_punica_wrapper = classmethod(lambda cls: _wrapper(original()))


def _wrapper(original: str) -> str:
    """Returns the name of the class that computes LoRA: ours if it fits vLLM's own.

    vLLM calls it in the worker, while it loads the model.
    """
    keep_generators()
    if os.environ.get(VARIABLE, "1").lower() in ("0", "false", "no", "off"):
        return original
    for faster in FASTER:
        importlib.import_module(faster).install()
    module, _, name = original.rpartition(".")
    why = "" if name == CLASS else f"{original} is not {CLASS}"
    why = why or unfit(importlib.import_module("vllm").__version__, getattr(importlib.import_module(module), name))
    if why:
        logger.warning("Adapters run on vLLM's own CPU path, not on Understudy's faster one: %s.", why)
        return original
    return WRAPPER


def unfit(version: str, wrapper: type) -> str:
    """Why our wrapper does not fit vLLM `version` and its class `wrapper`; empty if it does."""
    if not version.startswith(VERSION):
        return f"vLLM is {version}, not {VERSION}x"
    for name, expected in SIGNATURES.items():
        method = getattr(wrapper, name, None)
        found = tuple(inspect.signature(method).parameters) if method else None
        if found != expected:
            return f"{wrapper.__name__}.{name} has parameters {found}, not {expected}"
    return ""
