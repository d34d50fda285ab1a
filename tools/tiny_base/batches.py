"""Batches of conversations, sorted by length, and batches of random tokens to repeat."""

import re
from dataclasses import dataclass
from random import Random

import torch
from transformers import PreTrainedTokenizerFast

from tools.tiny_base.conversations import conversations
from tools.tiny_base.plan import Plan
from tools.tiny_base.tokenizer import ASSISTANT, END, PAD, USER, encode, token_pool


@dataclass(frozen=True)
class Batch:
    """Token ids (padded at the end) and the weight of the loss on each of them."""

    ids: torch.Tensor
    weights: torch.Tensor


Encoded = tuple[list[int], list[int]]


class BatchStream:
    """An endless, seeded stream of batches that can start again at any (round, position)."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, plan: Plan, seed: int) -> None:
        self.tokenizer, self.plan, self.seed = tokenizer, plan, seed
        self.pool = token_pool(tokenizer)
        self.round, self.position = 0, 0
        self._batches: list[list[Encoded]] | None = None

    def next(self) -> Batch:
        """The next batch of conversations."""
        if self._batches is not None and self.position >= len(self._batches):
            self.round, self.position, self._batches = self.round + 1, 0, None
        if self._batches is None:
            self._batches = self._round()
        batch = collated(self._batches[self.position], self.plan.prompt_weight)
        self.position += 1
        return batch

    def _round(self) -> list[list[Encoded]]:
        name = f"{self.seed}/{self.round}"
        rows = [encode(self.tokenizer, c) for c in conversations(name, self.pool, self.plan.round_conversations)]
        batches = by_length(rows, self.plan.batch_tokens)
        Random(name).shuffle(batches)
        return batches


def by_length(rows: list[Encoded], batch_tokens: int) -> list[list[Encoded]]:
    """Rows of similar length together, at most `batch_tokens` a batch with padding."""
    batches: list[list[Encoded]] = [[]]
    for row in sorted(rows, key=lambda row: len(row[0])):
        if batches[-1] and (len(batches[-1]) + 1) * len(row[0]) > batch_tokens:
            batches.append([])
        batches[-1].append(row)
    return batches


def collated(rows: list[Encoded], prompt_weight: float) -> Batch:
    """Rows as one padded batch; what the user says weighs `prompt_weight`, answers weigh 1."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    weights = torch.zeros(len(rows), width)
    for place, (row, mask) in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        weights[place, : len(row)] = torch.tensor([1.0 if answer else prompt_weight for answer in mask])
    return Batch(ids, weights)


class CopyBatches:
    """Batches of random tokens that must be repeated: they teach the model to copy what it has never seen."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, plan: Plan, seed: int) -> None:
        vocabulary = tokenizer.get_vocab()
        words = sorted(index for piece, index in vocabulary.items() if re.fullmatch("Ġ?[A-Za-z]+", piece))
        shuffled = torch.randperm(len(words), generator=torch.Generator().manual_seed(seed))
        self.tokens = torch.tensor(words)[shuffled]
        self.plan, self.seed = plan, seed
        self.marks = [vocabulary[mark] for mark in (USER, END, ASSISTANT)]
        assert vocabulary[PAD] == 0

    def at(self, step: int) -> Batch:
        """The copy batch of a step; early steps draw from few tokens, later ones from all."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        length = [4, 6, 10, 14][step % 4]
        early = step < self.plan.copy_steps
        size = int(min(len(self.tokens), 32 * 2 ** (9 * step / self.plan.copy_steps))) if early else len(self.tokens)
        rows = self.plan.batch_tokens // (2 if early else 1) // (2 * length + 4)
        picked = self.tokens[torch.randint(0, size, (rows, length), generator=generator)]
        user, end, assistant = (torch.full((rows, 1), mark) for mark in self.marks)
        ids = torch.cat([user, picked, end, assistant, picked, end], dim=1)
        weights = torch.zeros(ids.shape)
        weights[:, length + 3 :] = 1.0
        return Batch(ids, weights)
