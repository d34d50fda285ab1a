"""Following repositories of the Hub: the real client, a small Hub over HTTP, a whole gateway on a fake engine."""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from serve import follower
from serve.following import read_following
from tests.adapters_made_here import make_adapter, tensors
from tests.hub_server import TOKEN, HubServer, Repo
from tests.hub_stage import SECRET, HubStage, Plays
from understudy import hub as hub_module
from understudy.adapters import CONFIG, WEIGHTS
from understudy.cli import personas
from understudy.errors import FollowError, GatewayError, HubError, UnderstudyError
from understudy.hub import fetch_adapter, highest_tag
from understudy.processes import free_port
from understudy.registry import open_registry
from understudy.settings import PROJECT, load_settings

FOLLOW = "poet: {repo: ann/poet}"
SLOWLY = {"hub_poll": 600}
"""No poll comes in a test's time, so what happens is the webhook's doing."""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def play(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plays:
    return Plays(hub, tmp_path, monkeypatch)


def test_a_push_goes_live_by_the_poll_and_says_where_it_came_from(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        first = stage.push()
        await stage.until_answering(first)
        second = stage.push()
        await stage.until_answering(second)
        status = await stage.until_handled(second)
        told = [(e.actor, e.action, e.revision) for e in stage.history() if e.action != "hub"]
        actor = "hub:ann/poet"
        assert told == [(actor, action, sha) for sha in (first, second) for action in ("push", "publish")]
        revision = stage.gateway.registry.revision("poet", second)
        assert (revision.id, revision.source) == (second, "hub:ann/poet@main")
        assert status["wanted"] == {"commit": second, "name": "main"}
        assert status["last_error"] is None
        assert stage.metric("hub_looks_total", persona="poet", outcome="published") == 2

    play(scene, FOLLOW)


def test_a_webhook_is_enough_and_many_are_one_look(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        first = stage.push()
        payload = stage.hub.payload("models", "ann/poet", "refs/heads/main", None, first)
        await stage.hook(payload)
        await stage.until_answering(first)
        second = stage.push()
        stage.hub.slow(0.5, matching="refs", times=1)
        before = stage.count("/refs")
        answers = [await stage.hook(payload) for _ in range(40)]
        await stage.until_answering(second)
        assert answers == [202] * 40
        assert stage.count("/refs") - before <= 3
        assert stage.metric("hooks_total", outcome="accepted") == 41

    play(scene, FOLLOW, **SLOWLY)


def test_a_webhook_is_believed_in_nothing_but_the_name(play: Plays, hub: HubServer) -> None:
    """Late, repeated and invented deliveries change nothing: what the Hub has is what is on stage."""

    async def scene(stage: HubStage) -> None:
        first, second = stage.push(), stage.push()
        forged = hub.payload("models", "ann/poet", "refs/heads/main", second, first)
        forged["repo"]["headSha"] = first
        await stage.until_answering(second)
        await stage.until_handled(second)
        told = len(stage.history())
        for payload in (forged, {**forged, "updatedRefs": [{"ref": "refs/heads/main", "newSha": "f" * 40}]}, forged):
            before = stage.count("/refs")
            assert await stage.hook(payload) == 202
            await stage.until(lambda before=before: asked_since(stage, before))
        assert await stage.answering() == second[:12]
        assert len(stage.history()) == told

    async def asked_since(stage: HubStage, before: int) -> bool:
        return stage.count("/refs") > before

    play(scene, FOLLOW, **SLOWLY)


@pytest.mark.parametrize(
    ("payload", "secret", "status"),
    [
        ({"repo": {"name": "ann/poet", "type": "model"}}, SECRET, 202),
        ({"repo": {"name": "ann/somebody-else", "type": "model"}}, SECRET, 202),
        ({"repo": {"name": "../../etc/passwd", "type": "model"}}, SECRET, 202),
        ({"repo": {"name": "ann/poet", "type": "dataset"}}, SECRET, 202),
        ({"repo": {"name": "ann/poet", "type": "model"}}, "wrong", 401),
        ({"repo": {"name": "ann/poet", "type": "model"}}, "", 401),
        ({"repo": {"name": "ann/poet", "type": "model"}}, None, 401),
        ({"repo": {"name": 3}}, SECRET, 400),
        ({"repo": "ann/poet"}, SECRET, 400),
        ([], SECRET, 400),
        ({"repo": {"name": "ann/poet"}, "comment": "x" * 300_000}, SECRET, 413),
        ({"comment": "x" * 300_000}, "wrong", 401),
    ],
)
def test_the_webhook_takes_nothing_but_the_hubs(play: Plays, payload: object, secret: str | None, status: int) -> None:
    async def scene(stage: HubStage) -> None:
        stage.push()
        assert await stage.hook(payload, secret) == status

    play(scene, FOLLOW, **SLOWLY)


def test_without_a_secret_there_is_no_webhook(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        assert await stage.hook({"repo": {"name": "ann/poet", "type": "model"}}) == 404
        assert await stage.hook({"repo": {"name": "ann/poet", "type": "model"}}, "") == 404

    play(scene, FOLLOW, webhook_secret="", **SLOWLY)


@pytest.mark.parametrize(
    ("tags", "pattern", "highest"),
    [
        (["v1", "v2", "v10", "v9"], "v*", "v10"),
        (["v1.9.0", "v1.10.0", "v1.10.0rc1"], "v*", "v1.10.0"),
        (["email-v2", "email-v10", "joke-v11"], "email-v*", "email-v10"),
        (["v3", "vanilla", "very-old"], "v*", "v3"),
        (["2024-10-01", "2025-01-02"], "20*", "2025-01-02"),
        (["release", "1"], "v*", None),
        ([], "*", None),
        (["v1", "V2"], "v*", "v1"),
    ],
)
def test_the_highest_tag_is_by_version_and_not_by_letter(tags: list[str], pattern: str, highest: str | None) -> None:
    assert highest_tag(tags, pattern) == highest


def test_a_pattern_of_tags_follows_the_highest_and_main_is_left_alone(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        first = stage.push(ref="v9")
        await stage.until_answering(first)
        stage.push(ref="main")
        stage.push(ref="v2")
        tenth = stage.push(ref="v10")
        await stage.until_answering(tenth)
        assert [e.revision for e in stage.history(action="publish")] == [first, tenth]
        assert stage.gateway.registry.revision("poet", tenth).source == "hub:ann/poet@v10"

    play(scene, 'poet: {repo: ann/poet, follow: "v*"}')


def test_a_pin_stays_where_it_is_even_when_the_tag_is_moved_and_across_restarts(play: Plays, hub: HubServer) -> None:
    commits: list[str] = []

    async def scene(stage: HubStage) -> None:
        commits.append(stage.push(ref="v1"))
        await stage.until_answering(commits[0])
        commits.append(stage.push(ref="v1"))
        await stage.hook({"repo": {"name": "ann/poet", "type": "model"}})

    async def later(stage: HubStage) -> None:
        stage._made = 9
        await stage.until_handled(commits[0])
        assert await stage.answering() == commits[0][:12]

    play(scene, "poet: {repo: ann/poet, follow: v1}")
    play(later, "poet: {repo: ann/poet, follow: v1}")


def test_a_canary_begins_with_its_share_and_the_first_revision_goes_straight_live(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        first = stage.push()
        await stage.until_answering(first)
        second = stage.push()
        await stage.until(lambda: on_trial(stage, second))
        assert (await stage.admin("status"))["live"] == {"poet": first[:12]}
        assert [e.detail["share"] for e in stage.history(action="canary")] == [0.25]

    async def on_trial(stage: HubStage, commit: str) -> bool:
        trials = (await stage.admin("status"))["trials"]
        return trials.get("poet", {}).get("revision") == commit[:12]

    play(scene, "poet: {repo: ann/poet, canary: 25%}")


def test_whoever_goes_back_by_hand_is_not_fought_until_there_is_a_new_commit(play: Plays) -> None:
    commits: list[str] = []

    async def scene(stage: HubStage) -> None:
        for _ in range(2):
            commits.append(stage.push())
            await stage.until_answering(commits[-1])
        await stage.admin("rollback", persona="poet", actor="ann")
        await stage.looks()
        assert await stage.answering() == commits[0][:12]

    async def after_a_restart(stage: HubStage) -> None:
        stage._made = 2
        await stage.looks()
        assert await stage.answering() == commits[0][:12]
        await stage.until_answering(stage.push())

    play(scene, FOLLOW)
    play(after_a_restart, FOLLOW)


def test_a_refused_commit_is_tried_once_and_the_incumbent_answers_on(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        good = stage.push()
        await stage.until_answering(good)
        bad = stage.push(use_dora=True)
        status = await stage.until_trouble("refused by validation: DoRA is not served")
        assert status["handled"] == bad
        await stage.looks()
        assert [e.revision for e in stage.history(action="reject")] == [bad]
        assert await stage.answering() == good[:12]
        assert stage.metric("rejects_total", persona="poet", stage="validation") == 1
        kinds = [item.kind for item in stage.gateway.news._history]
        assert kinds.count("refused") == 1
        better = stage.push()
        await stage.until_answering(better)
        assert (await stage.until_handled(better))["last_error"] is None

    async def after_a_restart(stage: HubStage) -> None:
        await stage.looks()
        assert len(stage.history(action="reject")) == 1

    play(scene, FOLLOW)
    play(after_a_restart, FOLLOW)


def test_what_the_probe_refuses_is_refused_unless_the_engine_was_at_fault(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        good = stage.push()
        await stage.until_answering(good)
        stage.engine.misbehave = "500"
        commit = stage.push()
        status = await stage.until_trouble("the engine failed in the middle of it")
        assert status["handled"] == good
        stage.engine.misbehave = ""
        await stage.until_answering(commit)

    play(scene, FOLLOW)


def poisoned(folder: Path) -> Path:
    """An adapter with a NaN."""
    weights = tensors()
    next(iter(weights.values()))[0, 0] = np.nan
    return make_adapter(folder, weights)


def sabotage_nothing(stage: HubStage) -> None:
    stage.hub.repos["ann/poet"].commit({"README.md": b"soon"})


def sabotage_pickle(stage: HubStage) -> None:
    stage.hub.repos["ann/poet"].commit({CONFIG: b"{}", "adapter_model.bin": b"a pickle"})


def sabotage_json(stage: HubStage) -> None:
    stage.hub.repos["ann/poet"].commit({CONFIG: b"{not json", WEIGHTS: b"0"})


def sabotage_rank(stage: HubStage) -> None:
    stage.push(r=10**30)


def sabotage_nan(stage: HubStage) -> None:
    stage.hub.repos["ann/poet"].commit_folder(poisoned(stage.folder / "nan"))


def sabotage_base(stage: HubStage) -> None:
    stage.push(base_model_name_or_path="gpt2")


@pytest.mark.parametrize(
    ("sabotage", "says"),
    [
        (sabotage_nothing, "no adapter_config.json and no adapter_model.safetensors there"),
        (sabotage_pickle, "no adapter_model.safetensors there"),
        (sabotage_json, "adapter_config.json: not JSON"),
        (sabotage_rank, "has rank r = 1"),
        (sabotage_nan, "NaN or infinite"),
        (sabotage_base, "it was trained on base 'gpt2', but 'embedded' is served"),
    ],
)
def test_a_broken_commit_is_told_once_and_never_tried_again(
    play: Plays, sabotage: Callable[[HubStage], None], says: str
) -> None:
    async def scene(stage: HubStage) -> None:
        good = stage.push()
        await stage.until_answering(good)
        sabotage(stage)
        status = await stage.until_trouble(says)
        assert status["handled"] == status["wanted"]["commit"] != good
        await stage.looks()
        [refusal] = stage.history(action="reject")
        assert says in " ".join(refusal.detail["reasons"])
        assert refusal.revision == status["handled"]
        assert sum(item.kind in ("refused", "hub_trouble") for item in stage.gateway.news._history) == 1
        assert await stage.answering() == good[:12]

    play(scene, FOLLOW)


def test_a_new_repository_begins_empty_which_is_no_event(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        empty = Repo()
        empty.commit({".gitattributes": b""}, title="initial commit")
        stage.hub.repos["ann/poet"] = empty
        await stage.until_trouble("no adapter_config.json and no adapter_model.safetensors there")
        await stage.until_answering(stage.push())
        assert stage.history(action="reject") == []

    play(scene, FOLLOW)


def test_a_repository_that_is_too_large_is_not_downloaded(play: Plays, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: HubStage) -> None:
        commit = stage.push()
        status = await stage.until_trouble("more than the 5 we take")
        assert status["handled"] == commit
        assert stage.count("/resolve/") == 0
        assert await stage.answering() == "404"

    monkeypatch.setattr(hub_module.fetch_adapter, "__kwdefaults__", {"endpoint": "", "cache": None, "max_bytes": 5})
    play(scene, FOLLOW)


def deleted(stage: HubStage) -> None:
    del stage.hub.repos["ann/poet"]


def closed(stage: HubStage) -> None:
    stage.hub.repos["ann/poet"].private = True


def gated(stage: HubStage) -> None:
    stage.push()
    stage.hub.repos["ann/poet"].gated = True


def down(stage: HubStage) -> None:
    stage.hub.stop()


def failing(stage: HubStage) -> None:
    stage.hub.fail(503)


@pytest.mark.parametrize(
    ("trouble", "kind", "says"),
    [
        (deleted, "missing", "ann/poet: not on the Hub, or private"),
        (closed, "missing", "set HF_TOKEN if it is private"),
        (gated, "gated", "it is gated; accept its terms on the Hub"),
        (down, "unreachable", "the Hub cannot be reached"),
        (failing, "hub_error", "the Hub answered 503"),
    ],
)
def test_while_a_repository_cannot_be_read_the_incumbent_stays_and_the_reason_is_told_once(
    play: Plays, trouble: Callable[[HubStage], None], kind: str, says: str
) -> None:
    async def scene(stage: HubStage) -> None:
        good = stage.push()
        await stage.until_answering(good)
        before = dict(stage.hub.repos)
        trouble(stage)
        await stage.until_trouble(says)

        async def tried_thrice() -> bool:
            return stage.metric("hub_looks_total", persona="poet", outcome=kind) >= 3

        async def well() -> bool:
            return stage.metric("hub_failing", persona="poet") == 0

        await stage.until(tried_thrice)
        assert not await well()
        [event] = [e for e in stage.history(action="hub") if e.detail["cause"] == kind]
        assert says in event.detail["reasons"][0]
        assert sum(f"({kind})" in item.text for item in stage.gateway.news._history) == 1
        assert await stage.answering() == good[:12]
        # And it is over as soon as it is.
        stage.hub.repos.update(before)
        stage.hub.repos["ann/poet"].private = stage.hub.repos["ann/poet"].gated = False
        stage.hub.heal()
        if trouble is down:
            stage.hub.start()
        await stage.until_answering(stage.push())
        await stage.until(well)
        assert (await stage.following())["last_error"] is None

    play(scene, FOLLOW)


def test_a_private_repository_is_followed_with_a_token(play: Plays, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: HubStage) -> None:
        commit = stage.push()
        stage.hub.repos["ann/poet"].private = True
        await stage.until_answering(commit)

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    play(scene, FOLLOW)


def test_retry_after_is_honoured_even_when_somebody_knocks(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        await stage.until_answering(stage.push())
        stage.hub.fail(429, matching="/refs", times=1, retry_after=2)
        await stage.until_trouble("we ask too often")
        asked, began = stage.count("/refs"), time.monotonic()
        commit = stage.push()
        while time.monotonic() < began + 1.5:
            await stage.hook({"repo": {"name": "ann/poet", "type": "model"}})
            await asyncio.sleep(0.1)
        assert stage.count("/refs") == asked
        await stage.until_answering(commit)

    play(scene, FOLLOW)


def test_a_download_that_is_cut_goes_on_where_it_stopped(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        stage.hub.cut(3000, matching=WEIGHTS, times=2)
        commit = stage.push()
        await stage.until_answering(commit)
        stored = stage.settings.store_dir / commit / WEIGHTS
        assert stored.read_bytes() == stage.hub.repos["ann/poet"].files()[WEIGHTS]
        assert {e.detail["cause"] for e in stage.history(action="hub")} <= {"missing"}, "it was noticed"

    play(scene, FOLLOW)


def test_a_download_that_keeps_failing_is_given_up_until_somebody_knocks(
    play: Plays, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(stage: HubStage) -> None:
        stage.hub.fail(404, matching=f"resolve/.*{WEIGHTS}")  # the listing has it, the storage does not
        commit = stage.push()

        async def given_up() -> bool:
            return any("given up" in e.detail["reasons"][0] for e in stage.history(action="hub"))

        await stage.until(given_up)
        tried = stage.count("/resolve/")
        await stage.looks()
        assert stage.count("/resolve/") == tried
        assert [e.detail["cause"] for e in stage.history(action="hub")].count("hub_error") == 2
        stage.hub.heal()
        await stage.hook({"repo": {"name": "ann/poet", "type": "model"}})
        await stage.until_answering(commit)

    monkeypatch.setattr(follower, "MAX_TRIES", 3)
    play(scene, FOLLOW)


def test_what_arrives_damaged_is_fetched_again_and_never_stored(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        commit = stage.push()
        whole = stage.hub.repos["ann/poet"].commits[commit][WEIGHTS]
        snapshot, _ = await asyncio.to_thread(fetch_adapter, "ann/poet", commit, endpoint=stage.hub.url)
        blob = (snapshot / WEIGHTS).resolve()
        await stage.until_answering(commit)
        blob.chmod(0o644)
        blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # a cache that changes changes no version
        with pytest.raises(HubError, match="came damaged"):
            await asyncio.to_thread(fetch_adapter, "ann/poet", commit, endpoint=stage.hub.url)
        again, _ = await asyncio.to_thread(fetch_adapter, "ann/poet", commit, endpoint=stage.hub.url)
        assert (again / WEIGHTS).read_bytes() == whole
        assert (stage.settings.store_dir / commit / WEIGHTS).read_bytes() == whole

    play(scene, FOLLOW)


def test_after_a_restart_everything_is_on_stage_without_the_hub_and_its_cache(play: Plays, hub: HubServer) -> None:
    commits: list[str] = []

    async def scene(stage: HubStage) -> None:
        commits.append(stage.push())
        await stage.until_answering(commits[0])
        stored = stage.settings.store_dir / commits[0]
        assert not any(path.is_symlink() for path in stored.iterdir())

    async def without(stage: HubStage) -> None:
        assert await stage.answering() == commits[0][:12]
        await stage.until_trouble("the Hub cannot be reached")

    play(scene, FOLLOW)
    shutil.rmtree(constants.HF_HUB_CACHE)
    hub.stop()
    play(without, FOLLOW)
    hub.start()


def test_one_slow_repository_does_not_hold_up_the_others(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        stage.hub.slow(5, matching="ann/slow/refs")
        stage.push("ann/slow")
        commit = stage.push("ann/quick")
        await stage.until_answering(commit, "quick")
        assert await stage.answering("slow") == "404"

    play(scene, "slow: {repo: ann/slow}\nquick: {repo: ann/quick}")


def test_a_hub_that_says_nothing_is_left_after_a_while(play: Plays, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: HubStage) -> None:
        await stage.until_answering(stage.push())
        stage.hub.slow(3, matching="/refs", times=1)
        await stage.until_trouble("the Hub took longer than 1 s")
        await stage.until_answering(stage.push())

    monkeypatch.setattr(follower, "LOOK_SECONDS", 0.6)
    play(scene, FOLLOW)


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
        ("a: &a {repo: *a}", ""),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_says_what(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "personas.yaml"
    path.write_text(text)
    with pytest.raises(FollowError) as caught:
        read_following(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_example_can_be_used() -> None:
    following = read_following(PROJECT / "deploy" / "personas.example.yaml")
    assert [(f.follow, f.canary) for f in following.values()] == [("latest", 0.1), ("v*", 1.0), ("v3", 1.0)]


def test_a_gateway_that_follows_nobody_does_not_import_the_hubs_client() -> None:
    code = "import sys, serve.gateway; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_one_revision_is_brought_by_hand_and_says_where_it_came_from(
    play: Plays, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = make_adapter(tmp_path / "a")
    shelf = hub.repos["ann/poet"] = Repo(tags={"v3"})
    commit = shelf.commit_folder(adapter, "v3")
    settings = load_settings(home=tmp_path / "home", recipes_dir=tmp_path, hub_endpoint=hub.url, port=free_port())
    with pytest.raises(UnderstudyError, match="not both"):
        personas.publish_revision(settings, "poet", adapter, "hub:ann/poet@v3")
    with pytest.raises(GatewayError):  # it is registered before the gateway is asked
        personas.publish_revision(settings, "poet", None, "hub:ann/poet@v3")
    registry = open_registry(settings)
    revision = registry.revision("poet")
    assert (revision.id, revision.source) == (commit, "hub:ann/poet@v3")
    registry.set_live(revision, actor="test", action="publish", detail={})
    personas.list_personas(settings)
    personas.show_history(settings, "poet")
    told = capsys.readouterr().out
    assert told.count("hub:ann/poet@v3") == 2
