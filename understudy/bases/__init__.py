"""Bases: from a name in the settings to a model that transformers and vLLM can load."""

from understudy.bases.base import (
    HUB_TIMEOUT,
    TINY_DIR,
    Base,
    adapter_pin,
    base_revision,
    context_length,
    pinned,
    read_model_config,
    read_safetensors_header,
    require_base,
    resolve_base,
    weight_shapes,
)
from understudy.bases.catalogue import CATALOGUE, DEFAULT, KnownBase, known_base, largest_that_fits
from understudy.config.settings import SMOLLM2, TINY

__all__ = [
    "CATALOGUE",
    "DEFAULT",
    "HUB_TIMEOUT",
    "SMOLLM2",
    "TINY",
    "TINY_DIR",
    "Base",
    "KnownBase",
    "adapter_pin",
    "base_revision",
    "context_length",
    "known_base",
    "largest_that_fits",
    "pinned",
    "read_model_config",
    "read_safetensors_header",
    "require_base",
    "resolve_base",
    "weight_shapes",
]
