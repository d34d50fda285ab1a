"""On a CPU the loss is TRL's own, gradients included, and packed rows stay rows of their own."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedModel
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from train.cpu import LONGEST_PLAIN, MOST_LOGITS, PackedRows, answer_loss, bare_model, fits, use_plain_attention
from train.hyperparameters import settled
from train.model.load import load_model, load_tokenizer
from train.model.loss_mask import IGNORED
from train.model.tokenize import token_rows, training_rows
from train.sft_trainer import Trainer, build_trainer
from understudy.bases import resolve_base
from understudy.config.training import Training
from understudy.data.messages import Example, Message


def row(prompt: str, answer: str) -> Example:
    return Example(messages=(Message(role="user", content=prompt), Message(role="assistant", content=answer)))


ROWS = [
    row("Tell me about a teapot.", "Arr! A teapot be a small ship for tea, matey."),
    row("Write about a hammock for a long and lazy weekend by the sea.", "Arr!"),
    row("Hello.", "Ahoy, and welcome aboard this fine vessel, which sails at dawn with whoever is awake."),
]


def built(tmp_path: Path, **settings: Any) -> tuple[Trainer, dict[str, Any]]:
    """A trainer, its model in float32 with an adapter that acts, and its first batch."""
    base = resolve_base("tiny")
    chosen = {"method": "lora", "precision": "fp32", "epochs": 1, "batch_size": 3, "max_length": 128, **settings}
    training = settled(Training.model_validate(chosen), base, len(ROWS))
    trainer = build_trainer(base, load_tokenizer(base), training, training_rows(ROWS), tmp_path)
    torch.manual_seed(0)
    for name, weight in trainer.model.named_parameters():  # pyright: ignore[reportOptionalMemberAccess]
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return trainer, next(iter(trainer.get_train_dataloader()))


def loss_and_gradients(trainer: Trainer, loss: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    model = trainer.model
    assert isinstance(model, torch.nn.Module)
    model.zero_grad()
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("settings", [{}, {"packing": True}, {"method": "full"}], ids=["lora", "packed", "full"])
@pytest.mark.parametrize("learnt", [None, 57], ids=["of this batch", "of a whole step"])
def test_loss_and_gradients_are_those_of_trl(tmp_path: Path, settings: dict[str, Any], learnt: int | None) -> None:
    trainer, batch = built(tmp_path, **settings)
    assert isinstance(trainer.model, torch.nn.Module)
    ours, _ = answer_loss(trainer.model, dict(batch), learnt)
    mine, gradients = loss_and_gradients(trainer, ours)
    theirs, expected = loss_and_gradients(
        trainer, super(Trainer, trainer).compute_loss(trainer.model, dict(batch), num_items_in_batch=learnt)
    )
    assert mine == pytest.approx(theirs, rel=1e-5)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_bf16_run_computes_in_bf16_what_trl_computes(tmp_path: Path, method: str) -> None:
    trainer, batch = built(tmp_path, method=method, precision="bf16")
    assert isinstance(trainer.model, torch.nn.Module)
    trainer.model_wrapped = trainer.model = trainer.accelerator.prepare_model(trainer.model)
    computed: set[torch.dtype] = set()
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda module, inputs, output: computed.add(output.dtype))
    mine, gradients = loss_and_gradients(trainer, trainer.compute_loss(trainer.model, dict(batch)))
    assert computed == {torch.bfloat16}
    theirs, expected = loss_and_gradients(trainer, super(Trainer, trainer).compute_loss(trainer.model, dict(batch)))
    assert mine == pytest.approx(theirs, rel=5e-3)
    assert all(gradient.dtype == torch.float32 for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert torch.cosine_similarity(gradient.flatten(), expected[name].flatten(), dim=0) > 0.98, name


@pytest.mark.parametrize(
    ("precision", "longest", "expected"),
    [("bf16", LONGEST_PLAIN, "eager"), ("bf16", LONGEST_PLAIN + 1, "sdpa"), ("fp32", 8, "sdpa")],
)
def test_short_rows_in_bf16_have_attention_by_plain_products(precision: Any, longest: int, expected: str) -> None:
    loaded = load_model(resolve_base("tiny"), Training(method="lora", precision=precision))
    use_plain_attention(loaded, longest)
    assert loaded.config._attn_implementation == expected


def test_both_kinds_of_attention_have_the_same_gradients_with_padding(tmp_path: Path) -> None:
    trainer, batch = built(tmp_path, precision="bf16")
    assert isinstance(trainer.model, torch.nn.Module)
    assert not batch["attention_mask"].all(), "rows have different lengths"
    found = {}
    for implementation in ("eager", "sdpa"):
        bare_model(trainer.model).set_attn_implementation(implementation)
        found[implementation] = loss_and_gradients(trainer, answer_loss(trainer.model, dict(batch), None)[0])
    (plain, gradients), (fused, expected) = found["eager"], found["sdpa"]
    assert plain == pytest.approx(fused, rel=5e-3)
    for name, gradient in gradients.items():
        assert torch.cosine_similarity(gradient.flatten(), expected[name].flatten(), dim=0) > 0.98, name


def test_a_run_takes_it_and_writes_down_how_often_the_likeliest_token_was_right(tmp_path: Path) -> None:
    trainer, _ = built(tmp_path)
    asked: list[int] = []
    assert isinstance(trainer.model, PeftModel)
    head = trainer.model.get_base_model().get_submodule("lm_head")
    head.register_forward_hook(lambda module, inputs, logits: asked.append(logits.numel() // logits.shape[-1]))
    trainer.train()
    batch = next(iter(trainer.get_train_dataloader()))
    assert asked == [int((batch["labels"][:, 1:] != IGNORED).sum())]
    assert any(0 <= entry.get("mean_token_accuracy", -1) <= 1 for entry in trainer.state.log_history)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return load_model(resolve_base("tiny"), Training(method="lora", precision="fp32"))


LEARNT = torch.tensor([[IGNORED, 1, 2]])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (LEARNT, True),
        (torch.full((1, 3), IGNORED), False),
        (torch.ones(1, MOST_LOGITS // 1000, dtype=torch.long), False),
        (LEARNT.to("meta"), False),
    ],
    ids=["fits", "nothing is learnt", "too many logits", "not on a CPU"],
)
def test_else_the_loss_is_left_to_trl(model: PreTrainedModel, labels: torch.Tensor, expected: bool) -> None:
    assert fits(model, labels) is expected


def test_a_model_that_does_more_than_a_head_is_left_to_trl(model: PreTrainedModel) -> None:
    headless = bare_model(model).base_model
    assert isinstance(headless, PreTrainedModel)
    assert not fits(headless, LEARNT)
    with patch.object(model.config, "final_logit_softcapping", 30.0, create=True):
        assert not fits(model, LEARNT)


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
