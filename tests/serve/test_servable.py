"""A base that vLLM cannot serve with adapters is refused in one line, before anything is started."""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from serve.engine.servable import check_servable, serves_adapters, vllm_version
from understudy.bases import Base, resolve_base
from understudy.errors import BaseModelError


def base(folder: Path, architecture: str = "LlamaForCausalLM", template: str | None = "{{ messages }}") -> Base:
    """A folder that looks like a model of that architecture."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template} if template else {}))
    save_file({"weight": np.zeros((8, 8), np.float32)}, folder / "model.safetensors")
    return resolve_base(str(folder))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """What vLLM answered when it was asked before."""
    folder = tmp_path / "cache"
    folder.mkdir()
    known = {"LlamaForCausalLM": "yes", "BloomForCausalLM": "no", "NobodysForCausalLM": "unknown"}
    (folder / f"vllm-{vllm_version()}-adapters.json").write_text(json.dumps(known))
    return folder


def test_the_shipped_base_can_be_served(cache: Path) -> None:
    check_servable(resolve_base("tiny"), cache, on_cpu=True)


def test_a_base_with_template_and_known_architecture_can_be_served(cache: Path, tmp_path: Path) -> None:
    check_servable(base(tmp_path / "base"), cache, on_cpu=True)


@pytest.mark.parametrize(
    ("architecture", "template", "said"),
    [
        ("LlamaForCausalLM", None, "its tokenizer has no chat template"),
        ("BloomForCausalLM", "{{ messages }}", "serves BloomForCausalLM without adapters only"),
        ("NobodysForCausalLM", "{{ messages }}", "does not know the architecture NobodysForCausalLM"),
    ],
)
def test_what_cannot_be_served_is_said(
    cache: Path, tmp_path: Path, architecture: str, template: str | None, said: str
) -> None:
    with pytest.raises(BaseModelError, match=said):
        check_servable(base(tmp_path / "base", architecture, template), cache, on_cpu=True)


def test_a_template_in_a_file_of_its_own_counts(cache: Path, tmp_path: Path) -> None:
    found = base(tmp_path / "base", template=None)
    (Path(found.location) / "chat_template.jinja").write_text("{{ messages }}")
    check_servable(found, cache, on_cpu=True)


def test_a_base_that_does_not_fit_into_memory_is_refused(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = base(tmp_path / "base")
    memory = psutil.virtual_memory()._replace(available=64)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(BaseModelError, match="use a smaller base, such as smollm2"):
        check_servable(found, cache, on_cpu=True)
    check_servable(found, cache, on_cpu=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "answer"),
    [
        ("BloomForCausalLM", "no"),
        pytest.param("LlamaForCausalLM", "yes", marks=pytest.mark.long),
        pytest.param("NobodysModel", "unknown", marks=pytest.mark.long),
    ],
)
def test_the_installed_vllm_is_asked_once(tmp_path: Path, architecture: str, answer: str) -> None:
    assert serves_adapters(architecture, tmp_path) == answer
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text()) == {architecture: answer}
