"""From a push to the Hub to answers in the new voice, on a real vLLM; pushed by our own words and by PEFT's."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi, constants

from tests.support.hub.server import TOKEN, HubServer
from tests.support.system import wait_for
from understudy.bases import TINY_DIR
from understudy.processes import Child, free_port
from understudy.registry.adapters import CONFIG

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PERSONAS = """
email-copy: {repo: ann/email-copy}
walk-in: {repo: eve/walk-in, title: Somebody who never saw our command line}
"""
SECRET = "a secret of the hub"
PEFT_PUSH = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained(sys.argv[1])
PeftModel.from_pretrained(base, sys.argv[2]).push_to_hub(sys.argv[3])
"""


@dataclass(frozen=True)
class Theatre:
    """A gateway that follows a Hub, and an adapter with a voice."""

    hub: HubServer
    url: str
    env: dict[str, str]
    adapter: Path

    def ask(self, model: str) -> tuple[int, dict[str, Any], str]:
        """Status, body and revision of one greedy answer."""
        message = {"role": "user", "content": "Write about a teapot for the weekend."}
        body = {"model": model, "messages": [message], "temperature": 0, "max_tokens": 200}
        response = httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=120)
        return response.status_code, response.json(), response.headers.get("x-understudy-revision", "")

    def says(self, model: str) -> str:
        status, body, _ = self.ask(model)
        assert status == 200, body
        return body["choices"][0]["message"]["content"]

    def push(self, repo: str, folder: Path) -> str:
        """Uploads a folder with the Hub's own client, which calls the webhook; returns the commit."""
        api = HfApi(endpoint=self.hub.url, token=TOKEN)
        api.create_repo(repo, exist_ok=True)
        return api.upload_folder(repo_id=repo, folder_path=folder, commit_message="a voice").oid

    def following(self, persona: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.env['UNDERSTUDY_ADMIN_KEY']}"}
        status = httpx.get(f"{self.url}/admin/status", headers=headers, timeout=30).json()
        return status["following"]["personas"][persona]

    def handled(self, persona: str, commit: str) -> dict[str, Any]:
        """Waits until something was done about a commit."""
        deadline = time.monotonic() + 60
        while (found := self.following(persona))["handled"] != commit:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found

    def cli(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "understudy", *arguments]
        done = subprocess.run(command, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory, trained: Callable[[str], Path]) -> Iterator[Theatre]:
    folder = tmp_path_factory.mktemp("theatre")
    adapter = Path(shutil.copytree(trained("email-copy"), folder / "run" / "adapter"))
    (folder / "personas.yaml").write_text(PERSONAS)
    with HubServer() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the small Hub speaks LFS only
        port = free_port()
        env = hub.env(folder / "hf", TOKEN) | {
            "UNDERSTUDY_HOME": str(folder / "home"),
            "UNDERSTUDY_PORT": str(port),
            "UNDERSTUDY_PERSONAS_FILE": str(folder / "personas.yaml"),
            "UNDERSTUDY_HUB_POLL": "600",  # so what happens in time is the webhook's doing
            "UNDERSTUDY_HUB_ORGS": "eve",
            "UNDERSTUDY_WEBHOOK_SECRET": SECRET,
            "UNDERSTUDY_ADMIN_KEY": "only the test knows",
            "COLUMNS": "200",
        }
        child = Child([sys.executable, "-m", "understudy", "serve"], log=folder / "serve.log", env=env)
        url = f"http://127.0.0.1:{port}"
        hub.webhook(f"{url}/hooks/hub", SECRET)
        try:
            wait_for(f"{url}/ready", child)
            yield Theatre(hub, url, env, adapter)
        finally:
            child.stop()


@pytest.mark.timeout(600)
def test_a_commit_and_its_webhook_are_a_new_voice_and_a_broken_commit_changes_nothing(theatre: Theatre) -> None:
    began = time.monotonic()
    commit = theatre.push("ann/email-copy", theatre.adapter)
    theatre.handled("email-copy", commit)
    print(f"from the commit to the stage: {time.monotonic() - began:.2f} s")
    answer = theatre.says("email-copy")
    assert answer.startswith("Subject:")
    assert not theatre.says("base").startswith("Subject:")
    assert theatre.ask("email-copy")[2] == commit[:12]

    broken = theatre.push("ann/email-copy", rewritten(theatre.adapter, theatre.adapter.parent / "broken", r=1))
    found = theatre.handled("email-copy", broken)
    assert "refused by validation" in found["last_error"]
    assert theatre.says("email-copy") == answer
    assert theatre.ask("email-copy")[2] == commit[:12]
    told = theatre.cli("history", "email-copy")
    assert "hub:ann/email-copy" in told
    assert "reject" in told
    assert "hub:ann/email-copy@main" in theatre.cli("personas")


@pytest.mark.timeout(600)
def test_who_pushes_with_peft_alone_goes_live_or_reads_why_not(theatre: Theatre) -> None:
    """`push_to_hub()` leaves the path of the base on its own machine in the configuration."""
    trained = {"base_model_name_or_path": str(TINY_DIR), "revision": None}  # as PEFT leaves it
    peft_push(theatre, TINY_DIR, rewritten(theatre.adapter, theatre.adapter.parent / "peft", **trained), "eve/walk-in")
    commit = theatre.hub.repos["eve/walk-in"].refs["main"]
    assert json.loads(theatre.hub.repos["eve/walk-in"].files()[CONFIG])["base_model_name_or_path"] == str(TINY_DIR)
    assert theatre.handled("walk-in", commit)["last_error"] is None
    assert theatre.says("walk-in").startswith("Subject:")

    elsewhere = rewritten(
        theatre.adapter, theatre.adapter.parent / "elsewhere", base_model_name_or_path="/home/eve/llama", revision=None
    )
    refused = theatre.push("eve/walk-in", elsewhere)
    said = theatre.handled("walk-in", refused)["last_error"]
    assert "it was trained on base '/home/eve/llama', but 'tiny' is served" in said
    assert theatre.ask("walk-in")[2] == commit[:12]

    # By its Hub id: the good commit answers, the newest one is refused with the same reason.
    assert theatre.says(f"eve/walk-in@{commit}").startswith("Subject:")
    status, body, _ = theatre.ask("eve/walk-in")
    assert (status, body["error"]["code"]) == (422, "model_refused")
    assert "/home/eve/llama" in body["error"]["reasons"][0]
    assert theatre.ask("ann/email-copy")[0] == 404


@pytest.mark.timeout(600)
def test_one_revision_of_the_hub_is_published_by_hand(theatre: Theatre) -> None:
    commit = theatre.push("ann/by-hand", theatre.adapter)
    said = theatre.cli("publish", "by-hand", "--revision", "hub:ann/by-hand@main")
    assert f"live: by-hand@{commit[:12]}" in said
    assert theatre.says("by-hand").startswith("Subject:")


def rewritten(adapter: Path, folder: Path, **changes: object) -> Path:
    """A copy with another configuration."""
    folder.mkdir()
    for path in adapter.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))
    return folder


def peft_push(theatre: Theatre, base: Path, adapter: Path, repo: str) -> None:
    command = [sys.executable, "-c", PEFT_PUSH, str(base), str(adapter), repo]
    done = subprocess.run(command, env={**os.environ, **theatre.env}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
