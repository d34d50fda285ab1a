"""Names of bases: renamed repositories, mirrors under another name, and what --base-is lets through."""

from pathlib import Path

import pytest

from serve.adapter_files.base_names import RENAMED, current_name
from serve.rollout.validate import validate
from serve.rollout.validate_base import check_base, origin, same_model
from tests.support.adapters import make_adapter
from understudy.bases import Base, resolve_base


@pytest.mark.parametrize(
    ("trained", "served", "fits"),
    [
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "meta-llama/Llama-3.1-8B-Instruct", True),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-unsloth-bnb-4bit", "meta-llama/Llama-3.1-8B-Instruct", True),
        ("unsloth/Meta-Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct", True),
        ("meta-llama/Meta-Llama-3.1-8B", "meta-llama/Llama-3.1-8B", True),
        ("unsloth/llama-3-8b-Instruct-bnb-4bit", "meta-llama/Meta-Llama-3-8B-Instruct", True),
        ("NousResearch/Meta-Llama-3-8B-Instruct", "meta-llama/Meta-Llama-3-8B-Instruct", True),
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", "meta-llama/Llama-3.1-8B-Instruct", True),
        ("unsloth/Llama-3.2-1B-Instruct-bnb-4bit", "meta-llama/Llama-3.2-1B-Instruct", True),
        ("unsloth/tinyllama-chat-bnb-4bit", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", True),
        ("unsloth/mistral-7b-bnb-4bit", "mistralai/Mistral-7B-v0.1", True),
        ("unsloth/codellama-7b-bnb-4bit", "codellama/CodeLlama-7b-hf", True),
        ("gpt2", "openai-community/gpt2", True),
        ("openai-community/gpt2", "gpt2", True),
        ("gpt2-medium", "openai-community/gpt2", False),
        ("unsloth/tinyllama-bnb-4bit", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", False),
        ("unsloth/Meta-Llama-3.1-8B-bnb-4bit", "meta-llama/Llama-3.1-8B-Instruct", False),
        ("mallory/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", False),
        ("unsloth/llama-3-8b-bnb-4bit", "meta-llama/Llama-3.1-8B", False),
        ("mallory/gpt2", "openai-community/gpt2", False),
    ],
)
def test_a_renamed_base_is_known_by_its_old_name_and_its_mirrors(trained: str, served: str, fits: bool) -> None:
    assert same_model(origin(trained), origin(served)) is fits


def test_no_renaming_leads_to_another_renaming() -> None:
    for new in RENAMED.values():
        owner, _, name = new.rpartition("/")
        assert current_name(owner, name) == (owner, name)


def test_a_moved_repository_keeps_its_commits_and_a_mirror_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.rollout.validate_base.base_revision", lambda base: "a" * 40)
    moved = Base(name="openai-community/gpt2", location="openai-community/gpt2", local=False)
    assert check_base({"base_model_name_or_path": "gpt2", "revision": "a" * 40}, moved) == []
    assert check_base({"base_model_name_or_path": "gpt2", "revision": "b" * 40}, moved)
    llama = Base(name="meta-llama/Llama-3.1-8B", location="meta-llama/Llama-3.1-8B", local=False)
    pinned = {"base_model_name_or_path": "unsloth/Meta-Llama-3.1-8B", "revision": "b" * 40}
    assert check_base(pinned, llama) == []


@pytest.mark.parametrize("named", ["/srv/models/tiny", "C:\\models\\tiny", "./tiny", "mallory/tiny", None])
def test_another_name_is_refused_with_its_way_out_and_taken_by_base_is(tmp_path: Path, named: str | None) -> None:
    folder = make_adapter(tmp_path, base_model_name_or_path=named, revision=None)
    (problem,) = validate(folder, resolve_base("tiny"), max_rank=64)
    assert named is None or "--base-is tiny" in problem
    assert validate(folder, resolve_base("tiny"), max_rank=64, base_is=True) == []
