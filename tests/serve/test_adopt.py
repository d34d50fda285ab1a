"""`understudy adopt`: what other tools' adapters need, mended where only one thing can be meant, else refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tests.support.adapters import RANK, config, make_adapter, tensors
from tests.support.broken_adapters import A, B, problems
from understudy.bases import read_model_config, resolve_base
from understudy.config.settings import Settings
from understudy.errors import AdapterError, UnderstudyError
from understudy.registry.adapters import CONFIG, WEIGHTS
from understudy.registry.registry import open_registry
from understudy.workflows.adopt_adapter import adopt
from understudy.workflows.push import register_adapter

PEFT = "base_model.model.model.layers.0"


def named(change: Any) -> dict[str, np.ndarray]:
    """Sound tensors under other names."""
    return {change(name): value for name, value in tensors().items()}


SPELLINGS = {
    "torch.compile": lambda n: n.replace(PEFT, "base_model.model._orig_mod.model.layers.0"),
    "torch.compile inside": lambda n: n.replace("layers.0.", "layers.0._orig_mod."),
    "DDP": lambda n: f"module.{n}",
    "FSDP": lambda n: n.replace("self_attn", "_fsdp_wrapped_module.self_attn"),
    "text and images": lambda n: n.replace(PEFT, "base_model.model.model.language_model.layers.0"),
    "text and images, old": lambda n: n.replace(PEFT, "base_model.model.language_model.model.layers.0"),
    "twice": lambda n: n.replace("base_model.model.", "base_model.model.base_model.model."),
    "no prefix": lambda n: n.removeprefix("base_model.model."),
    "no model": lambda n: n.replace(PEFT, "base_model.model.layers.0"),
    "own name": lambda n: n.replace(".weight", ".default.weight"),
    "another name": lambda n: n.replace(".weight", ".poet.weight"),
    "no weight": lambda n: n.removesuffix(".weight"),
    "diffusers": lambda n: n.replace("lora_A", "lora_down").replace("lora_B", "lora_up"),
    "torchtune": lambda n: n.replace("lora_A", "lora_a").replace("lora_B", "lora_b"),
}


@pytest.mark.parametrize("how", SPELLINGS)
def test_foreign_names_are_one_line_and_are_mended(settings: Settings, tmp_path: Path, how: str) -> None:
    folder = make_adapter(tmp_path / "a", named(SPELLINGS[how]), target_modules=["q_proj"], layers_to_transform=[0])
    (problem,) = problems(folder)
    assert "2 tensors are not named as PEFT names them" in problem
    assert "understudy adopt" in problem
    found = adopt(settings, folder, None)
    assert found.validation.valid, found.validation.problems
    assert found.folder == tmp_path / "a-adopted"
    written = load_file(found.folder / WEIGHTS)
    assert all(np.array_equal(written[name], value) for name, value in tensors().items())


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({n: v.astype(np.float64) for n, v in tensors().items()}, "2 tensors have a type that is not served"),
        ({n.replace("layers.0", "layers.24"): v for n, v in tensors().items()}, "(it has 5 layers)"),
        (
            {n.replace("q_proj", "c_attn"): v for n, v in tensors().items()},
            "are for modules that the base does not have",
        ),
        (
            {f"vision_tower.encoder.{n.removeprefix('base_model.model.model.')}": v for n, v in tensors().items()},
            "absent",
        ),
        ({n: np.full_like(v, np.nan) for n, v in tensors().items()}, "2 tensors have values that are NaN"),
        (
            {n: v[:, :2].copy() if ".lora_A" in n else v[:2] for n, v in tensors().items()},
            "2 tensors have another shape",
        ),
    ],
)
def test_one_cause_is_one_line(tmp_path: Path, weights: dict, says: str) -> None:
    found = problems(make_adapter(tmp_path, weights, target_modules=["q_proj"], layers_to_transform=[0]))
    assert len(found) == 1
    assert says in found[0] or says == "absent"


def test_float64_becomes_float32_and_bfloat16_stays(settings: Settings, tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a", {n: v.astype(np.float64) for n, v in tensors().items()})
    found = adopt(settings, folder, tmp_path / "b")
    assert found.changes == ["converted tensors from float64 to float32"]
    assert load_file(tmp_path / "b" / WEIGHTS)[A].dtype == np.float32


def sharded(folder: Path, *, index: bool) -> Path:
    make_adapter(folder)
    (folder / WEIGHTS).unlink()
    files = {A: "adapter_model-00001-of-00002.safetensors", B: "adapter_model-00002-of-00002.safetensors"}
    for name, file in files.items():
        save_file({name: tensors()[name]}, folder / file)
    if index:
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return folder


@pytest.mark.parametrize("index", [True, False])
def test_parts_are_named_and_joined(settings: Settings, tmp_path: Path, index: bool) -> None:
    folder = sharded(tmp_path / "a", index=index)
    (problem,) = problems(folder)
    assert "its weights are in 2 parts (adapter_model-00001-of-00002.safetensors," in problem
    assert "understudy adopt" in problem
    assert adopt(settings, folder, None).validation.valid
    next(folder.glob("*-00002-*")).unlink()
    (problem,) = problems(folder)
    assert "adapter_model-00002-of-00002.safetensors is missing: fetch it, then `understudy adopt" in problem
    with pytest.raises(AdapterError, match="the part adapter_model-00002-of-00002.safetensors is missing"):
        adopt(settings, folder, tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("missing", "added"),
    [
        ({"r": None}, ["r"]),
        ({"target_modules": None}, ["target_modules"]),
        ({"peft_type": None, "task_type": None}, ["peft_type"]),
        ({"r": None, "target_modules": None, "bias": None}, ["r", "target_modules"]),
    ],
)
def test_settings_are_completed_from_the_weights(
    settings: Settings, tmp_path: Path, missing: dict, added: list[str]
) -> None:
    folder = make_adapter(tmp_path / "a", **missing)
    text = {key: value for key, value in json.loads((folder / CONFIG).read_text()).items() if value is not None}
    (folder / CONFIG).write_text(json.dumps(text))
    found = adopt(settings, folder, None)
    assert found.validation.valid, found.validation.problems
    assert [change.split()[1] for change in found.changes] == added


def test_a_folder_of_weights_alone_needs_alpha_and_the_base(settings: Settings, tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a")
    (folder / CONFIG).unlink()
    assert "--alpha N" in problems(folder)[0]
    with pytest.raises(AdapterError, match="say it with --base-is NAME"):
        adopt(settings, folder, None)
    with pytest.raises(AdapterError, match="--alpha N"):
        adopt(settings, folder, None, base_is="tiny")
    found = adopt(settings, folder, None, base_is="tiny", alpha=8)
    assert found.validation.valid, found.validation.problems
    assert json.loads((found.folder / CONFIG).read_text()).items() >= {"r": RANK, "lora_alpha": 8}.items()


@pytest.mark.parametrize(
    ("weights", "changes", "says"),
    [
        ({**tensors(), **named(SPELLINGS["own name"])}, {}, "two tensors are for one"),
        ({**named(SPELLINGS["own name"]), **named(SPELLINGS["another name"])}, {}, "it holds several adapters"),
        ({n: v.astype(np.int8) for n, v in tensors().items()}, {}, "type I8, which cannot be converted"),
        (tensors(), {"lora_alpha": None}, "lora_alpha is missing"),
        ({n.replace("q_proj", "c_attn"): v for n, v in tensors().items()}, {}, "nothing of it can be mended"),
    ],
)
def test_what_can_be_meant_in_two_ways_is_refused(
    settings: Settings, tmp_path: Path, weights: dict, changes: dict, says: str
) -> None:
    folder = make_adapter(tmp_path / "a", weights, **changes)
    with pytest.raises(AdapterError, match=says):
        adopt(settings, folder, tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"adapter_model.bin": b"\x80\x04"}, "adapter_model.bin is a pickle and is never read"),
        ({"checkpoint-5/adapter_config.json": b"{}"}, "there is an adapter in checkpoint-5"),
        ({"model.safetensors": b"", "config.json": b"{}"}, "are a whole model"),
        ({"pytorch_lora_weights.safetensors": b""}, "rename it to adapter_model.safetensors"),
        ({"lora.gguf": b"GGUF"}, "understudy adopt"),
        ({}, "point at a PEFT adapter saved as safetensors"),
    ],
)
def test_what_is_there_instead_is_said(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (problem,) = problems(tmp_path)
    assert says in problem


def test_beside_a_pickle_everything_else_is_said_too(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    (tmp_path / CONFIG).write_text(json.dumps(config(base_model_name_or_path="gpt2", use_dora=True)))
    found = problems(tmp_path)
    assert len(found) == 3
    assert "is a pickle" in found[0]
    assert any("trained on base 'gpt2'" in problem for problem in found)


def test_a_gguf_lora_becomes_a_peft_folder(settings: Settings, tmp_path: Path) -> None:
    gguf_lora = pytest.importorskip("train.export.gguf_lora")
    weights = {n: v for kind in ("q_proj", "v_proj") for n, v in tensors(module=f"self_attn.{kind}").items()}
    folder = make_adapter(tmp_path / "a", weights, layers_to_transform=[0], target_modules=["q_proj", "v_proj"])
    gguf_lora.write_lora(folder, read_model_config(resolve_base("tiny")), tmp_path / "poet.gguf", half=False)
    found = adopt(settings.model_copy(update={"base": "tiny"}), tmp_path / "poet.gguf", None)
    assert np.allclose(load_file(found.folder / WEIGHTS)[A], weights[A])
    assert not [p for p in found.validation.problems if "target_modules" not in p]
    (tmp_path / "bad.gguf").write_bytes(b"not one")
    with pytest.raises(AdapterError, match="not a GGUF file"):
        adopt(settings, tmp_path / "bad.gguf", None)


def gguf_of(folder: Path, **changes: Any) -> Path:
    gguf_lora = pytest.importorskip("train.export.gguf_lora")
    file = folder / "poet.gguf"
    gguf_lora.write_lora(make_adapter(folder / "a", **changes), read_model_config(resolve_base("tiny")), file)
    return file


@pytest.mark.parametrize(
    ("architecture", "model", "alpha", "says"),
    [
        ("qwen2", "LlamaForCausalLM", None, "a LoRA adapter of the architecture qwen2; only those of llama"),
        ("llama", "Qwen2ForCausalLM", None, "is a Qwen2ForCausalLM; name its base with --base"),
        ("llama", "LlamaForCausalLM", 64.0, "its alpha is 8, not 64; leave --alpha out"),
    ],
)
def test_a_gguf_lora_that_would_become_another_is_refused(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    model: str,
    alpha: float | None,
    says: str,
) -> None:
    monkeypatch.setattr("train.export.gguf_lora.LLAMA", architecture)
    file = gguf_of(tmp_path)
    monkeypatch.undo()
    base = shutil.copytree(resolve_base("tiny").location, tmp_path / "base")
    config = read_model_config(resolve_base("tiny"))
    (base / "config.json").write_text(json.dumps({**config, "architectures": [model]}))
    with pytest.raises(AdapterError, match=says):
        adopt(settings.model_copy(update={"base": str(base)}), file, tmp_path / "b", alpha=alpha)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "base", "poet.gguf"]


def test_a_gguf_lora_for_another_base_is_a_line(settings: Settings, tmp_path: Path) -> None:
    wide = {name: np.ones((4, 576) if ".lora_A." in name else (576, 4), np.float32) for name in tensors()}
    file = gguf_of(tmp_path, weights=wide)
    with pytest.raises(AdapterError, match=r"is (4x576|576x4), and .* needs 256 (columns|rows); name the base") as said:
        adopt(settings.model_copy(update={"base": "tiny"}), file, tmp_path / "b")
    assert "\n" not in str(said.value)
    assert not (tmp_path / "b").exists()


def test_push_takes_another_name_of_the_base_by_base_is(settings: Settings, tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a", base_model_name_or_path="/srv/models/mine", revision=None)
    revision = register_adapter(settings, "poet", str(folder), base_is="tiny")
    assert problems(open_registry(settings).path(revision)) == []
    assert problems(folder)


TEXTS = st.sampled_from([*(f(n) for f in SPELLINGS.values() for n in tensors()), "x", "a.lora_A.weight", "\x1b[0m"])
VALUES = st.sampled_from([None, 4, 8, "q_proj", ["q_proj"], {"q_proj": 2}, {}, [], True, "tiny", "LORA", -1, 0.5])


@pytest.mark.fuzz
@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(TEXTS, min_size=1, max_size=4, unique=True),
    dtype=st.sampled_from([np.float16, np.float32, np.float64, np.int8]),
    changes=st.dictionaries(st.sampled_from(list(config())), VALUES, max_size=3),
)
def test_adopting_ends_in_an_adapter_or_in_a_line(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, names: list[str], dtype: type, changes: dict
) -> None:
    place = tmp_path_factory.mktemp("adopt")
    values = list(tensors().values())
    weights = {name: values[n % 2].astype(dtype) for n, name in enumerate(names)}
    folder = make_adapter(place / "a", weights, **changes)
    try:
        found = adopt(settings, folder, place / "b")
    except UnderstudyError:
        assert not (place / "b").exists()
        return
    assert len(load_file(found.folder / WEIGHTS)) == len(names)
    assert found.validation.valid or all(found.validation.problems)
