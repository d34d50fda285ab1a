"""SFT on a CPU, without what TRL, PyTorch and the C library do for other machines. The result is the same.

Loss: TRL works through the vocabulary in tiles and computes each twice, which saves a GPU's memory. Without Triton it
does so for every token of a batch, padding and prompts included (trl 1.16, `trainer/utils.py`, `compact` in
`add_fused_lm_head`); on a CPU that is a third of a step of a small model. `answer_loss` computes logits only for the
tokens that carry loss.

Packing: TRL joins the rows of a batch into one, as kernels for sequences of different lengths want it. A CPU has no
such kernels: there the attention of one row of 8 x 512 tokens computes 8 times as much as that of 8 rows of 512
(trl 1.16, `trainer/sft_trainer.py`, `padding_free`). `PackedRows` keeps each packed row a row of its own.

Attention: in bfloat16 and on short rows, PyTorch's fused attention is slower than plain products, most of all in its
backward pass (torch 2.13); on rows of 512 tokens it is faster.

Memory: the C library gives a step's memory back to the kernel after each step, which then clears it again.
"""

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from train.model.loss_mask import IGNORED

MOST_LOGITS = 2**26
"""Most logits that a batch computes at once: 256 MiB in float32, and as much again for their gradient."""

LONGEST_PLAIN = 256
"""Most tokens of a row for which attention by plain products is the faster one in bfloat16."""

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of `mallopt`, as malloc.h numbers them."""


def use_plain_attention(model: PreTrainedModel, longest: int) -> None:
    """Let a model that computes in bfloat16 on a CPU compute attention by plain products, if rows are short.

    Args:
        longest: the number of tokens of the longest row, padding included.
    """
    if model.device.type == "cpu" and model.dtype is torch.bfloat16 and longest <= LONGEST_PLAIN:
        model.set_attn_implementation("eager")


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees for its next allocation; only glibc knows how."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_TRIM_THRESHOLD, -1)
        mallopt(M_TOP_PAD, 2**28)
        mallopt(M_MMAP_MAX, 0)


def fits(model: PreTrainedModel, labels: torch.Tensor) -> bool:
    """Return whether `answer_loss` can be used: a CPU, few enough logits, and a head that is one linear layer."""
    if labels.device.type != "cpu" or not _has_linear_head(model):
        return False
    return 0 < int((labels[:, 1:] != IGNORED).sum()) * model.config.get_text_config().vocab_size <= MOST_LOGITS


def answer_loss(
    model: torch.nn.Module, inputs: dict[str, Any], learnt: int | torch.Tensor | None
) -> tuple[torch.Tensor, float]:
    """Return the mean negative log-likelihood (nats) of the tokens that carry loss, and the accuracy on them.

    Args:
        model: the model being trained, with its adapter; `fits` holds for the model inside.
        inputs: a batch of TRL's collator, with `labels`; these are shifted here.
        learnt: the number of tokens to divide by, over all batches of a step; None for those of this batch.
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
    """Return the model without PEFT's wrapper; its layers keep their adapters."""
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(bare, PreTrainedModel)
    return bare


@dataclass
class PackedRows(DataCollatorForLanguageModeling):
    """TRL's collator with positions that restart at each conversation; padding tokens are at position 0, too."""

    return_position_ids: bool = True

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return `input_ids`, `labels` and `position_ids`, each of shape (rows, tokens of the longest row)."""
        batch = super().torch_call(examples)
        del batch["attention_mask"]  # without it, transformers keeps conversations apart by their positions
        batch["labels"][batch["position_ids"] == 0] = IGNORED
        return batch


def _has_linear_head(model: PreTrainedModel) -> bool:
    """Return whether logits are the head's product with the last hidden states and nothing else."""
    plain = not any(getattr(model.config, name, None) for name in ("final_logit_softcapping", "logits_scaling"))
    return plain and isinstance(model.get_output_embeddings(), torch.nn.Linear) and model.base_model is not model
