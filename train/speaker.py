"""A model that answers, and that tells how likely it finds an answer: base, with few-shot examples, or adapted."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedTokenizerBase

from train.model import load_model, load_served, load_tokenizer, quiet, stop_tokens
from train.preflight import IGNORED, TokenRow
from understudy.bases import Base
from understudy.proof import Said
from understudy.training import Training

Chat = Sequence[dict[str, str]]
DEFAULT_CONTEXT = 2048
BATCH = 16
"""Prompts that are answered at once."""


class Speaker:
    """Base and adapter in one model, in the precision they are served in (or as they were trained)."""

    def __init__(self, base: Base, adapter: Path | None, *, as_trained: Training | None = None) -> None:
        """Loads the base; `as_trained` quantises it as that training did. Raises BaseModelError."""
        quiet()
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(base)
        self.tokenizer.padding_side = "left"
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        model = load_model(base, as_trained) if as_trained else load_served(base)
        self._stops = stop_tokens(self.tokenizer, base)
        self.model = PeftModel.from_pretrained(model, str(adapter)) if adapter else model
        self.model.eval()

    def answers(self, chats: Sequence[Chat], *, max_tokens: int, with_adapter: bool = True) -> list[Said]:
        """Greedy answers, in the order of `chats`."""
        said: list[Said] = []
        with self._voice(with_adapter):
            for start in range(0, len(chats), BATCH):
                said += self._answers(chats[start : start + BATCH], max_tokens)
        return said

    def samples(self, chats: Sequence[Chat], *, temperature: float, max_tokens: int, seed: int) -> list[Said]:
        """Answers drawn at `temperature` (above 0) from all tokens, as vLLM draws them unless told otherwise.

        In the order of `chats`; a chat that is there several times is drawn for several times. The same chats and
        seed give the same answers on the same machine.
        """
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        said: list[Said] = []
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with self._voice(True), torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            for start in range(0, len(chats), BATCH):
                said += self._answers(chats[start : start + BATCH], max_tokens, **drawn)
        return said

    def losses(self, rows: Sequence[TokenRow], *, with_adapter: bool = True) -> list[float]:
        """Mean negative log-likelihood (nats per token that carries loss) of each row."""
        with self._voice(with_adapter):
            return [self._loss(row) for row in rows]

    def text_loss(self, texts: Sequence[str], *, with_adapter: bool = True) -> list[float]:
        """The same for plain texts without a chat template, from their second token on."""
        ids = [list(self.tokenizer(text)["input_ids"]) for text in texts]  # pyright: ignore[reportArgumentType]
        return self.losses([TokenRow(row, [IGNORED, *row[1:]], 0) for row in ids], with_adapter=with_adapter)

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return int(getattr(self.model.config, "max_position_embeddings", 0)) or DEFAULT_CONTEXT

    def length(self, chat: Chat) -> int:
        """Tokens of a prompt as the model gets it."""
        return len(self._prompt(chat))

    def close(self) -> None:
        """Gives the memory back."""
        del self.model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @contextlib.contextmanager
    def _voice(self, with_adapter: bool) -> Iterator[None]:
        with torch.inference_mode():
            if isinstance(self.model, PeftModel) and not with_adapter:
                with self.model.disable_adapter():
                    yield
            else:
                yield

    def _answers(self, chats: Sequence[Chat], max_tokens: int, **drawn: float) -> list[Said]:
        batch = self.tokenizer.pad({"input_ids": [self._prompt(c) for c in chats]}, return_tensors="pt")
        batch = batch.to(self.model.device)
        stops = self._stops
        settings = GenerationConfig(
            max_new_tokens=max_tokens,
            eos_token_id=sorted(stops),
            pad_token_id=self.tokenizer.pad_token_id,
            **{"do_sample": False, **drawn},
        )
        made = self.model.generate(**batch, generation_config=settings)  # pyright: ignore[reportCallIssue]
        return [self._said(row, stops) for row in made[:, batch["input_ids"].shape[1] :].tolist()]

    def _said(self, tokens: list[int], stops: set[int]) -> Said:
        end = next((n for n, token in enumerate(tokens) if token in stops), None)
        kept = tokens if end is None else tokens[:end]
        text = self.tokenizer.decode(kept, skip_special_tokens=True)
        return Said(text=str(text), stopped=end is not None, tokens=len(kept) + (end is not None), ids=tuple(kept))

    def _prompt(self, chat: Chat) -> list[int]:
        rendered = self.tokenizer.apply_chat_template(
            list(chat), tokenize=True, return_dict=True, add_generation_prompt=True
        )
        assert not isinstance(rendered, (str, list))
        return list(rendered["input_ids"])

    def _loss(self, row: TokenRow) -> float:
        ids = torch.tensor([row.input_ids], device=self.model.device)
        labels = torch.tensor(row.labels[1:], device=self.model.device)
        logits = self.model(input_ids=ids).logits[0, :-1].float()
        return float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED))
