"""The loss of given answers under a model, computed by transformers: for models that no engine serves."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from train.model.load import load_model, load_served, load_tokenizer, quiet
from train.model.loss_mask import IGNORED, TokenRow
from understudy.bases import Base
from understudy.config.training import Training


class Scorer:
    """A base, with an adapter or without, in its serving precision or quantised as it was trained."""

    def __init__(self, base: Base, adapter: Path | None, *, as_trained: Training | None = None) -> None:
        """Load the base; `as_trained` quantises it as that training did. Raises BaseModelError."""
        quiet()
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(base)
        model = load_model(base, as_trained) if as_trained else load_served(base)
        self._model = PeftModel.from_pretrained(model, str(adapter)) if adapter else model
        self._model.eval()

    def losses(self, rows: Sequence[TokenRow]) -> list[float]:
        """Return the mean negative log-likelihood of each row, in nats per token that carries loss."""
        with torch.inference_mode():
            return [self._loss(row) for row in rows]

    def _loss(self, row: TokenRow) -> float:
        ids = torch.tensor([row.input_ids], device=self._model.device)
        labels = torch.tensor(row.labels[1:], device=self._model.device)
        logits = self._model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        return float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED))
