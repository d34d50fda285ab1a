"""A gateway with its engine in a private home, for measuring; and adapters to publish there."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from understudy.config.settings import PROJECT, Settings, load_settings
from understudy.processes import Child, free_port
from understudy.registry.adapters import CONFIG, WEIGHTS
from understudy.registry.records import Revision
from understudy.registry.registry import Registry, open_registry

NOISE = 0.01
"""Noise in a varied adapter, in standard deviations of each of its matrices: above the step of bfloat16."""

TINY = {"base": "tiny", "recipes_dir": PROJECT / "tests" / "recipes"}
"""Settings of benches that measure the machinery and not a model."""

START = 1800
"""Seconds after which we give up."""


@dataclass(frozen=True)
class Stage:
    """A running gateway."""

    settings: Settings
    child: Child
    env: dict[str, str]

    @property
    def url(self) -> str:
        return self.settings.gateway

    @property
    def engine_url(self) -> str:
        """Where vLLM itself listens, from its log."""
        log = (self.settings.logs_dir / "engine.log").read_text()
        return re.findall(r"Starting vLLM server on (\S+)", log)[-1]

    @property
    def registry(self) -> Registry:
        return open_registry(self.settings)

    def admin(self, action: str, **body: Any) -> dict[str, Any]:
        """POST /admin/ACTION; raises when it is refused."""
        headers = {"Authorization": f"Bearer {self.settings.admin_secret}"}
        response = httpx.post(f"{self.url}/admin/{action}", json=body, headers=headers, timeout=600)
        if response.status_code != 200:
            raise SystemExit(f"{action}: {response.text}")
        return response.json()

    def status(self) -> dict[str, Any]:
        """GET /admin/status."""
        headers = {"Authorization": f"Bearer {self.settings.admin_secret}"}
        return httpx.get(f"{self.url}/admin/status", headers=headers, timeout=60).json()

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The gateway's own process, and those of the engine."""
        serving = next(p for p in psutil.Process(self.child.pid).children(recursive=True) if "serve" in p.cmdline())
        return {"gateway": [serving], "engine": serving.children(recursive=True)}


@contextlib.contextmanager
def open_stage(home: Path | None = None, **settings: Any) -> Iterator[Stage]:
    """Starts `understudy serve`, waits until it is ready, and ends it. Settings by name, as in `Settings`.

    The base is the tiny one unless `base` says otherwise, and it learns the simple recipes of the tests.
    """
    settings = {**TINY, **settings} if settings.get("base", "tiny") == "tiny" else settings
    with contextlib.ExitStack() as stack:
        home = home or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        wanted = {"home": home, "runs_dir": home / "runs", "port": free_port(), **settings}
        env = {f"UNDERSTUDY_{name.upper()}": str(value) for name, value in wanted.items()}
        child = Child([sys.executable, "-m", "understudy", "serve"], log=home / "serve.log", env=env)
        stack.callback(child.stop)
        stage = Stage(load_settings(**wanted), child, env)
        _wait_ready(stage)
        yield stage


def train(recipe: str, home: Path, base: str = "tiny") -> Revision:
    """Trains a recipe (on the tiny base one of the tests) into the registry of `home`."""
    env = {**os.environ, "UNDERSTUDY_HOME": str(home), "UNDERSTUDY_RUNS_DIR": str(home / "runs")}
    env["UNDERSTUDY_RECIPES_DIR"] = str(TINY["recipes_dir"] if base == "tiny" else PROJECT / "recipes")
    command = [sys.executable, "-m", "understudy", "train", recipe, "--base", base]
    subprocess.run(command, env=env, check=True, capture_output=True)
    return open_registry(load_settings(home=home)).revision(recipe)


def vary(registry: Registry, revision: Revision, number: int, persona: str = "", noise: float = NOISE) -> Revision:
    """A new revision with the same voice: the weights of `revision` with a breath of noise."""
    import torch
    from safetensors.torch import load_file, save_file

    source, random = registry.path(revision), torch.Generator().manual_seed(number)
    weights = load_file(source / WEIGHTS)
    for name, tensor in weights.items():
        breath = torch.randn(tensor.shape, generator=random) * tensor.float().std() * noise
        weights[name] = (tensor.float() + breath).to(tensor.dtype)
    with tempfile.TemporaryDirectory() as folder:
        save_file(weights, Path(folder) / WEIGHTS)
        shutil.copy(source / CONFIG, folder)
        card = registry.persona(revision.persona).card
        return registry.push(persona or revision.persona, Path(folder), card=card, actor="bench")


def memory(processes: list[psutil.Process]) -> float:
    """Their memory in MiB: unique set sizes where the system tells them, so that nothing counts twice."""
    return sum(p.memory_full_info().uss for p in processes) / 2**20


def _wait_ready(stage: Stage) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        if stage.child.exit_code is not None:
            raise SystemExit(f"the gateway ended:\n{stage.child.log_tail()}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{stage.url}/ready", timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"the gateway was not ready after {START} s")
