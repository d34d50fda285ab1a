"""`understudy space deploy --flavor zerogpu`: its files, its front matter, and that they run alone."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from space.deploy.deploy_space import deploy_space
from space.deploy.files import SpaceSpec, files, front_matter
from tests.support.hub.server import TOKEN, HubServer, Repo
from tests.support.hub.spaces import ZEROGPU_TORCH, build_trouble, matter_of, run_space
from tests.support.space import Page, wait_for_page
from tests.support.zerogpu import adapter_files
from understudy.config.settings import PROJECT, Settings
from understudy.errors import DeployError
from understudy.processes import free_port

REPO, POET = "ann/stage", "ann/poet"
SPEC = SpaceSpec(REPO, flavor="zerogpu", models=(POET,))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with HubServer() as hub:
        hub.repos[POET] = Repo()
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def up(hub: HubServer, settings: Settings, spec: SpaceSpec = SPEC, **changes: object) -> None:
    settings = settings.model_copy(update={"hub_endpoint": hub.url, **changes})
    deploy_space(settings, spec, endpoint="", private=False, dry_run=False)


def test_the_front_matter_has_what_zerogpu_has(hub: HubServer, settings: Settings):
    up(hub, settings, base="smollm2")
    base, space = "HuggingFaceTB/SmolLM2-135M-Instruct", hub.spaces[REPO]
    found = matter_of(space.files())
    assert build_trouble(space.files()) is None
    assert (space.sdk, space.hardware, space.secrets) == ("gradio", "zero-a10g", {})
    assert space.variables == {"UNDERSTUDY_BASE": base}
    assert (found["sdk"], found["python_version"], found["app_file"]) == ("gradio", "3.12", "app.py")
    assert (found["models"], found["preload_from_hub"]) == ([base, POET], [base])
    assert yaml.safe_load(space.files()["personas.yaml"]) == {"poet": {"repo": POET}}


def test_the_requirements_are_those_we_test_with_and_a_torch_that_zerogpu_has(hub: HubServer, settings: Settings):
    up(hub, settings, base="smollm2")
    text = hub.spaces[REPO].files()["requirements.txt"].decode()
    pins = dict(re.findall(r"^([\w-]+)(?:\[[\w,]+\])?==(\S+)$", text, re.MULTILINE))
    locked = dict(re.findall(r"^([\w-]+)==(\S+)$", (PROJECT / "requirements/cpu.txt").read_text(), re.MULTILINE))
    assert pins.pop("torch") in ZEROGPU_TORCH
    assert pins.items() <= locked.items()
    assert {"transformers", "peft", "spaces", "gradio"} <= pins.keys()


def test_the_code_has_the_validation_and_no_engine():
    found = files(SpaceSpec(REPO, flavor="zerogpu", base="o/b", personas=b"a: {repo: o/a}\n"))
    assert {"space/backends/zerogpu.py", "serve/rollout/validate.py", "app.py", "personas.yaml"} <= found.keys()
    for never in ("serve/engine/vllm.py", "serve/app.py", "train/sft.py", "space/deploy/deploy.py"):
        assert never not in found
    assert b"spaces" in found["app.py"]
    gradio = files(SpaceSpec(REPO))
    assert not [path for path in gradio if "zerogpu" in path or path.startswith("serve")]
    assert "preload_from_hub" not in front_matter(SpaceSpec(REPO))


def test_a_personas_file_goes_along(hub: HubServer, settings: Settings, tmp_path: Path):
    path = tmp_path / "personas.yaml"
    path.write_text("rhymer:\n  repo: ann/poet\n  follow: v*\n")
    up(hub, settings, SpaceSpec(REPO, flavor="zerogpu"), base="Qwen/Qwen3-0.6B", personas_file=path)
    there = hub.spaces[REPO].files()
    assert there["personas.yaml"] == path.read_bytes()
    assert matter_of(there)["models"] == ["Qwen/Qwen3-0.6B", "ann/poet"], "the Hub shows the Space beside them"


def test_keys_that_mean_something_there_become_secrets(hub: HubServer, settings: Settings):
    up(hub, settings, base="smollm2", admin_key=SecretStr("a"), webhook_secret=SecretStr("w"), api_key=SecretStr("k"))
    assert hub.spaces[REPO].secrets == {"UNDERSTUDY_ADMIN_KEY": "a", "UNDERSTUDY_WEBHOOK_SECRET": "w"}


def test_its_page_of_files_can_be_duplicated_and_linked(hub: HubServer, settings: Settings):
    up(hub, settings, base="smollm2")
    text = hub.spaces[REPO].files()["README.md"].decode()
    assert f"(https://huggingface.co/spaces/{REPO}?duplicate=true)" in text
    assert f"open-in-hf-spaces-md.svg)](https://huggingface.co/spaces/{REPO})" in text


@pytest.mark.parametrize(
    ("spec", "endpoint", "base", "says"),
    [
        (SpaceSpec(REPO, flavor="zerogpu"), "", "smollm2", "--model ORG/NAME"),
        (SPEC, "https://models.example.org", "smollm2", "leave --endpoint out"),
        (SPEC, "", str(PROJECT / "tests"), "is a folder of this machine"),
        (SpaceSpec(REPO, flavor="zerogpu", models=("o/a_b",)), "", "smollm2", "cannot be a persona's name"),
        (SpaceSpec(REPO, flavor="zerogpu", models=("o/a", "p/a")), "", "smollm2", "two repositories have one name"),
        (SpaceSpec(REPO, flavor="zerogpu", models=(POET,), recipes=("x",)), "", "smollm2", "--flavor docker"),
    ],
)
def test_what_cannot_be_deployed_is_said_in_one_line(
    settings: Settings, spec: SpaceSpec, endpoint: str, base: str, says: str
):
    with pytest.raises(DeployError, match=re.escape(says)) as caught:
        deploy_space(settings.model_copy(update={"base": base}), spec, endpoint=endpoint, private=False, dry_run=True)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_what_was_deployed_runs_with_its_own_files_alone(hub: HubServer, settings: Settings, tmp_path: Path):
    first = hub.repos[POET].commit(adapter_files(1, card=json.dumps({"title": "The poet"})))
    up(hub, settings)
    space, folder, port = hub.spaces[REPO], tmp_path / "space", free_port()
    env = {"UNDERSTUDY_HUB_POLL": "0.5", "OMP_NUM_THREADS": "1", **space.variables, **hub.env(tmp_path / "hf")}
    process = run_space(space.files(), folder, env, port)
    try:
        page = wait_for_page(f"http://127.0.0.1:{port}", process, tmp_path / "space.log")
        assert _shown(page, first[:12]), (tmp_path / "space.log").read_text()[-3000:]
        fought = Page(page.http.base_url.__str__()).call("battle", "Write about a lamp.", "poet", "base")
        assert "process_completed" in fought
        assert first[:12] not in fought, "nothing in the traffic of a battle tells who is who"
        second = hub.repos[POET].commit(adapter_files(2, card=json.dumps({"title": "The poet"})))
        assert _shown(page, second[:12]), (tmp_path / "space.log").read_text()[-3000:]
    finally:
        process.terminate()
        process.wait(20)


def _shown(page: Page, revision: str) -> bool:
    """Whether the page has that revision within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if revision in page.call("refresh", None, None, None):
            return True
        time.sleep(0.5)
    return False
