"""Static validation of weights: what vLLM would load or choke on, each refused for its own reason."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from serve.adapter_files import weights_file
from tests.support.adapters import RANK, make_adapter, tensors
from tests.support.broken_adapters import (
    TINY_A,
    A,
    B,
    json_values,
    problems,
    rewritten,
    sound_lines,
    spoiled,
    with_bytes,
    with_header,
    write_safetensors,
)
from understudy.registry.adapters import WEIGHTS


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("alpha", "fits"), [(RANK, True), (2 * RANK, False)])
def test_values_must_fit_into_the_engine_s_type_after_scaling(
    tmp_path: Path, dtype: type, alpha: int, fits: bool
) -> None:
    """vLLM multiplies lora_B by alpha / rank in the model's type; what overflows there is Inf for everybody."""
    weights = {name: np.full_like(value, 65504, dtype=dtype) for name, value in tensors().items()}
    found = problems(make_adapter(tmp_path, weights, lora_alpha=alpha))
    assert found == [] if fits else "overflow in the engine: 6.55e+04 times 2" in found[0]


def test_bfloat16_is_read(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path)
    halves = {name: (value.view(np.uint32) >> 16).astype(np.uint16) for name, value in tensors().items()}
    write_safetensors(folder / WEIGHTS, halves, "BF16")
    assert problems(folder) == []
    halves[B][3, 1] = 0x7F80  # infinity
    write_safetensors(folder / WEIGHTS, halves, "BF16")
    assert problems(folder) == [f"tensor {B} has 1 values that are NaN or infinite"]


def test_large_tensors_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_file, "PIECE_BYTES", 1000)
    weights = tensors()
    weights[A][-1, -1] = weights[A][0, 0] = np.nan
    assert problems(make_adapter(tmp_path, weights)) == [f"tensor {A} has 2 values that are NaN or infinite"]


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (spoiled(np.nan), "1 values that are NaN or infinite"),
        (spoiled(-np.inf), "1 values that are NaN or infinite"),
        (tensors(rank=8), "rank 4 on this base needs"),
        ({A: tensors()[A]}, "has only lora_A"),
        ({}, "it has no tensors"),
        ({**tensors(), "x": np.zeros(1, np.float32)}, "tensor x is not a LoRA matrix"),
        ({n.replace("model.model.", "model."): v for n, v in tensors().items()}, "a foreign prefix"),
        ({n.replace("base_model.model.", ""): v for n, v in tensors().items()}, "another tool's spelling"),
        ({n.replace(".weight", ".default.weight"): v for n, v in tensors().items()}, "own name 'default'"),
        ({**tensors(), B.replace("lora_B", "lora_magnitude_vector"): np.ones(256, np.float32)}, "is not a LoRA matrix"),
        ({**tensors(), B.replace("lora_B.weight", "lora_B.bias"): np.ones(256, np.float32)}, "is not a LoRA matrix"),
        ({TINY_A: np.zeros((4, 4096), np.float32)}, "is not a LoRA matrix"),
        ({n.replace("layers.0.self_attn.q_proj", "embed_tokens"): v for n, v in tensors().items()}, "on embeddings"),
        ({n.replace("model.layers.0.self_attn.q_proj", "lm_head"): v for n, v in tensors().items()}, "output layer"),
        ({n.replace("self_attn.q_proj", "input_layernorm"): v for n, v in tensors().items()}, "has no module"),
        ({n: v.reshape(1, *v.shape) for n, v in tensors().items()}, "has shape"),
        ({n: v[:0] for n, v in tensors().items()}, "has shape"),
        ({n: v.T.copy() for n, v in tensors().items()}, "has shape"),
        ({n.replace("layers.0", "layers.99"): v for n, v in tensors().items()}, "the base has no module"),
        ({n: v.astype(np.float64) for n, v in tensors().items()}, "has type F64"),
        ({n: v[:, :-1].copy() for n, v in tensors().items()}, "has shape"),
    ],
)
def test_weights_that_cannot_be_served_are_refused(tmp_path: Path, weights: dict, says: str) -> None:
    found = problems(make_adapter(tmp_path, weights))
    assert any(says in problem for problem in found), found


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (with_bytes(lambda data: data[:-100]), "cut short"),
        (with_bytes(lambda data: data + b"more"), "bytes at its end"),
        (with_bytes(lambda data: b"\x80\x04 this is a pickle, not safetensors"), "not a safetensors file"),
        (with_bytes(lambda data: (2**62).to_bytes(8, "little") + b"{}"), "not a safetensors file"),
        (with_bytes(lambda data: b""), "not a safetensors file"),
        (with_header(b"[]"), "not a JSON object"),
        (with_header(b'{"\xff": 1}'), "not UTF-8"),
        (with_header(b'{"x": NaN}'), "found NaN"),
        (with_header(b'{"x": 1, "x": 1}'), "occurs twice"),
        (with_header(b"[" * 100_000), "nested too deep"),
        (with_header(b'{"x": {"dtype": "F32", "shape": [1e3], "data_offsets": [0, 4]}}'), "shape are missing"),
        (rewritten(lambda h: h[A].update(data_offsets=[4, 4100])), "a gap or an overlap"),
        (rewritten(lambda h: h[B].update(data_offsets=h[A]["data_offsets"])), "a gap or an overlap"),
        (rewritten(lambda h: h[A].update(data_offsets=[8, 4])), "data_offsets is [8, 4]"),
        (rewritten(lambda h: h[A].update(data_offsets=[-4, 4])), "data_offsets is [-4, 4]"),
        (rewritten(lambda h: h[A].update(data_offsets="all")), "data_offsets is 'all'"),
        (rewritten(lambda h: h[A].update(shape=[True, 4])), "shape are missing"),
        (rewritten(lambda h: h[A].update(shape=[2**40, 2**40])), "does not fill its data"),
        (rewritten(lambda h: h[A].pop("dtype")), "shape are missing"),
        (rewritten(lambda h: h.update({A: None})), "shape are missing"),
        (rewritten(lambda h: h[A].update(dtype="F8_E4M3")), "has type F8_E4M3"),
    ],
)
def test_a_broken_weights_file_is_refused(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    folder = make_adapter(tmp_path)
    spoil(folder / WEIGHTS)
    assert any(says in problem for problem in problems(folder)), problems(folder)


@pytest.mark.fuzz
@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([A, B]), field=st.sampled_from(["dtype", "shape", "data_offsets"]), value=json_values)
def test_no_header_makes_it_raise(tmp_path: Path, name: str, field: str, value: object) -> None:
    folder = make_adapter(tmp_path)
    rewritten(lambda header: header[name].update({field: value}))(folder / WEIGHTS)
    assert sound_lines(problems(folder))
