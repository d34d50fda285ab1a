"""`understudy validate`: a folder, or one commit of a repository of the Hub."""

import json
import shutil
from pathlib import Path

import pytest

from serve.engine.servable import vllm_version
from tests.support.adapters import RANK, make_adapter
from tests.support.command_line import on_hub, understudy
from tests.support.hub.server import TOKEN, HubServer, Repo
from understudy.bases import TINY_DIR
from understudy.registry.adapters import CONFIG, WEIGHTS


def test_a_repository_is_validated_at_one_commit_and_only_its_adapter_is_fetched(
    hub: HubServer, tmp_path: Path
) -> None:
    repo = hub.repos["ann/poet"] = Repo()
    code = {"adapter_model.bin": b"pickle", "modeling.py": b"import os", "checkpoint-1": b"x"}
    good = repo.commit_folder(make_adapter(tmp_path / "good"), "v1", **code)
    repo.commit_folder(make_adapter(tmp_path / "bad", use_dora=True), "main")
    with on_hub(hub.url, tmp_path / "home"):
        done = understudy("validate", "ann/poet@v1", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.items() >= {"adapter": "ann/poet@v1", "revision": good, "valid": True, "problems": []}.items()
    assert told.items() >= {"rank": RANK, "base": "tiny"}.items()
    fetched = {line.rpartition("/")[2] for line in hub.asked if "/resolve/" in line}
    assert fetched == {CONFIG, WEIGHTS}
    assert all(f"/resolve/{good}/" in line for line in hub.asked if "/resolve/" in line)
    with on_hub(hub.url, tmp_path / "home"):
        done = understudy("validate", "ann/poet@main")
    assert (done.returncode, done.stdout) == (1, "- DoRA is not served by vLLM\n")


@pytest.mark.parametrize(
    ("repo", "token", "says"),
    [
        ("ann/nothing@main", "", "not on the Hub, or private; check the name"),
        ("ann/nothing@main", TOKEN, "not on the Hub, or private; check the name"),
        ("ann/secret@main", "", "set HF_TOKEN if it is private"),
        ("ann/gated@main", "", "it is gated; accept its terms on the Hub and set HF_TOKEN"),
        ("ann/poet@v9", "", "the repository has no revision 'v9'"),
        ("ann/empty@main", "", "no adapter_config.json and no adapter_model.safetensors there"),
        ("a b@main", "", "that is no name of a repository"),
    ],
)
def test_what_cannot_be_fetched_is_one_clear_line(
    hub: HubServer, tmp_path: Path, repo: str, token: str, says: str
) -> None:
    folder = make_adapter(tmp_path / "a")
    hub.repos |= {"ann/poet": Repo(), "ann/secret": Repo(private=True), "ann/gated": Repo(gated=True)}
    for known in hub.repos.values():
        known.commit_folder(folder)
    hub.repos["ann/empty"] = Repo()
    hub.repos["ann/empty"].commit({"README.md": b"soon"})
    with on_hub(hub.url, tmp_path / "home", token):
        done = understudy("validate", repo)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {repo.partition('@')[0]}@"), done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_private_repository_opens_with_its_token(hub: HubServer, tmp_path: Path) -> None:
    hub.repos["ann/secret"] = Repo(private=True)
    hub.repos["ann/secret"].commit_folder(make_adapter(tmp_path / "a"))
    with on_hub(hub.url, tmp_path / "home", TOKEN):
        assert understudy("validate", "ann/secret@main").returncode == 0


def test_without_a_connection_it_says_so(tmp_path: Path) -> None:
    with on_hub("http://127.0.0.1:9", tmp_path / "home"):
        done = understudy("validate", "ann/poet@main")
    assert done.stderr.startswith("error: ann/poet@main: the Hub cannot be reached")
    assert done.stderr.count("\n") == 1


def test_a_folder_is_validated_by_its_path_and_never_asked_for_on_the_hub(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "poet@home", r=999)
    done = understudy("validate", folder, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["valid"], told["revision"], told["rank"]) == (1, False, None, 999)
    assert len(told["problems"]) == 2
    with on_hub("http://127.0.0.1:9", tmp_path / "home"):
        done = understudy("validate", "ann/poet")
    assert done.stdout.startswith("- ann/poet: no adapter_config.json")


def test_without_its_base_an_adapter_is_still_checked_and_the_remedy_is_said(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a", use_dora=True)
    done = understudy("validate", folder, "--base", str(tmp_path / "nowhere"))
    lines = done.stdout.splitlines()
    assert (done.returncode, len(lines)) == (1, 2), done.stdout
    assert "give the base with --base; what needs no base was checked" in lines[0]
    assert lines[1] == "- DoRA is not served by vLLM"


@pytest.mark.parametrize("architecture", ["BloomForCausalLM", "GPT2LMHeadModel", None])
def test_a_base_that_is_served_without_adapters_is_no_valid_one(tmp_path: Path, architecture: str | None) -> None:
    base = tmp_path / "base"
    shutil.copytree(TINY_DIR, base)
    known = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**known, "architectures": architecture and [architecture]}))
    bases = tmp_path / "bases"
    bases.mkdir()
    answers = {"BloomForCausalLM": "no", "GPT2LMHeadModel": "no"}
    (bases / f"vllm-{vllm_version()}-adapters.json").write_text(json.dumps(answers))
    env = {"UNDERSTUDY_BASE": str(base), "UNDERSTUDY_BASES_DIR": str(bases)}
    adapter = make_adapter(tmp_path / "a", base_model_name_or_path=str(base), revision=None)
    done = understudy("validate", adapter, env=env)
    assert done.returncode == 1
    says = f"serves {architecture} without adapters only" if architecture else "names no architecture"
    assert says in done.stdout
    assert done.stdout.count("\n") == 1


def test_base_is_takes_another_name(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a", base_model_name_or_path="/srv/mine", revision=None)
    assert "say so: --base-is tiny" in understudy("validate", folder).stdout
    assert understudy("validate", folder, "--base-is", "tiny").returncode == 0
