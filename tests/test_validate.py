"""Static validation: a table of adapters that vLLM would load or choke on, each refused for its own reason."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from serve import validate_weights
from serve.validate import adapter_summary, validate
from serve.validate_base import check_base, origin, same_model
from serve.validate_config import module_rank, module_scale, modules_wanted
from serve.validate_weights import linear_modules
from tests.adapters_made_here import RANK, make_adapter, tensors
from tests.conftest import SHARED
from tests.hub_server import TOKEN, HubServer, Repo
from understudy.adapters import CONFIG, WEIGHTS
from understudy.bases import EMBEDDED_DIR, Base, base_revision, resolve_base

A, B = tensors()
"""Names of the two matrices."""

EMBEDDED_A = "base_model.model.model.embed_tokens.lora_embedding_A"


def problems(folder: Path) -> list[str]:
    return validate(folder, resolve_base("embedded"), max_rank=64)


def test_a_sound_adapter_has_no_problems(tmp_path: Path) -> None:
    assert problems(make_adapter(tmp_path)) == []


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
    monkeypatch.setattr(validate_weights, "PIECE_BYTES", 1000)
    weights = tensors()
    weights[A][-1, -1] = weights[A][0, 0] = np.nan
    assert problems(make_adapter(tmp_path, weights)) == [f"tensor {A} has 2 values that are NaN or infinite"]


def write_safetensors(path: Path, arrays: dict[str, np.ndarray], dtype: str) -> None:
    """The format by hand, for types that numpy does not know."""
    header, at = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(a.tobytes() for a in arrays.values()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"peft_type": None}, "peft_type is None"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"task_type": None}, "task_type is None"),
        ({"base_model_name_or_path": "gpt2"}, "trained on base 'gpt2'"),
        ({"base_model_name_or_path": None}, "which base .* is None"),
        ({"base_model_name_or_path": ["embedded"]}, "which base"),
        ({"revision": 7}, "revision is 7"),
        ({"revision": "0" * 12}, "another build of embedded"),
        ({"r": 128}, "rank 128 is over the engine's maximum 64"),
        ({"r": "four"}, "rank 'four' is not a positive whole number"),
        ({"r": True}, "rank True is not a positive whole number"),
        ({"r": 8}, "has shape .* rank 8 on this base needs"),
        ({"r": 0}, "rank 0 is not a positive whole number"),
        ({"r": -4}, "rank -4 is not"),
        ({"r": 4.0}, "rank 4.0 is not"),
        ({"r": 10**400}, "rank 1000"),
        ({"rank_pattern": {"q_proj": 128}}, "rank 128 is over the engine's maximum 64"),
        ({"rank_pattern": {"q_proj": 2}}, "has shape .* rank 2 on this base needs"),
        ({"rank_pattern": {"q_proj": True}}, "rank_pattern.* is True"),
        ({"rank_pattern": {"(x+)+y": 4}}, "regular expression"),
        ({"rank_pattern": [4]}, "not an object"),
        ({"alpha_pattern": {"q_proj": "8"}}, "alpha_pattern.* is '8', not a positive number"),
        ({"alpha_pattern": {"q_proj": 4001}}, "multiplies updates by 1e\\+03"),
        ({"lora_alpha": None}, "lora_alpha None"),
        ({"lora_alpha": True}, "lora_alpha True"),
        ({"lora_alpha": "8"}, "lora_alpha '8'"),
        ({"lora_alpha": -8}, "lora_alpha -8 is not a positive number"),
        ({"lora_alpha": 0}, "lora_alpha 0 is not"),
        ({"lora_alpha": 10**6}, "multiplies updates by 2.5e\\+05"),
        ({"use_rslora": "yes"}, "use_rslora is 'yes'"),
        ({"use_qalora": True}, "QALoRA is not served"),
        ({"use_bdlora": {"nblocks": 2}}, "block-diagonal"),
        ({"arrow_config": {"top_k": 3}}, "Arrow"),
        ({"kasa_config": {"beta": 1}}, "KaSA"),
        ({"monteclora_config": {"num_samples": 8}}, "MonteCLoRA"),
        ({"megatron_config": {"x": 1}}, "Megatron"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters"),
        ({"layer_replication": [[0, 4], [2, 5]]}, "layer replication"),
        ({"alora_invocation_tokens": [5]}, "activated LoRA"),
        ({"use_teleport": True}, "use_teleport is set, a variant"),
        ({"warp_config": {"x": 1}}, "warp_config is set, a variant"),
        ({"init_lora_weights": "olora"}, "init_lora_weights is 'olora'"),
        ({"init_lora_weights": "corda"}, "init_lora_weights is 'corda'"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights is 'loftq'"),
        ({"init_lora_weights": "lora_ga"}, "init_lora_weights is 'lora_ga'"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4'"),
        ({"init_lora_weights": 1}, "init_lora_weights is 1;"),
        ({"bias": None}, "bias is None"),
        ({"target_modules": ["k_proj"]}, "target_modules does not cover model.layers.0.self_attn.q_proj"),
        ({"target_modules": ["q_proj"]}, "target_modules covers .*q_proj and 3 more, but there are no tensors"),
        ({"target_modules": ["model.layers.0.self_attn.q_proj", "layers.0.mlp.up_proj"]}, "covers .*up_proj, but"),
        ({"target_modules": None}, "target_modules is None; it must name modules"),
        ({"target_modules": []}, "it must name modules"),
        ({"target_modules": [1]}, "it must name modules"),
        ({"exclude_modules": ["q_proj"]}, "target_modules does not cover"),
        ({"layers_to_transform": [1], "target_modules": ["q_proj"]}, "target_modules does not cover"),
        ({"layers_to_transform": 1, "target_modules": ["q_proj"]}, "target_modules does not cover"),
        ({"layers_to_transform": [0, 1], "target_modules": ["q_proj"]}, "covers model.layers.1.self_attn.q_proj, but"),
        ({"layers_to_transform": "0"}, "no list of layer numbers"),
        (
            {"layers_to_transform": [0], "layers_pattern": "blocks", "target_modules": ["q_proj"]},
            "target_modules does not cover",
        ),
        ({"layers_pattern": 3}, "layers_pattern is 3"),
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


@pytest.mark.parametrize(
    "changes",
    [
        {"use_rslora": True},
        {"lora_alpha": 0.5},
        {"revision": None},
        {"revision": "main"},
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
        {"loftq_config": {"loftq_bits": 4}, "lora_dropout": 0.1, "fan_in_fan_out": True, "qalora_group_size": 16},
        {"trained_with": "something", "use_dora": False, "corda_config": None, "use_teleport": False},
        {"target_modules": ["q_proj"], "layers_to_transform": [0]},
        {"layers_to_transform": [3]},  # a full name is meant whatever the layers
        {"target_modules": ["q_proj"], "layers_to_transform": 0, "layers_pattern": "layers"},
        {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["h", "layers"]},
        {"target_modules": ["q_proj"], "exclude_modules": [f"layers.{n}.self_attn.q_proj" for n in range(1, 5)]},
        {"target_modules": ["layers.0.self_attn.q_proj", "c_attn"]},
        {"target_modules": r".*\.layers\.0\..*q_proj"},
        {"r": 8, "rank_pattern": {"q_proj": 4}},
        {"r": 8, "rank_pattern": {"^model.layers.0.self_attn.q_proj": 4}, "alpha_pattern": {"q_proj": 3}},
    ],
)
def test_a_configuration_that_vllm_serves_as_it_was_trained_is_accepted(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert problems(make_adapter(tmp_path, **changes)) == []


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
        ({n.replace("model.model.", "model."): v for n, v in tensors().items()}, "the base has no module layers.0"),
        ({n.replace("base_model.model.", ""): v for n, v in tensors().items()}, "is no LoRA matrix"),
        ({n.replace(".weight", ".default.weight"): v for n, v in tensors().items()}, "is no LoRA matrix"),
        ({**tensors(), B.replace("lora_B", "lora_magnitude_vector"): np.ones(256, np.float32)}, "is no LoRA matrix"),
        ({**tensors(), B.replace("lora_B.weight", "lora_B.bias"): np.ones(256, np.float32)}, "is no LoRA matrix"),
        ({EMBEDDED_A: np.zeros((4, 4096), np.float32)}, "is no LoRA matrix"),
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


def header_of(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def rewritten(change: Callable[[dict], object], *, more: bytes = b"") -> Callable[[Path], None]:
    """Changes the header and leaves the data."""

    def spoil(path: Path) -> None:
        header, data = header_of(path)
        change(header)
        with_header(json.dumps(header).encode(), more)(path, data)

    return spoil


def with_header(text: bytes, more: bytes = b"") -> Callable[..., None]:
    def spoil(path: Path, data: bytes = b"") -> None:
        path.write_bytes(len(text).to_bytes(8, "little") + text + data + more)

    return spoil


def with_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (with_bytes(lambda data: data[:-100]), "cut short"),
        (with_bytes(lambda data: data + b"more"), "bytes at its end"),
        (with_bytes(lambda data: b"\x80\x04 this is a pickle, not safetensors"), "not a safetensors file"),
        (with_bytes(lambda data: (2**62).to_bytes(8, "little") + b"{}"), "not a safetensors file"),
        (with_bytes(lambda data: b""), "not a safetensors file"),
        (with_header(b"[]"), "no JSON object"),
        (with_header(b'{"\xff": 1}'), "not UTF-8"),
        (with_header(b'{"x": NaN}'), "found NaN"),
        (with_header(b'{"x": 1, "x": 1}'), "there twice"),
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


def test_files_over_the_caps_are_not_read(tmp_path: Path) -> None:
    with (make_adapter(tmp_path) / WEIGHTS).open("r+b") as file:
        file.truncate(validate_weights.MAX_BYTES + 1)  # a hole; no disk is used
    assert "more than the 4,294,967,296 we read" in problems(tmp_path)[0]
    (tmp_path / CONFIG).write_text(json.dumps({"x": "y" * 2**20}))
    assert "larger than 1,048,576 bytes" in problems(tmp_path)[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[]", "found a JSON list, not an object"),
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"r": 4, "r": 8}', "the name 'r' is there twice"),
        (b'{"lora_alpha": NaN}', "found NaN, which is not JSON"),
        (b'{"lora_alpha": -Infinity}', "found -Infinity"),
        (b'{"x":' * 100_000, "nested too deep"),
        (b'{"r": ' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_a_configuration_that_readers_could_read_differently_is_refused(tmp_path: Path, text: bytes, says: str) -> None:
    (make_adapter(tmp_path) / CONFIG).write_bytes(text)
    (problem,) = problems(tmp_path)
    assert says in problem


def test_infinity_by_another_name_is_no_number(tmp_path: Path) -> None:
    text = (make_adapter(tmp_path) / CONFIG).read_text().replace('"lora_alpha": 8', '"lora_alpha": 1e999')
    (tmp_path / CONFIG).write_text(text)
    assert "lora_alpha inf is not a positive number" in problems(tmp_path)[0]


def test_a_folder_without_an_adapter_is_one_problem(tmp_path: Path) -> None:
    assert len(problems(tmp_path)) == 1
    assert len(problems(tmp_path / "nowhere")) == 1
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    assert "is a pickle and is never read" in problems(tmp_path)[0]


def test_files_beside_the_adapter_are_neither_read_nor_a_reason(tmp_path: Path) -> None:
    """Pushing leaves them behind, and vLLM reads adapter_model.bin only where there is no safetensors."""
    folder = make_adapter(tmp_path)
    for name in ("adapter_model.bin", "training_args.bin", "modeling.py"):
        (folder / name).write_bytes(b"\x80\x04")
    assert problems(folder) == []


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_link_out_of_the_folder_is_refused_but_for_the_hub_s_cache(tmp_path: Path, name: str) -> None:
    repo = tmp_path / "models--ann--poet"
    folder = make_adapter(repo / "snapshots" / ("0" * 40))
    (repo / "blobs").mkdir()
    (folder / name).rename(repo / "blobs" / "abc")
    (folder / name).symlink_to("../../blobs/abc")
    assert problems(folder) == []
    (folder / name).unlink()
    (repo / "blobs" / "abc").rename(tmp_path / "secret")
    (folder / name).symlink_to("../../../secret")
    assert problems(folder) == [f"{name} is a link to another place; put the file itself there"]
    (tmp_path / "secret").unlink()
    assert "no " + name in problems(folder)[0]


def test_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path)
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)
    assert "no adapter_model.safetensors" in problems(folder)[0]


def test_thousands_of_problems_are_told_in_short(tmp_path: Path) -> None:
    weights = {f"tensor\x1b[31m\n{n}": np.zeros(1, np.float32) for n in range(200)}
    found = problems(make_adapter(tmp_path, weights))
    assert len(found) == 51
    assert found[-1].startswith("and ")
    assert all(problem.isprintable() for problem in found)


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


SHA, OTHER_SHA = "a" * 40, "b" * 40
SNAPSHOT = f"/home/ann/.cache/huggingface/hub/models--Qwen--Qwen3-0.6B/snapshots/{SHA}/"


@pytest.mark.parametrize(
    ("trained", "served", "fits"),
    [
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", True),
        ("qwen/qwen3-0.6b/", "Qwen/Qwen3-0.6B", True),
        (SNAPSHOT, "Qwen/Qwen3-0.6B", True),
        ("Qwen/Qwen3-0.6B", SNAPSHOT, True),
        ("Qwen/Qwen3-0.6B-bnb-4bit", "Qwen/Qwen3-0.6B", True),
        ("Qwen/Qwen3-0.6B-GPTQ-Int4", "Qwen/Qwen3-0.6B", True),
        ("Qwen/Qwen3-0.6B-AWQ", "Qwen/Qwen3-0.6B", True),
        ("Qwen/Qwen3-0.6B-FP8", "Qwen/Qwen3-0.6B-AWQ", True),
        ("unsloth/Qwen3-0.6B", "Qwen/Qwen3-0.6B", True),
        ("unsloth/Qwen3-0.6B-unsloth-bnb-4bit", "Qwen/Qwen3-0.6B", True),
        ("unsloth/qwen3-0.6b-bnb-4bit", "Qwen/Qwen3-0.6B", True),
        ("Qwen/Qwen3-0.6B", "unsloth/Qwen3-0.6B", True),
        ("unsloth/Qwen3-0.6B-bnb-4bit", "mallory/Qwen3-0.6B", False),
        ("mallory/Qwen3-0.6B", "Qwen/Qwen3-0.6B", False),
        ("Qwen3-0.6B", "Qwen/Qwen3-0.6B", False),
        ("Qwen/Qwen3-0.6B-Base", "Qwen/Qwen3-0.6B", False),
        ("Qwen/Qwen3-0.6B-Instruct-bnb-4bit", "Qwen/Qwen3-0.6B", False),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen3-0.6B", False),
        ("/srv/models/Qwen3-0.6B", "Qwen/Qwen3-0.6B", False),
        ("./Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", False),
        ("C:\\models\\Qwen3-0.6B", "Qwen/Qwen3-0.6B", False),
        ("", "Qwen/Qwen3-0.6B", False),
    ],
)
def test_a_base_is_known_by_its_names(trained: str, served: str, fits: bool) -> None:
    assert same_model(origin(trained), origin(served)) is fits


HUB_BASE = Base(name="Qwen/Qwen3-0.6B", location="Qwen/Qwen3-0.6B", local=False)


@pytest.mark.parametrize(
    ("named", "pin", "fits"),
    [
        ("Qwen/Qwen3-0.6B", None, True),
        ("Qwen/Qwen3-0.6B", SHA, True),
        ("Qwen/Qwen3-0.6B", SHA[:12], True),
        ("Qwen/Qwen3-0.6B", "main", True),
        ("Qwen/Qwen3-0.6B", "v1.0", True),
        ("Qwen/Qwen3-0.6B", OTHER_SHA, False),
        ("Qwen/Qwen3-0.6B", OTHER_SHA[:12], False),
        (SNAPSHOT, None, True),
        (SNAPSHOT.replace(SHA, OTHER_SHA), None, False),
        (SNAPSHOT, OTHER_SHA, False),
        ("unsloth/Qwen3-0.6B-bnb-4bit", OTHER_SHA, True),  # a commit of the copy says nothing about the original
    ],
)
def test_a_pinned_revision_of_a_hub_base_must_be_the_served_one(
    named: str, pin: str | None, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.validate_base.base_revision", lambda base: SHA)
    found = check_base({"base_model_name_or_path": named, "revision": pin}, HUB_BASE)
    assert (found == []) is fits, found
    monkeypatch.setattr("serve.validate_base.base_revision", lambda base: None)  # not fetched yet: nothing to compare
    if named != SNAPSHOT.replace(SHA, OTHER_SHA):
        assert check_base({"base_model_name_or_path": named, "revision": pin}, HUB_BASE) == []


@pytest.mark.parametrize(
    ("named", "pinned", "fits"),
    [
        ("embedded", True, True),
        ("embedded", False, True),
        (str(EMBEDDED_DIR), False, True),
        (f"{EMBEDDED_DIR}/../embedded_base/", False, True),
        ("/home/ann/understudy/embedded_base", True, True),  # another machine; the hash of the weights proves it
        ("/home/ann/understudy/embedded_base", False, False),
        ("gpt2", True, False),
        ("\0", True, False),
    ],
)
def test_a_local_base_is_known_by_its_folder_or_by_the_hash_of_its_weights(
    named: str, pinned: bool, fits: bool
) -> None:
    base = resolve_base("embedded")
    config = {"base_model_name_or_path": named, "revision": base_revision(base) if pinned else None}
    assert (check_base(config, base) == []) is fits


def test_an_adapter_says_what_it_is(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path)
    size = (folder / WEIGHTS).stat().st_size
    assert adapter_summary(folder) == {"rank": RANK, "base": "embedded", "size": size}
    assert adapter_summary(tmp_path / "nowhere") == {"rank": None, "base": None, "size": None}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "r", "lora_alpha", "bias", "use_rslora"),
    *("rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("init_lora_weights", "modules_to_save", "use_dora", "eva_config", "use_x"),
]


def sound_lines(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(p, str) and p and p.isprintable() for p in found)


@examples(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(FIELDS), json_values, min_size=1, max_size=4))
def test_no_configuration_makes_it_raise(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert sound_lines(problems(make_adapter(tmp_path, **changes)))


@examples(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([A, B]), field=st.sampled_from(["dtype", "shape", "data_offsets"]), value=json_values)
def test_no_header_makes_it_raise(tmp_path: Path, name: str, field: str, value: object) -> None:
    folder = make_adapter(tmp_path)
    rewritten(lambda header: header[name].update({field: value}))(folder / WEIGHTS)
    assert sound_lines(problems(folder))


@examples(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([CONFIG, WEIGHTS]), st.data())
def test_no_bytes_make_it_raise(tmp_path: Path, name: str, data: st.DataObject) -> None:
    folder = make_adapter(tmp_path)
    whole = (folder / name).read_bytes()
    at = data.draw(st.integers(0, min(len(whole), 600)))
    (folder / name).write_bytes(
        whole[:at] + data.draw(st.binary(max_size=12)) + whole[at + data.draw(st.integers(0, 9)) :]
    )
    assert sound_lines(problems(folder))


def understudy_validate(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "understudy", "validate", *arguments]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


def test_a_repository_is_validated_at_one_commit_and_only_its_adapter_is_fetched(
    hub: HubServer, tmp_path: Path
) -> None:
    repo = hub.repos["ann/poet"] = Repo()
    code = {"adapter_model.bin": b"pickle", "modeling.py": b"import os", "checkpoint-1": b"x"}
    good = repo.commit_folder(make_adapter(tmp_path / "good"), "v1", **code)
    repo.commit_folder(make_adapter(tmp_path / "bad", use_dora=True), "main")
    env = hub.env(tmp_path / "home")
    done = understudy_validate("ann/poet@v1", "--json", env=env)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.items() >= {"adapter": "ann/poet@v1", "revision": good, "valid": True, "problems": []}.items()
    assert told.items() >= {"rank": RANK, "base": "embedded"}.items()
    fetched = {line.rpartition("/")[2] for line in hub.asked if "/resolve/" in line}
    assert fetched == {CONFIG, WEIGHTS}
    assert all(f"/resolve/{good}/" in line for line in hub.asked if "/resolve/" in line)
    done = understudy_validate("ann/poet@main", env=env)
    assert (done.returncode, done.stdout) == (1, "- DoRA is not served by vLLM\n")


@pytest.mark.parametrize(
    ("repo", "token", "says"),
    [
        ("ann/nothing@main", "", "not on the Hub, or private; check the name"),
        ("ann/nothing@main", TOKEN, "not on the Hub, or private; check the name"),
        ("ann/secret@main", "", "set HF_TOKEN if it is private"),
        ("ann/gated@main", "", "it is gated; accept its terms on the Hub and set HF_TOKEN"),
        ("ann/poet@v9", "", "the repository has no revision 'v9'"),
        ("ann/empty@main", "", "no adapter_config.json and no adapter_model.safetensors there"),
        ("a b@main", "", "that is no name of a repository"),
    ],
)
def test_what_cannot_be_fetched_is_one_clear_line(
    hub: HubServer, tmp_path: Path, repo: str, token: str, says: str
) -> None:
    folder = make_adapter(tmp_path / "a")
    hub.repos |= {"ann/poet": Repo(), "ann/secret": Repo(private=True), "ann/gated": Repo(gated=True)}
    for known in hub.repos.values():
        known.commit_folder(folder)
    hub.repos["ann/empty"] = Repo()
    hub.repos["ann/empty"].commit({"README.md": b"soon"})
    done = understudy_validate(repo, env=hub.env(tmp_path / "home", token))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {repo.partition('@')[0]}@"), done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_private_repository_opens_with_its_token(hub: HubServer, tmp_path: Path) -> None:
    hub.repos["ann/secret"] = Repo(private=True)
    hub.repos["ann/secret"].commit_folder(make_adapter(tmp_path / "a"))
    assert understudy_validate("ann/secret@main", env=hub.env(tmp_path / "home", TOKEN)).returncode == 0


def test_without_a_connection_it_says_so(tmp_path: Path) -> None:
    env = HubServer().env(tmp_path / "home") | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = understudy_validate("ann/poet@main", env=env)
    assert done.stderr.startswith("error: ann/poet@main: the Hub cannot be reached")
    assert done.stderr.count("\n") == 1


def test_a_folder_is_validated_by_its_path_and_never_asked_for_on_the_hub(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "poet@home", r=999)
    done = understudy_validate(str(folder), "--json", env={})
    told = json.loads(done.stdout)
    assert (done.returncode, told["valid"], told["revision"], told["rank"]) == (1, False, None, 999)
    assert len(told["problems"]) == 3
    done = understudy_validate("ann/poet", env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert done.stdout.startswith("- ann/poet: no adapter_config.json")


@pytest.mark.slow
def test_modules_ranks_and_scales_are_those_of_peft_and_vllm() -> None:
    """Our reading of the settings against the libraries' own, on random settings."""
    peft, tuners = pytest.importorskip("peft"), pytest.importorskip("peft.tuners.tuners_utils")
    vllm = pytest.importorskip("vllm.lora.peft_helper")
    modules = list(linear_modules(resolve_base("embedded")))
    modules += [name.replace("model.layers", "transformer.h") for name in modules[:14]]
    names = [
        "q_proj",
        "self_attn.k_proj",
        "layers.1.mlp.up_proj",
        "model.layers.2.self_attn.v_proj",
        "gate_proj",
        "h.0",
    ]
    random = Random(0)
    for _ in range(500):
        layers = random.choice([None, [], 0, 1, [0, 2]])
        where = {
            "target_modules": random.sample(names, random.randint(1, 4)),
            "exclude_modules": random.choice([None, [], random.sample(names, 2)]),
            "layers_to_transform": layers,
            "layers_pattern": None if layers is None else random.choice([None, [], "", "layers", ["h", "layers"]]),
        }
        known = peft.LoraConfig(r=4, **where)
        found = [(m, tuners.check_target_module_exists(known, m)) for m in modules]
        expected = [m for m, hit in found if hit and not isinstance(hit, tuners._ExcludedModule)]
        assert modules_wanted(where, modules) == expected, where
        numbers = {
            "r": random.randint(1, 64),
            "lora_alpha": random.choice([1, 0.5, 32]),
            "use_rslora": random.choice([True, False]),
            "rank_pattern": {random.choice([*names, "^model.layers.0.mlp.up_proj"]): random.randint(1, 64)},
            "alpha_pattern": {name: random.randint(1, 64) for name in random.sample(names, 2)},
        }
        helper = vllm.PEFTHelper.from_dict({**numbers, "target_modules": names})
        for m in modules:
            assert helper.get_rank_and_scaling(m) == (module_rank(numbers, m), module_scale(numbers, m)), numbers
