"""The images: what can be checked without a container engine, and their entry points run by hand."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.dockerfile import TARGETS, Stage, stages
from understudy.config.settings import PROJECT, Settings
from understudy.processes import free_port

STAGES = stages()
ENDED = (0, -signal.SIGTERM)
"""Exit codes after SIGTERM: uvicorn tidies up, and then ends by the signal that it was sent."""
SETTINGS = {f"UNDERSTUDY_{name.upper()}" for name in Settings.model_fields}


# --- the images -----------------------------------------------------------------------------------------------------
def test_hadolint_has_nothing_to_say() -> None:
    tool = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([tool, PROJECT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_every_image_is_built_on_a_version_that_is_named() -> None:
    outside = [stage.base for stage in STAGES.values() if stage.base not in STAGES]
    assert len(outside) == 3
    assert all(re.search(r":v?\d+\.\d+\.\d+", base) for base in outside), outside
    requirements = (PROJECT / "requirements" / "gpu.txt").read_text()
    assert STAGES["engine"].base.partition(":v")[2] == re.search(r"^vllm==(\S+)", requirements, re.MULTILINE).group(1)  # pyright: ignore[reportOptionalMemberAccess]
    assert list(STAGES)[-1] == "cpu", "the last stage is what `docker build .` makes"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_nobody_special_and_passes_signals_on(target: str) -> None:
    stage = STAGES[target]
    assert stage.last("USER") == "1000"
    assert stage.command("ENTRYPOINT") == ["tini", "--"]
    assert stage.command("CMD")
    assert stage.command("HEALTHCHECK")[0] == "python"
    assert {name for name in stage.variables() if name.startswith("UNDERSTUDY_")} <= SETTINGS
    assert stage.variables()["UNDERSTUDY_HOST"] == "0.0.0.0"


@pytest.mark.parametrize("target", ["space", "engine"])
def test_an_image_holds_only_what_it_needs(target: str) -> None:
    copied = set(STAGES[target].copied())
    assert all((PROJECT / path).exists() for path in copied)
    assert "train" not in copied
    assert ("serve" in copied) == (target == "engine")
    asked = (PROJECT / "space" / "requirements.txt").read_text()
    assert not re.search(r"^(torch|vllm|transformers)", asked, re.MULTILINE)


@pytest.fixture
def context() -> Iterator[list[str]]:
    """The paths that Docker's client sends to the builder."""
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("docker is not on PATH")
    sent: list[bytes] = []

    class Daemon(BaseHTTPRequestHandler):
        """As much of Docker's API as a client needs to send its build context."""

        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            self._answer(b"{}")

        def do_POST(self) -> None:
            body = bytearray()
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            sent.append(bytes(body))
            self._answer(b"{}")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            for name, value in {"Api-Version": "1.50", "OSType": "linux", "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the library
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Daemon) as daemon:
        threading.Thread(target=daemon.serve_forever, daemon=True).start()
        env = {**os.environ, "DOCKER_BUILDKIT": "0", "DOCKER_HOST": f"tcp://127.0.0.1:{daemon.server_port}"}
        subprocess.run([docker, "build", "."], cwd=PROJECT, env=env, capture_output=True, timeout=60, check=True)
        daemon.shutdown()
    with tarfile.open(fileobj=io.BytesIO(sent[0])) as archive:
        yield archive.getnames()


def test_the_build_context_holds_what_is_copied_and_nothing_private(context: list[str]) -> None:
    for stage in STAGES.values():
        for path in stage.copied():
            assert path == "." or any(name == path or name.startswith(f"{path}/") for name in context), path
    tops = {name.split("/")[0] for name in context}
    assert not tops & {".git", ".venv", ".understudy", "runs", "artifacts", "deploy", "docs", "tests"}
    assert not [name for name in context if re.search(r"\.key$|\.env$|__pycache__|secrets/", name)]


# --- the entry points, by hand --------------------------------------------------------------------------------------
class Container:
    """What an image starts, as a plain process in a folder that holds what the image does."""

    def __init__(self, stage: Stage, folder: Path, *, command: list[str] | None = None) -> None:
        copied = set(stage.copied())
        for path in ("understudy", "train", "serve", "evaluate", "arena", "space", "recipes"):
            if not copied & {path, "."}:
                continue
            shutil.copytree(PROJECT / path, folder / "app" / path, ignore=shutil.ignore_patterns("__pycache__"))
        self.ports = {"8000": str(free_port()), "7860": str(free_port())}
        env = {name: value.replace("/home/user", str(folder)) for name, value in stage.variables().items()}
        env |= {"UNDERSTUDY_PORT": self.ports["8000"], "UNDERSTUDY_SPACE_PORT": self.ports["7860"]}
        self.env = env | {"PATH": os.environ["PATH"], "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
        self.stage, self.folder = stage, folder / "app"
        program, *rest = command or stage.command("CMD")
        words = [sys.executable, *(["-m", "understudy"] if program == "understudy" else []), *rest]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                words, cwd=self.folder, env={**os.environ, **self.env}, stdout=log, stderr=log
            )

    def healthy(self) -> bool:
        """What its HEALTHCHECK says."""
        _, *rest = self.stage.command("HEALTHCHECK")
        rest = [re.sub(r"127\.0\.0\.1:(\d+)", lambda m: f"127.0.0.1:{self.ports[m[1]]}", word) for word in rest]
        return subprocess.run([sys.executable, *rest], capture_output=True, timeout=30, check=False).returncode == 0

    def wait_healthy(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self.healthy():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.5)

    def stop(self) -> int:
        """SIGTERM, as `docker stop` sends it, and everything must be gone; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        deadline = time.monotonic() + 30
        while left := self.family():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
        return code

    def family(self) -> set[int]:
        """Every process that carries our home in its environment."""
        mark, found = f"UNDERSTUDY_HOME={self.env['UNDERSTUDY_HOME']}".encode(), set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it ended, or is somebody else's
                if mark in path.read_bytes():
                    found.add(int(path.parent.name))
        return found


def test_the_space_image_starts_with_what_it_holds_and_stops_when_told(tmp_path: Path) -> None:
    container = Container(STAGES["space"], tmp_path)
    try:
        container.wait_healthy(90)
    finally:
        code = container.stop()
    assert code in ENDED, container.log.read_text()


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_engine_image_gets_ready_with_what_it_holds_and_stops_when_told(tmp_path: Path) -> None:
    container = Container(STAGES["engine"], tmp_path)
    try:
        assert not container.healthy()
        container.wait_healthy(240)
        assert len(container.family()) > 2
    finally:
        code = container.stop()
    assert code in ENDED, container.log.read_text()


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_cpu_image_is_the_demo(tmp_path: Path) -> None:
    container = Container(STAGES["cpu"], tmp_path)
    try:
        container.wait_healthy(500)
        deadline = time.monotonic() + 120
        while "Ctrl-C ends everything" not in container.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.5)
    finally:
        code = container.stop()
    said = container.log.read_text()
    assert "email-copy@" in said
    assert code == 0, said
    assert (tmp_path / "state" / "runs" / "email-copy").is_dir(), "everything that is kept is in the state's volume"
