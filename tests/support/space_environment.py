"""A Space as Hugging Face builds it: its own Python with nothing but its requirements, and the files of a deploy.

The environment is made once, outside the tree, and made again when the requirements change.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from space.deploy.files import REQUIREMENTS, SpaceSpec, files, gradio_pin
from tests.support.fake_gateway import FakeGateway
from understudy.config.settings import PROJECT
from understudy.processes import free_port

CACHE = Path.home() / ".cache" / "understudy-bench"
SECONDS = 300
"""That a download may take."""


def space_python() -> Path:
    """The interpreter of that environment; skips the test, saying why, where it cannot be made."""
    wanted = [*REQUIREMENTS.read_text().splitlines(), *builder_adds()]
    folder = CACHE / f"space-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    uv = shutil.which("uv", path=os.pathsep.join([str(PROJECT / ".venv" / "bin"), os.environ.get("PATH", "")]))
    if uv is None:
        pytest.skip("no uv to make the Space's environment with: pip install uv")
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [uv, "venv", "--quiet", "--python", "3.11", str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(REQUIREMENTS), *builder_adds()],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            pytest.skip(f"the Space's environment was not made within {SECONDS} s")
        if done.returncode:
            pytest.skip(f"the Space's environment cannot be made: {done.stderr.strip().splitlines()[-1:]}")
    (folder / "complete").touch()
    return python


def builder_adds() -> list[str]:
    """What the builder of a Gradio Space installs besides requirements.txt, in the `sdk_version` of README.md."""
    return [f"gradio[oauth,mcp]=={gradio_pin()}", "uvicorn>=0.14.0", "websockets>=10.4"]


class DeployedSpace:
    """The files of `understudy space deploy`, running with `python app.py` as the Hub would run them."""

    def __init__(self, folder: Path, gateway: FakeGateway, **env: str) -> None:
        self.folder, self.home = folder / "app", folder / "home"
        for path, content in files(SpaceSpec("ann/stage", oauth=True)).items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(content)
        self.port = int(env.get("UNDERSTUDY_SPACE_PORT") or free_port())
        self.url = f"http://localhost:{self.port}"
        self.log = folder / "space.log"
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "UNDERSTUDY_HOME": str(self.home),
            "UNDERSTUDY_GATEWAY_URL": gateway.url,
            "UNDERSTUDY_SPACE_PORT": str(self.port),
            **env,
        }

    def __enter__(self) -> "DeployedSpace":
        python = space_python()
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [python, "app.py"], cwd=self.folder, env=self.env, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self.url).status_code == 200:
                    return self
            time.sleep(0.2)
        self.__exit__()
        raise AssertionError(f"the Space did not start:\n{self.log.read_text()[-3000:]}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
