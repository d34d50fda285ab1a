"""The loss of SFT on a CPU: logits are computed for the tokens that are learnt, and for no others.

TRL's loss works through the vocabulary in tiles and computes each twice, which saves a GPU's memory. Where there is no
Triton it does so for every token of a batch, padding and prompts as well (trl 1.16, `trainer/utils.py`, `compact` in
`add_fused_lm_head`), and on a CPU that is a third of a step of a small model.
"""

from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from train.model.tokenize import IGNORED

MOST_LOGITS = 2**26
"""Logits up to which a batch has them all at once: 256 MiB, and as much again for their gradient."""


def fits(model: PreTrainedModel, labels: torch.Tensor) -> bool:
    """Whether this batch's loss can be had this way: on a CPU, from a model whose head is one linear layer."""
    if labels.device.type != "cpu" or not _headed(model):
        return False
    return 0 < int((labels[:, 1:] != IGNORED).sum()) * model.config.get_text_config().vocab_size <= MOST_LOGITS


def answer_loss(
    model: torch.nn.Module, inputs: dict[str, Any], learnt: int | torch.Tensor | None
) -> tuple[torch.Tensor, float]:
    """The mean negative log-likelihood (nats) of the learnt tokens, and the share of them that is the likeliest.

    Args:
        model: what is trained, adapter and all; `fits` has said yes to the model inside.
        inputs: a batch of TRL's collator, with `labels`; these are shifted here.
        learnt: tokens to divide by, of all batches of a step; None for those of this batch.
    """
    bare = bare_model(model)
    wanted = inputs["labels"][:, 1:]
    counted = wanted != IGNORED
    rest = {name: value for name, value in inputs.items() if name != "labels"}
    hidden = bare.base_model(**rest, use_cache=False)[0][:, :-1][counted]
    head = bare.get_output_embeddings()
    assert head is not None
    logits, wanted = head(hidden).float(), wanted[counted]
    loss = cross_entropy(logits, wanted, reduction="sum") / (len(wanted) if learnt is None else learnt)
    with torch.no_grad():
        right = (logits.argmax(-1) == wanted).float().mean().item()
    return loss, right


def bare_model(model: torch.nn.Module) -> PreTrainedModel:
    """The model without PEFT's wrapper; its layers keep their adapters."""
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(bare, PreTrainedModel)
    return bare


def _headed(model: PreTrainedModel) -> bool:
    """Whether logits are the head's product with the last hidden states and nothing else."""
    plain = not any(getattr(model.config, name, None) for name in ("final_logit_softcapping", "logits_scaling"))
    return plain and isinstance(model.get_output_embeddings(), torch.nn.Linear) and model.base_model is not model
