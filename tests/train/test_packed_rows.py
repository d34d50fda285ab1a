"""Packed rows keep to themselves on a CPU, and no conversation sees another one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from train.answer_loss import answer_loss
from train.hyperparameters import settled
from train.model.load import load_tokenizer
from train.model.tokenize import IGNORED, token_rows, training_rows
from train.packed_rows import PackedRows
from train.sft_trainer import build_trainer
from understudy.bases import resolve_base
from understudy.config.training import Training
from understudy.data.examples import Example, Message

PACKED = [
    {"input_ids": [5, 6, 7, 8, 9], "labels": [5, 6, 7, 8, 9], "seq_lengths": [3, 2]},
    {"input_ids": [1, 2, 3], "labels": [1, 2, 3], "seq_lengths": [3]},
]


def test_each_row_stays_one_with_positions_that_begin_anew() -> None:
    batch = PackedRows(pad_token_id=0)(PACKED)
    assert batch.keys() == {"input_ids", "labels", "position_ids"}
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [1, 2, 3, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7, IGNORED, 9], [IGNORED, 2, 3, IGNORED, IGNORED]]


def test_the_loss_is_that_of_joined_rows_and_of_rows_alone(tmp_path: Path) -> None:
    base = resolve_base("tiny")
    tokenizer = load_tokenizer(base)
    rows = training_rows([row(f"Write about a {thing}.", f"Ahoy, a {thing}!" * n) for n, thing in enumerate(THINGS, 1)])
    settings: dict[str, Any] = {"method": "lora", "precision": "fp32", "epochs": 1, "batch_size": 8, "max_length": 64}
    training = settled(Training(**settings, packing=True), base, len(rows))
    trainer = build_trainer(base, tokenizer, training, rows, tmp_path)
    assert isinstance(trainer.data_collator, PackedRows)
    packed = list(trainer.train_dataset)  # pyright: ignore[reportArgumentType]
    assert 1 < len(packed) < len(rows)
    assert isinstance(trainer.model, torch.nn.Module)
    apart, _ = answer_loss(trainer.model, trainer.data_collator(packed), None)
    joined = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(packed)
    together, _ = answer_loss(trainer.model, joined, None)
    alone, learnt = 0.0, 0
    for tokens in token_rows(rows, tokenizer):
        batch = {"input_ids": torch.tensor([tokens.input_ids]), "labels": torch.tensor([tokens.labels])}
        count = sum(label != IGNORED for label in tokens.labels)
        alone += answer_loss(trainer.model, batch, None)[0].item() * count
        learnt += count
    assert apart.item() == pytest.approx(together.item(), rel=1e-5)
    assert apart.item() == pytest.approx(alone / learnt, rel=1e-4)


THINGS = ("kite", "lamp", "drum", "kettle", "blanket")


def row(prompt: str, answer: str) -> Example:
    return Example(messages=(Message(role="user", content=prompt), Message(role="assistant", content=answer)))
