"""Docker Spaces: their files, and the page that is up before the engine and outlives it."""

import importlib.util
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from space.backends.gateway import GatewayClient
from space.deploy.files import SpaceSpec, files
from tests.support.space import wait_for_page
from understudy.config.settings import PROJECT, load_settings
from understudy.errors import DeployError
from understudy.processes import free_port

REPO = "ann/stage"


@pytest.mark.parametrize("hardware", ["", "l4x1", "cpu-upgrade"])
def test_a_docker_space_has_everything_but_recipes_that_nobody_named(hardware: str):
    found = files(SpaceSpec(REPO, flavor="docker", hardware=hardware, recipes=("email-copy",), personas=b"a: {}\n"))
    recipes = {path.split("/")[1] for path in found if path.startswith("recipes/")}
    assert recipes == {"email-copy"}
    assert not [path for path in files(SpaceSpec(REPO, flavor="docker")) if path.startswith("recipes/")]
    assert {"pyproject.toml", "understudy/bases/tiny/config.json", "serve/app.py"} <= found.keys()
    assert found["personas.yaml"] == b"a: {}\n"
    dockerfile = found["Dockerfile"].decode()
    variant = "cpu" if hardware == "cpu-upgrade" else "gpu"
    for needed in re.findall(r"requirements/[\w.-]+\.txt", dockerfile):
        assert needed in found
    assert f"requirements/{variant}.txt" in dockerfile
    assert "USER 1000" in dockerfile
    assert "EXPOSE 7860" in dockerfile
    assert "HEALTHCHECK" in dockerfile
    assert not [path for path in found if path.startswith(("tests/", "runs/", ".")) or "__pycache__" in path]
    with pytest.raises(DeployError, match="no recipe 'nobody'"):
        files(SpaceSpec(REPO, flavor="docker", recipes=("nobody",)))


@pytest.mark.parametrize("name", ["gpu", "cpu"])
def test_hadolint_has_nothing_to_say(name: str):
    path = PROJECT / f"space/huggingface/docker/{name}.Dockerfile"
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
    version = re.search(r"^vllm==(\S+)", (PROJECT / "requirements/gpu.txt").read_text(), re.MULTILINE)
    assert version
    assert name == "cpu" or f"vllm/vllm-openai:v{version[1]}\n" in path.read_text()


def start_module() -> Any:
    spec = importlib.util.spec_from_file_location("start", PROJECT / "space/huggingface/docker/start.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_a_docker_space_is_up_before_the_engine_and_says_what_goes_on(tmp_path: Path):
    import asyncio

    port, space_port = free_port(), free_port()
    env = {
        "UNDERSTUDY_HOME": str(tmp_path),
        "UNDERSTUDY_PORT": str(port),
        "UNDERSTUDY_SPACE_PORT": str(space_port),
    }
    processes = start_module().SpaceProcesses(load_settings(home=tmp_path, port=port, space_port=space_port), env)
    try:
        processes.report("Teaching email-copy.")
        readiness = asyncio.run(GatewayClient(f"http://127.0.0.1:{port}").readiness())
        assert (readiness.status, readiness.detail.text()) == ("starting", "Teaching email-copy.")
        page = wait_for_page(f"http://127.0.0.1:{space_port}", processes.page._process, tmp_path / "log")
        assert "Teaching email-copy." in page.call("refresh", None, None, None)
    finally:
        processes.end()


def test_a_docker_space_outlives_its_engine_and_ends_when_told_to(tmp_path: Path):
    """The files that go up, run as the image does, with a base that is not there: the engine ends at once."""
    folder, port, space_port = tmp_path / "app", free_port(), free_port()
    for path, content in files(SpaceSpec(REPO, flavor="docker", hardware="cpu-basic")).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(folder),  # before the checkout, which the environment knows
        "UNDERSTUDY_HOME": str(tmp_path / "home"),
        "UNDERSTUDY_PORT": str(port),
        "UNDERSTUDY_SPACE_PORT": str(space_port),
        "UNDERSTUDY_BASE": "/nowhere",
    }
    command = [sys.executable, "start.py"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        page = wait_for_page(f"http://127.0.0.1:{space_port}", process, tmp_path / "log")
        deadline = time.monotonic() + 60
        while "started again" not in page.call("refresh", None, None, None):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-2000:]
            time.sleep(0.2)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{space_port}")
    finally:
        process.kill()
    assert "/nowhere" in (tmp_path / "log").read_text()
