"""Whom to follow: the file that says it, read again when it changes; and one revision brought by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

from serve.hub_sync.follow_config import read_following
from tests.support.adapters import make_adapter
from tests.support.hub.gateway import FOLLOW, HubStage, Plays, play
from tests.support.hub.server import HubServer, Repo
from understudy.cli.show_personas import show_history, show_personas
from understudy.config.settings import PROJECT, load_settings
from understudy.errors import ConfigError, GatewayError, UnderstudyError
from understudy.processes import free_port
from understudy.registry.registry import open_registry
from understudy.workflows.personas import history, list_personas, publish

__all__ = ["play"]


def test_the_file_is_read_again_when_it_changes_and_a_broken_edit_changes_nothing(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        first = stage.push()
        await stage.until_answering(first)
        path = stage.settings.personas_file
        assert path
        path.write_text("poet: {repo: ann/poet, folow: latest}")

        async def says_so() -> bool:
            return "did you mean 'follow'?" in ((await stage.admin("status"))["following"]["problem"] or "")

        await stage.until(says_so)
        assert stage.metric("follow_file_bad") == 1
        second = stage.push()
        await stage.until_answering(second)
        other = stage.push("ann/other")
        path.write_text("other: {repo: ann/other, title: Somebody else}")
        await stage.until_answering(other, "other")
        assert stage.metric("follow_file_bad") == 0
        async with stage.session.get(f"{stage.url}/v1/models/other") as response:
            assert (await response.json())["understudy"]["title"] == "Somebody else"
        assert set((await stage.admin("status"))["following"]["personas"]) == {"other"}
        stage.push()
        await stage.hook({"repo": {"name": "ann/poet", "type": "model"}})
        assert await stage.answering() == second[:12]

    play(scene, FOLLOW)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 3", "a: found int"),
        ("a: {rep: x/y}", "unknown key 'rep'; did you mean 'repo'?"),
        ("a: {}", "missing key 'repo'"),
        ("a: {repo: x}", "repo: a repository of the Hub looks like organisation/name, found 'x'"),
        ("a: {repo: ../etc}", "repo: a repository of the Hub looks like"),
        ("a: {repo: x/y, follow: 1.10}", "put quotes around a tag that looks like a number"),
        ("a: {repo: x/y, canary: 200%}", "canary: give a share of the users such as 10%"),
        ("a: {repo: x/y, golden: [{promt: a, expect: b}]}", "did you mean 'prompt'?"),
        ("a: {repo: x/y, sampling: {temperature: 9}}", "sampling.temperature:"),
        ("A: {repo: x/y}", "'A' cannot be a persona's name"),
        ("base: {repo: x/y}", "'base' cannot be a persona's name"),
        ("../x: {repo: x/y}", "cannot be a persona's name"),
        ("- a", "found list"),
        ("a: [", "not YAML"),
        ("a: {repo: o/r}\na: {repo: o/s}", "line 2, column 1: the key 'a' stands twice; keep one"),
        (
            "a: {repo: o/r, title: 12}",
            "line 1, column 23: without quotes YAML reads it as int; put quotes around it",
        ),
        ("a: &a {repo: *a}", ""),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_says_what(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "personas.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_following(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_example_can_be_used() -> None:
    following = read_following(PROJECT / "deploy" / "personas.example.yaml")
    assert [(f.follow, f.canary) for f in following.values()] == [("latest", 0.1), ("v*", 1.0), ("v3", 1.0)]


def test_a_gateway_that_follows_nobody_does_not_import_the_hubs_client() -> None:
    code = "import sys, serve.app; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_one_revision_is_brought_by_hand_and_says_where_it_came_from(
    play: Plays, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = make_adapter(tmp_path / "a")
    shelf = hub.repos["ann/poet"] = Repo(tags={"v3"})
    commit = shelf.commit_folder(adapter, "v3")
    settings = load_settings(home=tmp_path / "home", recipes_dir=tmp_path, hub_endpoint=hub.url, port=free_port())
    with pytest.raises(UnderstudyError, match="not both"):
        publish(settings, "poet", adapter=adapter, revision="hub:ann/poet@v3")
    with pytest.raises(GatewayError):  # it is registered before the gateway is asked
        publish(settings, "poet", adapter=None, revision="hub:ann/poet@v3")
    registry = open_registry(settings)
    revision = registry.revision("poet")
    assert (revision.id, revision.source) == (commit, "hub:ann/poet@v3")
    registry.set_live(revision, actor="test", action="publish", detail={})
    show_personas(list_personas(settings))
    show_history(history(settings, "poet", limit=0)[0], more=False)
    told = capsys.readouterr().out
    assert told.count("hub:ann/poet@v3") == 2
