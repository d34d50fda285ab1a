"""The small Hub against the real clients: what they write is what they read, and its faults are real ones."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.support.hub.server import READ_TOKEN, TOKEN, HubServer, Repo
from understudy.bases import TINY_DIR


def client(hub: HubServer, home: Path, code: str, token: str = TOKEN) -> str:
    """Runs code in a process whose client knows this Hub; what it printed last."""
    env = {**os.environ, **hub.env(home, token), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    code = "from huggingface_hub import *\nfrom huggingface_hub.errors import *\napi = HfApi()\n" + dedent(code)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=100, cwd=home)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_a_repository_from_its_creation_to_its_end(hub: HubServer, tmp_path: Path) -> None:
    client(
        hub,
        tmp_path,
        """
        api.create_repo("ann/poet", private=True)
        assert api.whoami()["name"] == "ann"
        add = lambda path, data: CommitOperationAdd(path, data)
        one = api.create_commit("ann/poet", [add("a/b.txt", b"1"), add("model.safetensors", b"x" * 3000)],
                                commit_message="first")
        api.create_tag("ann/poet", tag="v1")
        two = api.create_commit("ann/poet", [add("c.txt", b"2"), CommitOperationDelete("a/", is_folder=True)],
                                commit_message="second", parent_commit=one.oid)
        assert api.list_repo_files("ann/poet") == [".gitattributes", "c.txt", "model.safetensors"]
        assert api.list_repo_files("ann/poet", revision="v1") == [".gitattributes", "a/b.txt", "model.safetensors"]
        assert [c.title for c in api.list_repo_commits("ann/poet")] == ["second", "first", "initial commit"]
        assert [t.path for t in api.list_repo_tree("ann/poet", revision="v1")] == [".gitattributes", "a",
                                                                                     "model.safetensors"]
        assert api.get_paths_info("ann/poet", ["model.safetensors"])[0].lfs.size == 3000
        refs = api.list_repo_refs("ann/poet")
        assert [(t.name, t.target_commit) for t in refs.tags] == [("v1", one.oid)], refs
        assert [(b.name, b.target_commit) for b in refs.branches] == [("main", two.oid)]
        folder = snapshot_download("ann/poet", revision="v1")
        assert open(folder + "/a/b.txt").read() == "1"
        again = api.create_commit("ann/poet", [add("c.txt", b"2")], commit_message="third")
        assert again.oid == two.oid
        api.create_branch("ann/poet", branch="draft", revision="v1")
        api.delete_tag("ann/poet", tag="v1")
        assert api.list_repo_refs("ann/poet").tags == []
        """,
    )
    assert hub.repos["ann/poet"].private
    assert hub.repos["ann/poet"].refs.keys() == {"main", "draft"}
    client(hub, tmp_path, "api.delete_repo('ann/poet'); assert not api.repo_exists('ann/poet')")
    assert hub.repos == {}


@pytest.mark.parametrize(
    ("code", "token", "says"),
    [
        ("api.create_repo('ann/poet')", TOKEN, "409"),
        ("api.create_repo('ann/new')", READ_TOKEN, "403"),
        ("api.create_repo('ann/new')", "", "401"),
        ("api.create_repo('other/new')", TOKEN, "403"),
        ("api.create_tag('ann/poet', tag='v1')", TOKEN, "409"),
        ("api.create_tag('ann/poet', tag='v2', revision='nowhere')", TOKEN, "RevisionNotFoundError"),
        ("api.upload_file(path_or_fileobj=b'1', path_in_repo='a', repo_id='ann/poet')", READ_TOKEN, "403"),
        ("api.upload_file(path_or_fileobj=b'1', path_in_repo='a', repo_id='ann/none')", TOKEN, "RepositoryNotFound"),
        (
            "api.upload_file(path_or_fileobj=b'2', path_in_repo='a', repo_id='ann/poet', parent_commit='0'*40)",
            TOKEN,
            "412",
        ),
        (
            "api.upload_file(path_or_fileobj=b'---\\na: [\\n---', path_in_repo='README.md', repo_id='ann/poet')",
            TOKEN,
            "Invalid metadata",
        ),
        ("api.model_info('ann/secret')", "", "RepositoryNotFoundError"),
        ("hf_hub_download('ann/gated', 'a')", "", "GatedRepoError"),
        ("hf_hub_download('ann/poet', 'b')", TOKEN, "EntryNotFoundError"),
        ("api.whoami()", "hf_wrong", "Invalid user token"),
    ],
)
def test_refusals_are_those_that_the_client_knows(
    hub: HubServer, tmp_path: Path, code: str, token: str, says: str
) -> None:
    hub.foreign.add("other")
    hub.repos |= {"ann/poet": Repo(), "ann/secret": Repo(private=True), "ann/gated": Repo(gated=True)}
    for repo in hub.repos.values():
        repo.commit({"a": b"1"})
    hub.repos["ann/poet"].commit({"a": b"0"}, "v1")
    told = client(hub, tmp_path, f"try:\n  {code}\nexcept Exception as e:\n  print(type(e).__name__, e)", token)
    assert says in told


def test_a_cut_download_goes_on_where_it_was_cut(hub: HubServer, tmp_path: Path) -> None:
    hub.repos["ann/poet"] = Repo()
    data = os.urandom(300_000)
    hub.repos["ann/poet"].commit({"model.safetensors": data})
    hub.cut(100_000, matching="GET .*safetensors")
    told = client(hub, tmp_path, "print(hf_hub_download('ann/poet', 'model.safetensors'))")
    assert Path(told).read_bytes() == data
    assert sum("GET /ann/poet/resolve" in line for line in hub.asked) == 2


def test_an_object_that_was_uploaded_is_not_sent_again(hub: HubServer, tmp_path: Path) -> None:
    code = """
    api.create_repo("ann/poet", exist_ok=True)
    files = [CommitOperationAdd("model.safetensors", b"x" * 3000)]
    try:
        api.create_commit("ann/poet", files, commit_message="one")
    except HfHubHTTPError as e:
        print(e.response.status_code)
    """
    hub.fail(400, matching="POST .*/commit/", times=1)
    assert client(hub, tmp_path, code) == "400"
    assert client(hub, tmp_path, code) == ""
    assert sum(line.startswith("PUT /_lfs/") for line in hub.asked) == 1
    assert hub.repos["ann/poet"].files()["model.safetensors"] == b"x" * 3000


def test_a_cut_upload_is_sent_again(hub: HubServer, tmp_path: Path) -> None:
    hub.cut(70_000, matching="PUT /_lfs/")
    code = """
    api.create_repo("ann/poet")
    api.create_commit("ann/poet", [CommitOperationAdd("m.safetensors", b"x" * 300_000)], commit_message="one")
    """
    client(hub, tmp_path, code)
    assert len(hub.repos["ann/poet"].files()["m.safetensors"]) == 300_000
    assert sum(line.startswith("PUT /_lfs/") for line in hub.asked) == 2


def test_a_hub_that_is_down_comes_back_as_it_was(hub: HubServer, tmp_path: Path) -> None:
    hub.repos["ann/poet"] = Repo()
    sha = hub.repos["ann/poet"].commit({"a": b"1"})
    hub.stop()
    code = "try:\n  print(api.model_info('ann/poet', timeout=5).sha)\nexcept Exception as e:\n  print(type(e).__name__)"
    assert client(hub, tmp_path, code) == "ConnectError"
    hub.start()
    assert client(hub, tmp_path, code) == sha
    hub.slow(3, matching="/api/models")
    assert client(hub, tmp_path, code.replace("timeout=5", "timeout=1")) == "ReadTimeout"
    hub.heal()
    hub.fail(503, times=1)
    assert client(hub, tmp_path, code) in (sha, "HfHubHTTPError")


def test_commits_and_tags_are_announced(hub: HubServer, tmp_path: Path) -> None:
    heard: list[tuple[str | None, dict[str, Any]]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append((self.headers["x-webhook-secret"], json.loads(body)))
            self.send_response(204)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    hub.webhook(f"http://127.0.0.1:{server.server_port}/", "s3cret", watching="^ann/")
    create = """
    for name in ("ann/poet", "bob/poet"):
        api.create_repo(name)
        api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=name)
    """
    for number, code in enumerate([create, "api.create_tag('ann/poet', tag='v1')"], start=1):
        client(hub, tmp_path, code)
        wait_until(lambda number=number: len(hub.delivered) == number)
    server.shutdown()
    server.server_close()
    sha, first = hub.repos["ann/poet"].refs["main"], next(iter(hub.repos["ann/poet"].commits))
    assert [secret for secret, _ in heard] == ["s3cret", "s3cret"]
    assert [payload["updatedRefs"] for _, payload in heard] == [
        [{"ref": "refs/heads/main", "oldSha": first, "newSha": sha}],
        [{"ref": "refs/tags/v1", "oldSha": None, "newSha": sha}],
    ]
    repo = heard[0][1]["repo"]
    assert repo.items() >= {"type": "model", "name": "ann/poet", "headSha": sha, "private": False}.items()
    assert heard[0][1]["event"] == {"action": "update", "scope": "repo.content"}
    assert hub.delivered == [204, 204]


def test_spaces_have_secrets_variables_and_a_runtime(hub: HubServer, tmp_path: Path) -> None:
    client(
        hub,
        tmp_path,
        """
        api.create_repo("ann/stage", repo_type="space", space_sdk="gradio",
                        space_variables=[{"key": "A", "value": "1"}])
        api.add_space_secret("ann/stage", "KEY", "s3cret")
        assert set(api.add_space_variable("ann/stage", "B", "2")) == {"A", "B"}
        assert set(api.get_space_secrets("ann/stage")) == {"KEY"}
        api.delete_space_variable("ann/stage", "A")
        api.upload_file(path_or_fileobj=b"1", path_in_repo="app.py", repo_id="ann/stage", repo_type="space")
        assert api.space_info("ann/stage").sdk == "gradio"
        api.pause_space("ann/stage")
        assert api.get_space_runtime("ann/stage").stage == "PAUSED"
        assert api.restart_space("ann/stage").stage == "RUNNING"
        api.request_space_hardware("ann/stage", "t4-small", sleep_time=3600)
        """,
    )
    space = hub.spaces["ann/stage"]
    assert (space.secrets, space.variables) == ({"KEY": "s3cret"}, {"B": "2"})
    assert (space.restarts, space.hardware, space.sleep_seconds) == (1, "t4-small", 3600)
    assert space.files()["app.py"] == b"1"


def test_data_sets_go_there_and_back(hub: HubServer, tmp_path: Path) -> None:
    told = client(
        hub,
        tmp_path,
        """
        from datasets import Dataset, load_dataset
        Dataset.from_list([{"a": 1}, {"a": 2}]).push_to_hub("ann/rows", private=True)
        api.upload_file(path_or_fileobj=b'{"b": 3}\\n', path_in_repo="x.jsonl", repo_id="ann/rows", repo_type="dataset")
        print(load_dataset("ann/rows", split="train")["a"][:])
        """,
    )
    assert told == "[1, 2]"
    assert hub.datasets["ann/rows"].private


@pytest.mark.slow
def test_trl_and_peft_push_what_they_can_read_again(hub: HubServer, tmp_path: Path) -> None:
    """The Trainer's own push brings a pickle and a path along: that is what others' repositories are like."""
    hub.repos["ann/base"] = Repo()
    hub.repos["ann/base"].commit({p.name: p.read_bytes() for p in TINY_DIR.iterdir() if p.is_file()})
    client(
        hub,
        tmp_path,
        """
        from datasets import Dataset
        from peft import LoraConfig, PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from trl import SFTConfig, SFTTrainer
        rows = Dataset.from_list([{"text": "hello world"}] * 4)
        args = SFTConfig("out", report_to=[], use_cpu=True, bf16=False, push_to_hub=True,
                         hub_model_id="ann/trained", hub_strategy="every_save", hub_private_repo=True)
        lora = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
        trainer = SFTTrainer("ann/base", args, train_dataset=rows, peft_config=lora,
                             processing_class=AutoTokenizer.from_pretrained("ann/base"))
        trainer.push_to_hub()
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("ann/base"), "ann/trained")
        model.push_to_hub("ann/again")
        """,
    )
    trained, again = hub.repos["ann/trained"], hub.repos["ann/again"]
    assert trained.private
    assert {"adapter_model.safetensors", "adapter_config.json", "training_args.bin"} <= trained.files().keys()
    assert trained.files()["adapter_model.safetensors"] == again.files()["adapter_model.safetensors"]
