"""A model that answers, and that tells how likely it finds an answer: base, with few-shot examples, or adapted."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import Cache, GenerationConfig, PreTrainedTokenizerBase

from train.model import load_model, load_served, load_tokenizer, quiet, stop_tokens
from train.preflight import IGNORED, TokenRow
from train.shared_prefix import read, shared_before_answers, shared_by, spread
from understudy.bases import Base
from understudy.bases.sampling import base_sampling
from understudy.proof import Said
from understudy.training import Training

Chat = Sequence[dict[str, str]]
DEFAULT_CONTEXT = 2048
BATCH = 16
"""Prompts that are sampled for at once; another number draws others."""
MEMORY = 16384
"""Tokens of prompts and answers that are in memory at once."""
PIECE = 32
"""Tokens after which those answers go on together that have not ended."""


SEED = 0


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws within the block follow from `seed`, and change nothing outside it."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


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
        found = base_sampling(base)
        self._own: dict[str, Any] = {"do_sample": True, "top_k": 0, **found} if found else {}
        self.model = PeftModel.from_pretrained(model, str(adapter)) if adapter else model
        self.model.eval()

    def answers(
        self, chats: Sequence[Chat], *, max_tokens: int, with_adapter: bool = True, greedy: bool = False
    ) -> list[Said]:
        """Answers in the order of `chats`, sampled as the base wants it with a fixed seed; greedy if it does not say.

        They are made in pieces, each twice as long as the one before, so that few wait for the longest one.
        """
        prompts = [self._prompt(chat) for chat in chats]
        said: list[list[int]] = [[] for _ in prompts]
        going, piece = list(range(len(prompts))), PIECE
        drawn = {} if greedy else self._own
        with self._voice(with_adapter), seeded(SEED):
            while going:
                piece = min(piece, max_tokens - len(said[going[0]]))
                so_far = [prompts[n] + said[n] for n in going]
                at_once = max(1, MEMORY // (max(map(len, so_far)) + piece))
                for start in range(0, len(going), at_once):
                    more = self._generate(so_far[start : start + at_once], piece, **drawn)
                    for n, tokens in zip(going[start : start + at_once], more, strict=True):
                        said[n] += tokens
                going = [n for n in going if len(said[n]) < max_tokens and self._stops.isdisjoint(said[n])]
                piece *= 2
        return [self._said(tokens) for tokens in said]

    def samples(self, chats: Sequence[Chat], *, temperature: float, max_tokens: int, seed: int) -> list[Said]:
        """Answers drawn at `temperature` (above 0), as vLLM draws them with this base unless told otherwise.

        In the order of `chats`; a chat that is there several times is drawn for several times. The same chats and
        seed give the same answers on the same machine.
        """
        drawn = {"do_sample": True, "top_k": 0, "top_p": 1.0, **self._own, "temperature": temperature}
        prompts = [self._prompt(chat) for chat in chats]
        said: list[Said] = []
        with self._voice(True), seeded(seed):
            for start in range(0, len(prompts), BATCH):
                said += map(self._said, self._generate(prompts[start : start + BATCH], max_tokens, **drawn))
        return said

    def losses(self, rows: Sequence[TokenRow], *, with_adapter: bool = True) -> list[float]:
        """Mean negative log-likelihood (nats per token that carries loss) of each row."""
        with self._voice(with_adapter):
            shared = read(self.model, shared_before_answers(rows))
            return [self._loss(row, shared) for row in rows]

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

    def _generate(self, prompts: Sequence[list[int]], tokens: int, **drawn: float) -> list[list[int]]:
        """What follows each prompt, up to so many tokens; padded after the one that stops it."""
        batch = self._batch(prompts, tokens)
        settings = GenerationConfig(
            max_new_tokens=tokens,
            eos_token_id=sorted(self._stops),
            pad_token_id=self.tokenizer.pad_token_id,
            disable_compile=True,  # which takes longer than a few dozen answers
            **{"do_sample": False, **drawn},
        )
        made = self.model.generate(**batch, generation_config=settings)  # pyright: ignore[reportCallIssue]
        return made[:, batch["input_ids"].shape[1] :].tolist()

    def _batch(self, prompts: Sequence[list[int]], tokens: int) -> dict[str, Any]:
        """The prompts for `generate`; padding comes after what they share, which is there as keys and values, too.

        `tokens` is what will be added to each.
        """
        shared = shared_by(prompts)
        cache = read(self.model, shared)
        start = len(shared) if cache is not None else 0
        batch = self.tokenizer.pad({"input_ids": [prompt[start:] for prompt in prompts]}, return_tensors="pt")
        ids, mask = batch["input_ids"].to(self.model.device), batch["attention_mask"].to(self.model.device)
        if cache is None:
            return {"input_ids": ids, "attention_mask": mask}
        before = torch.tensor([shared], device=ids.device).expand(len(prompts), -1)
        return {
            "input_ids": torch.cat([before, ids], dim=1),
            "attention_mask": torch.cat([torch.ones_like(before), mask], dim=1),
            "past_key_values": spread(cache, self.model.config, rows=len(prompts), room=ids.shape[1] + tokens),
        }

    def _said(self, tokens: list[int]) -> Said:
        end = next((n for n, token in enumerate(tokens) if token in self._stops), None)
        kept = tokens if end is None else tokens[:end]
        text = self.tokenizer.decode(kept, skip_special_tokens=True)
        return Said(text=str(text), stopped=end is not None, tokens=len(kept) + (end is not None), ids=tuple(kept))

    def _prompt(self, chat: Chat) -> list[int]:
        rendered = self.tokenizer.apply_chat_template(
            list(chat), tokenize=True, return_dict=True, add_generation_prompt=True
        )
        assert not isinstance(rendered, (str, list))
        return list(rendered["input_ids"])

    def _loss(self, row: TokenRow, shared: Cache | None) -> float:
        start = 0 if shared is None else shared.get_seq_length()
        ids = torch.tensor([row.input_ids[start:]], device=self.model.device)
        labels = torch.tensor(row.labels[start + 1 :], device=self.model.device)
        logits = self.model(input_ids=ids, past_key_values=shared, use_cache=shared is not None).logits[0, :-1].float()
        if shared is not None:
            shared.crop(-ids.shape[1])
        return float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED))
