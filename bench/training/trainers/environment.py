"""LLaMA-Factory's own environment, outside the tree: made once, then reused."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path.home() / ".cache" / "understudy-bench"
REQUIREMENTS = Path(__file__).parent / "llamafactory.txt"
"""Resolved for llamafactory 0.9.5 and Python 3.11 with the torch of ours. It pins transformers 5.6, peft 0.18 and
trl 0.24, older than ours; torchvision, which it needs for pictures only, is left out."""
LIMIT = 600
"""Seconds that an installation may take."""


class PeerError(Exception):
    """A trainer that cannot run here, and why, in one line."""


def llamafactory() -> Path:
    """The folder of its programs.

    Raises:
        PeerError: the environment cannot be made.
    """
    key = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = CACHE / "llamafactory" / key
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _uv("venv", "-q", "--python", sys.executable, str(folder))
        _install(folder)
        _without_cuda_audio(folder)
        (folder / "ready").touch()
    return folder / "bin"


def _install(folder: Path) -> None:
    """The CPU build of torch is not on PyPI: a folder of wheels goes first, as in setup.sh."""
    links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    where = ("--find-links", links) if links else ("--torch-backend", "cpu")
    command = ("pip", "install", "-q", "--no-deps", "--compile-bytecode", *where, "-r", str(REQUIREMENTS))
    _uv(*command, environment=folder)


def _without_cuda_audio(folder: Path) -> None:
    """PyPI's torchaudio is a CUDA build whose library does not load beside torch's CPU build, and LLaMA-Factory imports
    it whatever it trains. Without that library it imports, and its Python functions work; text needs none of them."""
    found = subprocess.run([folder / "bin" / "python", "-c", "import torchaudio"], capture_output=True)
    if found.returncode:
        for library in folder.glob("lib/python3*/site-packages/torchaudio/lib/_torchaudio*.so"):
            library.unlink()


def _uv(*arguments: str, environment: Path | None = None) -> None:
    uv = Path(sys.executable).with_name("uv")
    env = {**os.environ, **({"VIRTUAL_ENV": str(environment)} if environment else {})}
    try:
        subprocess.run([uv, *arguments], env=env, check=True, capture_output=True, text=True, timeout=LIMIT)
    except FileNotFoundError:
        raise PeerError("uv is not in our environment, so its environment cannot be made") from None
    except subprocess.TimeoutExpired:
        raise PeerError(f"its environment was not installed after {LIMIT} s") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or ["uv failed"]
        raise PeerError(f"its environment cannot be installed: {said[0][:160]}") from None
