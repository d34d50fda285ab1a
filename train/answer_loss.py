"""The loss of SFT on a CPU: only where an answer is learnt are logits computed.

TRL's loss works through the vocabulary in tiles and computes each twice, which saves a GPU's memory. Where there is no
Triton it does so for every token of a batch, padding and prompts as well (trl 1.16, `trainer/utils.py`, `compact` in
`add_fused_lm_head`), and on a CPU that is a third of a step of a small model.
"""

import inspect
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from train.preflight import IGNORED

MOST_LOGITS = 2**25
"""Logits up to which a batch has them all at once: 128 MiB, and as much again for their gradient."""

KEEP = "logits_to_keep"
"""The argument by which models of transformers are told for which positions logits are wanted."""


def answer_positions(labels: torch.Tensor) -> torch.Tensor:
    """The positions of (rows, tokens) whose next token is learnt in any row, in order."""
    return (labels[:, 1:] != IGNORED).any(dim=0).nonzero()[:, 0]


def fits(model: torch.nn.Module, labels: torch.Tensor, vocabulary: int) -> bool:
    """Whether this batch's loss can be had this way: on a CPU, from a model with `KEEP`, with few logits."""
    if labels.device.type != "cpu" or KEEP not in inspect.signature(model.forward).parameters:
        return False
    return 0 < len(answer_positions(labels)) * len(labels) * vocabulary <= MOST_LOGITS


def answer_loss(
    model: torch.nn.Module, inputs: dict[str, Any], learnt: int | torch.Tensor | None
) -> tuple[torch.Tensor, float]:
    """The mean negative log-likelihood (nats) of the learnt tokens, and the share of them that is the likeliest.

    Args:
        inputs: a batch of TRL's collator, with `labels`; these are shifted here.
        learnt: tokens to divide by, of all batches of a step; None for those of this batch.
    """
    labels = inputs["labels"]
    positions = answer_positions(labels)
    rest = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**rest, use_cache=False, **{KEEP: positions}).logits.float()
    wanted = labels[:, positions + 1]
    counted = wanted != IGNORED
    logits, wanted = logits[counted], wanted[counted]
    loss = cross_entropy(logits, wanted, reduction="sum") / (len(wanted) if learnt is None else learnt)
    with torch.no_grad():
        right = (logits.argmax(-1) == wanted).float().mean().item()
    return loss, right
