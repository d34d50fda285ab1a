"""Static validation: a table of adapters that vLLM would load or choke on, each refused for its own reason."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.validate import validate
from tests.adapters_made_here import make_adapter, tensors
from tests.conftest import SHARED
from understudy.adapters import CONFIG, WEIGHTS
from understudy.bases import resolve_base

A, B = tensors()
"""Names of the two matrices."""


def problems(folder: Path) -> list[str]:
    return validate(folder, resolve_base("embedded"), max_rank=64)


def test_a_sound_adapter_has_no_problems(tmp_path: Path) -> None:
    assert problems(make_adapter(tmp_path)) == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_values_at_the_edge_of_their_type_are_finite(tmp_path: Path, dtype: type) -> None:
    weights = {name: np.full_like(value, np.finfo(dtype).max, dtype=dtype) for name, value in tensors().items()}
    assert problems(make_adapter(tmp_path, weights)) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"base_model_name_or_path": "gpt2"}, "trained on base 'gpt2'"),
        ({"base_model_name_or_path": None}, "trained on base None"),
        ({"revision": "0" * 12}, "another build of embedded"),
        ({"r": 128}, "rank 128 is over the engine's maximum 64"),
        ({"r": "four"}, "rank 'four' is not a positive whole number"),
        ({"r": True}, "rank True is not a positive whole number"),
        ({"r": 8}, "has shape .* rank 8 on this base needs"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern and alpha_pattern are not served"),
        ({"alpha_pattern": {"q_proj": 2}}, "rank_pattern and alpha_pattern are not served"),
        ({"use_dora": True}, "DoRA is not served"),
        ({"lora_bias": True}, "LoRA bias is not served"),
        ({"bias": "all"}, "without bias only"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'; convert"),
        ({"trainable_token_indices": [1]}, "trained token embeddings"),
    ],
)
def test_a_configuration_that_cannot_be_served_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    found = problems(make_adapter(tmp_path, **changes))
    assert any(re.search(says, problem) for problem in found), found


def spoiled(value: float) -> dict[str, np.ndarray]:
    weights = tensors()
    weights[A][0, 0] = value
    return weights


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (spoiled(np.nan), "1 values that are NaN or infinite"),
        (spoiled(-np.inf), "1 values that are NaN or infinite"),
        (tensors(rank=8), "rank 4 on this base needs"),
        ({A: tensors()[A]}, "has only lora_A"),
        ({}, "it has no tensors"),
        ({**tensors(), "x": np.zeros(1, np.float32)}, "tensor x is no LoRA matrix"),
        ({n.replace("layers.0", "layers.99"): v for n, v in tensors().items()}, "the base has no module"),
        ({n: v.astype(np.float64) for n, v in tensors().items()}, "has type F64"),
        ({n: v[:, :-1].copy() for n, v in tensors().items()}, "has shape"),
    ],
)
def test_weights_that_cannot_be_served_are_refused(tmp_path: Path, weights: dict, says: str) -> None:
    found = problems(make_adapter(tmp_path, weights))
    assert any(says in problem for problem in found), found


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def junk(path: Path) -> None:
    path.write_bytes(b"\x80\x04 this is a pickle, not safetensors")


def lying_header(path: Path) -> None:
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize(
    ("spoil", "says"), [(cut, "cut short"), (junk, "not a safetensors file"), (lying_header, "not a safetensors file")]
)
def test_a_broken_weights_file_is_refused(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    folder = make_adapter(tmp_path)
    spoil(folder / WEIGHTS)
    assert any(says in problem for problem in problems(folder))


def test_a_folder_without_an_adapter_is_one_problem(tmp_path: Path) -> None:
    assert len(problems(tmp_path)) == 1
    (make_adapter(tmp_path) / CONFIG).write_text("[]")
    assert "not an object" in problems(tmp_path)[0]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    found = problems(make_adapter(tmp_path, spoiled(np.nan), use_dora=True, base_model_name_or_path="gpt2"))
    assert len(found) == 3


def test_a_real_adapter_of_another_base_is_refused() -> None:
    folder = SHARED / "adapters" / "gpt2-tigrinya"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    found = problems(folder)
    assert "it was trained on base 'gpt2', but 'embedded' is served" in found
    assert any("the base has no module" in problem for problem in found)
