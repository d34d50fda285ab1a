"""What `precision: auto` means on which machine."""

from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from train.model.precision import computed_in, resolved
from understudy.config.training import Training


@pytest.mark.parametrize(("bfloat16", "means"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_computes_in_bfloat16_where_it_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, bfloat16: bool, means: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("train.model.precision.cpu_has_bfloat16", lambda: bfloat16)
    assert resolved(Training()).precision == means


@pytest.mark.parametrize(("ampere", "means"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_without_bfloat16_computes_in_float16(monkeypatch: pytest.MonkeyPatch, ampere: bool, means: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: ampere)
    assert resolved(Training()).precision == means


@pytest.mark.parametrize(
    ("said", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)]
)
def test_what_was_said_stays(said: str, dtype: Any) -> None:
    training = Training.model_validate({"precision": said})
    assert resolved(training) is training
    assert computed_in(training) is dtype
