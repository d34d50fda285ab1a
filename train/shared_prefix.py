"""What many prompts begin with alike, such as few-shot examples, is read once for all of them."""

from collections.abc import Sequence
from itertools import takewhile

import torch
from transformers import Cache, PreTrainedConfig, StaticCache
from transformers.cache_utils import DynamicLayer

from train.preflight import IGNORED, TokenRow

WORTH = 64
"""Tokens from which on reading them once is worth a call of its own."""


def shared_by(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that all prompts begin with, less than the whole of any; empty where that gains nothing."""
    return _worth(prompts, min(map(len, prompts), default=0) - 1)


def shared_before_answers(rows: Sequence[TokenRow]) -> list[int]:
    """The tokens that all rows begin with and that come before the first one that carries loss."""
    lengths = [sum(1 for _ in takewhile(IGNORED.__eq__, row.labels)) for row in rows]
    return _worth([row.input_ids for row in rows], min(lengths, default=0) - 1)


def read(model: torch.nn.Module, tokens: list[int]) -> Cache | None:
    """Keys and values of `tokens`; None for no tokens, and for a model that keeps other things (recurrent states) or
    forgets (sliding windows)."""
    if not tokens:
        return None
    device = next(model.parameters()).device
    cache = model(input_ids=torch.tensor([tokens], device=device), use_cache=True, logits_to_keep=1).past_key_values
    return cache if isinstance(cache, Cache) and all(type(layer) is DynamicLayer for layer in cache.layers) else None


def spread(cache: Cache, config: PreTrainedConfig, *, rows: int, room: int) -> Cache:
    """The same keys and values for so many rows, with room for so many tokens more: what grows is copied at each."""
    wide = StaticCache(config=config, max_cache_len=cache.get_seq_length() + room)
    for number, layer in enumerate(cache.layers):
        assert isinstance(layer, DynamicLayer)
        keys, values = (one.expand(rows, -1, -1, -1) for one in (layer.keys, layer.values) if one is not None)
        wide.update(keys, values, number)
    return wide


def _worth(rows: Sequence[list[int]], most: int) -> list[int]:
    if len(rows) < 2:
        return []
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
    shared = [column[0] for column in alike][: max(most, 0)]
    return shared if len(shared) >= WORTH else []
