"""Names of bases, what is known about them, what they are computed in and how they are sampled."""

import json
from pathlib import Path

import pytest

from understudy.bases import (
    CATALOGUE,
    TINY_DIR,
    Base,
    adapter_pin,
    base_revision,
    known_base,
    largest_that_fits,
    precision,
    prepare,
    resolve_base,
)
from understudy.bases.precision import cpu_flags, cpu_has_bfloat16, serving_dtype
from understudy.bases.sampling import base_sampling
from understudy.config.settings import Settings
from understudy.errors import BaseModelError

SMOLLM2 = Base(name="smollm2", location="/nowhere", local=True)
QWEN = Base(name="Qwen/Qwen3-0.6B", location="Qwen/Qwen3-0.6B", local=False)


@pytest.mark.parametrize("name", ["tiny", "embedded", str(TINY_DIR)])
def test_the_tiny_base_is_found_by_its_name_its_old_one_and_its_folder(name: str) -> None:
    base = resolve_base(name)
    assert (base.name, base.public_name, base.tiny, base.shipped) == ("tiny", "tiny", True, True)
    assert Path(base.location) == TINY_DIR
    assert base.is_called(name) is (name != str(TINY_DIR))


def test_the_default_base_is_smollm2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNDERSTUDY_BASE")
    assert Settings().base == "smollm2"


def test_smollm2_is_prepared_where_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def source(out: Path, on_progress: prepare.Progress) -> str:
        (out / "config.json").write_text("{}")
        (out / "model.safetensors").write_text("weights")
        return "here"

    monkeypatch.setattr(prepare, "_from_package", source)
    monkeypatch.setenv("UNDERSTUDY_BASES_DIR", str(tmp_path))
    base = resolve_base("smollm2")
    assert (base.name, base.location, base.local) == ("smollm2", str(tmp_path / "smollm2"), True)
    assert resolve_base(base.location) == base


def test_a_name_that_is_none_is_told_what_there_is() -> None:
    with pytest.raises(BaseModelError, match="base 'nowhere': use smollm2, tiny, a folder, or a Hub id"):
        resolve_base("nowhere")


def test_adapters_name_the_model_on_the_hub_and_carry_no_commit_of_ours() -> None:
    assert SMOLLM2.public_name == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert SMOLLM2.is_called("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert SMOLLM2.is_called("smollm2")
    assert not SMOLLM2.is_called("tiny")
    assert adapter_pin(SMOLLM2) is None, "plain PEFT would look for our hash among the Hub's commits"
    tiny = resolve_base("tiny")
    assert adapter_pin(tiny) == base_revision(tiny)


def test_names_in_the_catalogue_are_unique_and_each_entry_is_found() -> None:
    names = [name for entry in CATALOGUE for name in {entry.name, entry.hub_id} - {""}]
    assert len(names) == len(set(names))
    for entry in CATALOGUE:
        assert entry is known_base(entry.name)
        assert entry.licence
        assert entry.origin
        assert 0 < entry.memory_gib < 40
    assert known_base("embedded") is known_base("tiny")
    assert known_base("HuggingFaceTB/SmolLM2-135M-Instruct") is known_base("smollm2")
    assert known_base("nobody/nothing") is None


@pytest.mark.parametrize(
    ("gib", "name"),
    [
        (0.5, None),
        (2.0, "Qwen/Qwen3-0.6B"),
        (8.0, "HuggingFaceTB/SmolLM2-1.7B-Instruct"),
        (24.0, "Qwen/Qwen2.5-7B-Instruct"),
        (80.0, "Qwen/Qwen2.5-7B-Instruct"),  # larger ones are gated
    ],
)
def test_the_largest_base_that_fits_is_named(gib: float, name: str | None) -> None:
    found = largest_that_fits(gib)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("cpuinfo", "has"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 9R14\nflags\t\t: fpu sse2 avx512f avx512_bf16 avx512_vnni\n", True),
        ("processor\t: 0\nmodel name\t: Intel Xeon Platinum 8481C\nflags\t\t: fpu avx512f amx_bf16 amx_tile\n", True),
        ("processor\t: 0\nmodel name\t: Intel Xeon Platinum 8259CL\nflags\t\t: fpu avx512f avx512_vnni\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd sha2 i8mm bf16 dgh\nCPU part\t: 0xd40\n", True),  # Graviton 3
        ("processor\t: 0\nFeatures\t: fp asimd sha2\nCPU part\t: 0xd0c\n", False),  # Graviton 2
        ("", False),
        (None, False),  # not a Linux
    ],
)
def test_bfloat16_is_for_processors_with_instructions_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, has: bool
) -> None:
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    monkeypatch.setattr(precision, "CPUINFO", file)
    cpu_flags.cache_clear()
    try:
        assert cpu_has_bfloat16() is has
    finally:
        cpu_flags.cache_clear()


@pytest.mark.parametrize(
    ("base", "on_cpu", "bfloat16", "dtype"),
    [
        (Base(name="tiny", location="", local=True), True, True, "float32"),
        (Base(name="tiny", location="", local=True), False, True, "float32"),
        (SMOLLM2, True, True, "auto"),
        (SMOLLM2, True, False, "float32"),
        (SMOLLM2, False, False, "auto"),
        (QWEN, True, False, "float32"),
        (QWEN, False, True, "auto"),
    ],
)
def test_what_a_base_is_served_in(
    monkeypatch: pytest.MonkeyPatch, base: Base, on_cpu: bool, bfloat16: bool, dtype: str
) -> None:
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: bfloat16)
    assert serving_dtype(base, on_cpu=on_cpu) == dtype


@pytest.mark.parametrize(
    ("config", "sampling"),
    [
        (
            {"do_sample": True, "temperature": 0.2, "top_p": 0.9, "repetition_penalty": 1.1, "eos_token_id": 2},
            {"temperature": 0.2, "top_p": 0.9, "repetition_penalty": 1.1},
        ),
        ({"top_k": 20, "min_p": 0, "temperature": None}, {"top_k": 20, "min_p": 0}),
        ({"eos_token_id": 2}, {}),
        ([], {}),
        (None, {}),
    ],
)
def test_sampling_is_what_the_bases_own_configuration_says(
    tmp_path: Path, config: object, sampling: dict[str, float]
) -> None:
    if config is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(config))
    assert base_sampling(Base(name="here", location=str(tmp_path), local=True)) == sampling
