"""Static validation of a folder: what is read of it, what is never read, and how much is told."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from serve.adapter_files import weights_file
from serve.rollout.validate import adapter_summary
from tests.support.adapters import RANK, make_adapter
from tests.support.broken_adapters import problems, sound_lines, spoiled
from understudy.registry.adapters import CONFIG, WEIGHTS


def test_a_sound_adapter_has_no_problems(tmp_path: Path) -> None:
    assert problems(make_adapter(tmp_path)) == []


def test_files_over_the_caps_are_not_read(tmp_path: Path) -> None:
    with (make_adapter(tmp_path) / WEIGHTS).open("r+b") as file:
        file.truncate(weights_file.MAX_BYTES + 1)  # a hole; no disk is used
    assert "more than the 4,294,967,296 we read" in problems(tmp_path)[0]
    (tmp_path / CONFIG).write_text(json.dumps({"x": "y" * 2**20}))
    assert "larger than 1,048,576 bytes" in problems(tmp_path)[0]


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
    assert len(found) == 1
    assert found[0].startswith("200 tensors are not LoRA matrices of modules; the first: tensor ")
    assert all(problem.isprintable() for problem in found)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    found = problems(make_adapter(tmp_path, spoiled(np.nan), use_dora=True, base_model_name_or_path="gpt2"))
    assert len(found) == 3


def test_an_adapter_says_what_it_is(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path)
    size = (folder / WEIGHTS).stat().st_size
    assert adapter_summary(folder) == {"rank": RANK, "base": "tiny", "size": size}
    assert adapter_summary(tmp_path / "nowhere") == {"rank": None, "base": None, "size": None}


@pytest.mark.fuzz
@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([CONFIG, WEIGHTS]), st.data())
def test_no_bytes_make_it_raise(tmp_path: Path, name: str, data: st.DataObject) -> None:
    folder = make_adapter(tmp_path)
    whole = (folder / name).read_bytes()
    at = data.draw(st.integers(0, min(len(whole), 600)))
    (folder / name).write_bytes(
        whole[:at] + data.draw(st.binary(max_size=12)) + whole[at + data.draw(st.integers(0, 9)) :]
    )
    assert sound_lines(problems(folder))
