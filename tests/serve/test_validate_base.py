"""Static validation of what an adapter was trained on: the served base, by whatever name."""

import pytest

from serve.rollout.validate_base import check_base, origin, same_model
from tests.support.broken_adapters import problems
from tests.support.system import SHARED
from understudy.bases import TINY_DIR, Base, base_revision, resolve_base


def test_a_real_adapter_of_another_base_is_refused() -> None:
    folder = SHARED / "adapters" / "gpt2-tigrinya"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    found = problems(folder)
    assert any(problem.startswith("it was trained on base 'gpt2', but 'tiny' is served;") for problem in found)
    absent = [problem for problem in found if "the base has no module" in problem]
    assert len(absent) == 1
    assert "tensors are for modules that the base does not have" in absent[0]


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
    monkeypatch.setattr("serve.rollout.validate_base.base_revision", lambda base: SHA)
    found = check_base({"base_model_name_or_path": named, "revision": pin}, HUB_BASE)
    assert (found == []) is fits, found
    # Not fetched yet: nothing to compare.
    monkeypatch.setattr("serve.rollout.validate_base.base_revision", lambda base: None)
    if named != SNAPSHOT.replace(SHA, OTHER_SHA):
        assert check_base({"base_model_name_or_path": named, "revision": pin}, HUB_BASE) == []


@pytest.mark.parametrize(
    ("named", "pinned", "fits"),
    [
        ("tiny", True, True),
        ("tiny", False, True),
        (str(TINY_DIR), False, True),
        (f"{TINY_DIR}/../tiny/", False, True),
        ("/home/ann/understudy/bases/tiny", True, True),  # another machine; the hash of the weights proves it
        ("/home/ann/understudy/bases/tiny", False, False),
        ("gpt2", True, False),
        ("\0", True, False),
    ],
)
def test_a_local_base_is_known_by_its_folder_or_by_the_hash_of_its_weights(
    named: str, pinned: bool, fits: bool
) -> None:
    base = resolve_base("tiny")
    config = {"base_model_name_or_path": named, "revision": base_revision(base) if pinned else None}
    assert (check_base(config, base) == []) is fits
