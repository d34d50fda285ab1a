"""Packed rows on a CPU: each keeps a row of its own in the batch.

TRL joins the rows of a batch to a single one, as kernels for sequences of different lengths want it. A CPU has none:
there the attention of one row of 8 x 512 tokens computes 8 times as much as that of 8 rows of 512 (trl 1.16,
`trainer/sft_trainer.py`, `padding_free`).
"""

from dataclasses import dataclass
from typing import Any

from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from train.model.tokenize import IGNORED


@dataclass
class PackedRows(DataCollatorForLanguageModeling):
    """TRL's collator with positions that begin anew with each conversation; each token of padding is one of its own."""

    return_position_ids: bool = True

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """`input_ids`, `labels` and `position_ids`, all of (rows, tokens of the longest)."""
        batch = super().torch_call(examples)
        del batch["attention_mask"]  # without it, transformers keeps conversations apart by their positions
        batch["labels"][batch["position_ids"] == 0] = IGNORED
        return batch
