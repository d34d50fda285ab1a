"""`understudy serve --on hf-jobs`: what is written, what the real Hub client sends, and the script itself, run."""

import re
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from serve.hf_job import PORT, write_serving_job
from tests.support.hub.jobs import JOB, TOKEN, JobsServer
from tests.support.job_scripts import header, in_a_folder_of_its_own, outside
from understudy.config.settings import PROJECT, Settings, load_settings
from understudy.errors import JobError
from understudy.hub_jobs.plan import IMAGE, JobPlan
from understudy.processes import free_port

PERSONAS = "poet:\n  repo: ann/poet\n  follow: v*\n"


@pytest.fixture
def hub() -> Iterator[JobsServer]:
    with JobsServer() as server:
        yield server


@pytest.fixture
def following(settings: Settings) -> Settings:
    """Settings whose personas follow the Hub."""
    path = settings.home / "personas.yaml"
    path.parent.mkdir()
    path.write_text(PERSONAS)
    return settings.model_copy(update={"personas_file": path})


def said(*arguments: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    places = {"UNDERSTUDY_HOME": str(home), "UNDERSTUDY_PERSONAS_FILE": str(home / "personas.yaml")}
    words = [f"{name}={value}" for name, value in {**places, **env}.items()]
    command = ["env", *words, sys.executable, "-m", "understudy", "serve", "--on", "hf-jobs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


# What is written


def test_the_script_holds_what_is_followed_and_the_versions_that_serve_here(following: Settings):
    job, secrets = write_serving_job(following, JobPlan(flavor="l4x1", timeout="8h"))
    says = runpy.run_path(str(job.script))["JOB"]
    assert says["files"] == {"personas.yaml": PERSONAS}
    assert (says["does"], says["seconds"], says["options"]) == (
        "serve",
        8 * 3600,
        ["--host", "0.0.0.0", "--port", str(PORT)],
    )
    assert says["env"]["UNDERSTUDY_BASE"] == "tiny"
    needs = header(job)["dependencies"]
    assert {"vllm==0.32.0"} <= set(needs)
    assert {"fastapi", "aiohttp", "safetensors"} <= {need.partition("==")[0] for need in needs}
    assert not {"trl", "gradio", "pytest"} & {need.partition("==")[0] for need in needs}
    assert secrets == {}


def test_settings_that_mean_the_same_there_go_along_and_those_of_this_machine_do_not(
    following: Settings, monkeypatch: pytest.MonkeyPatch
):
    for name, value in (("SLOTS", "4"), ("HUB_ORGS", "ann"), ("ENGINE_URL", "http://x"), ("HOST", "10.0.0.1")):
        monkeypatch.setenv(f"UNDERSTUDY_{name}", value)
    settings = load_settings(home=following.home, base="Qwen/Qwen3-0.6B", personas_file=following.personas_file)
    job, _ = write_serving_job(settings, JobPlan())
    env = runpy.run_path(str(job.script))["JOB"]["env"]
    assert env == {"UNDERSTUDY_BASE": "Qwen/Qwen3-0.6B", "UNDERSTUDY_SLOTS": "4", "UNDERSTUDY_HUB_ORGS": "ann"}


def test_with_a_key_the_port_is_public_and_keys_are_secrets(following: Settings):
    keys = {"api_key": SecretStr("k-inference"), "admin_key": SecretStr("k-admin")}
    settings = following.model_copy(update={**keys, "database_url": "postgresql://ann:pw@db/votes"})
    job, secrets = write_serving_job(settings, JobPlan())
    assert job.public
    assert secrets == {
        "UNDERSTUDY_API_KEY": "k-inference",
        "UNDERSTUDY_ADMIN_KEY": "k-admin",
        "UNDERSTUDY_DATABASE_URL": "postgresql://ann:pw@db/votes",
    }
    assert not [value for value in secrets.values() if value in job.script.read_text()]
    assert "--expose-public 8000 --secrets HF_TOKEN --secrets UNDERSTUDY_API_KEY" in " ".join(job.command)


def test_what_a_job_could_not_serve_is_refused(following: Settings, tmp_path: Path):
    for changes, says in (
        ({"personas_file": None}, "say which repositories it follows"),
        ({"base": str(shutil.copytree(PROJECT / "understudy" / "bases" / "tiny", tmp_path / "base"))}, "is a folder"),
    ):
        with pytest.raises(JobError, match=says):
            write_serving_job(following.model_copy(update=changes), JobPlan())
    with pytest.raises(JobError, match="--flavor l4: the Hub has no such hardware"):
        write_serving_job(following, JobPlan(flavor="l4"))


# What is submitted


def test_a_dry_run_prints_script_and_command_and_asks_nobody(following: Settings, hub: JobsServer):
    done = said("--flavor", "l4x1", "--timeout", "8h", "--dry-run", home=following.home, **hub.env(following.home))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# /// script\n")
    assert f"hf jobs uv run --image {IMAGE} --flavor l4x1 --timeout 8h --expose 8000" in done.stderr.replace("\n", "")
    assert TOKEN not in done.stdout + done.stderr
    assert hub.asked == []


@pytest.mark.parametrize("key", ["", "k-inference"])
def test_a_job_is_submitted_with_its_port_and_followed(following: Settings, hub: JobsServer, key: str):
    env = {**hub.env(following.home), **({"UNDERSTUDY_API_KEY": key} if key else {})}
    done = said("--timeout", "90m", home=following.home, **env)
    assert done.returncode == 0, done.stderr
    (job,) = hub.submitted
    assert job["expose"] == {"ports": [PORT], "portsPublic": [PORT] if key else []}
    assert job["secrets"] == {"HF_TOKEN": TOKEN, **({"UNDERSTUDY_API_KEY": key} if key else {})}
    assert (job["dockerImage"], job["timeoutSeconds"]) == (IMAGE, 5400)
    assert job["command"] == ["uv", "run", "/data/serve.py", "/data/bundle.zip"]
    who = "whoever has UNDERSTUDY_API_KEY" if key else "tokens of the Hub that may read the job"
    assert f"its gateway, for {who}: https://{JOB}--8000.hf.jobs" in done.stderr.replace("\n", " ")
    assert hub.log[0] in done.stdout


def test_options_of_a_job_need_a_job(following: Settings, hub: JobsServer):
    done = said("--on", "here", "--timeout", "8h", home=following.home, **hub.env(following.home))
    assert done.returncode == 1
    assert "--timeout is for a job; add --on hf-jobs" in done.stderr


# The script, run


@pytest.mark.slow
def test_the_script_serves_and_ends_before_its_time_out_with_a_warning(
    following: Settings, hub: JobsServer, tmp_path: Path
):
    """The engine of this gateway is elsewhere and away: what the script itself does needs none."""
    job, _ = write_serving_job(following, JobPlan(timeout="1h"))
    port = free_port()
    job.script.write_text(job.script.read_text().replace(f"'{PORT}'", f"'{port}'"))
    began = datetime.now(UTC) - timedelta(hours=1) + timedelta(seconds=65)
    hub.started_at = began.isoformat().replace("+00:00", "Z")
    env = outside(JOB_ID=JOB, UNDERSTUDY_ENGINE_URL=f"http://127.0.0.1:{free_port()}", **hub.env(tmp_path / "hf"))
    command = in_a_folder_of_its_own(job, tmp_path / "job")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path / "job", env=env, stdout=log, stderr=log)
    try:
        assert answers(f"http://127.0.0.1:{port}/health", process), (tmp_path / "log").read_text()
        assert process.wait(60) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
    told = (tmp_path / "log").read_text()
    end = (began + timedelta(hours=1)).strftime("%H:%M:%S UTC")
    assert f"this job ends at {end}; the next one has another address" in told
    assert re.findall(r"WARNING: this job ends in (\d+) s", told) == ["60", "30"]
    assert datetime.now(UTC) < began + timedelta(hours=1), "answers in progress had time to finish"


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 45
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return httpx.get(url).status_code == 200
        except httpx.TransportError:
            time.sleep(0.2)
    return False
