"""top-k and top-p on a CPU without sorting the vocabulary.

vLLM sorts all logits of every request at every step, which on a CPU takes longer than a small model's own work (vllm
0.32, v1/sample/ops/topk_topp_sampler.py). The likeliest few hundred tokens nearly always hold the whole nucleus; only
these are sorted, and a row with a larger nucleus goes through vLLM's own function. The distribution stays the same.
"""

import importlib
import logging
from collections.abc import Callable

import torch

MODULE = "vllm.v1.sample.ops.topk_topp_sampler"
FUNCTION = "apply_top_k_top_p"
CANDIDATES = 256
"""Number of likeliest tokens that are sorted."""

Filter = Callable[[torch.Tensor, torch.Tensor | None, torch.Tensor | None], torch.Tensor]
"""Logits (rows, vocabulary), k and p by row or None; returns logits that are -inf for what may not be drawn."""

logger = logging.getLogger("vllm.understudy_cpu_lora")


def install() -> None:
    """Makes vLLM use `filtered`; call it in the worker. May be called again."""
    module = importlib.import_module(MODULE)
    original = getattr(module, FUNCTION, None)
    if original is None:
        logger.warning("Sampling is slow on this CPU: vLLM has no %s in %s.", FUNCTION, MODULE)
    elif not hasattr(original, "_understudy"):
        replaced = filtered(original)
        replaced._understudy = True  # pyright: ignore[reportFunctionMemberAccess]
        setattr(module, FUNCTION, replaced)


def filtered(original: Filter) -> Filter:
    """Returns a filter equal to `original`, which it calls for rows that need more than `CANDIDATES` tokens."""

    def apply(logits: torch.Tensor, k: torch.Tensor | None, p: torch.Tensor | None) -> torch.Tensor:
        size = logits.shape[-1]
        if p is None or size <= CANDIDATES:
            return original(logits, k, p)
        limits = torch.full_like(p, size) if k is None else k.to(p.dtype)
        values, index = logits.topk(CANDIDATES, dim=-1)
        ranks = torch.arange(CANDIDATES, dtype=p.dtype, device=p.device)
        limited = limits <= CANDIDATES
        shares = logits.softmax(-1).gather(1, index).masked_fill(ranks >= limits[:, None], 0)
        values = values.masked_fill(ranks >= limits[:, None], -torch.inf)
        shares = torch.where(limited[:, None], shares / shares.sum(-1, keepdim=True), shares)
        everything = p >= 1
        keep = (shares.cumsum(-1) - shares < p[:, None]) | everything[:, None]
        whole = everything & (limits >= size)
        enough = limited | ((limits >= size) & ~keep[:, -1])
        result = torch.full_like(logits, -torch.inf).scatter_(1, index, values.masked_fill(~keep, -torch.inf))
        if whole.any():
            result[whole] = logits[whole]
        larger = ~(enough | whole)
        if larger.any():
            result[larger] = original(logits[larger], None if k is None else k[larger], p[larger])
        return result

    return apply
