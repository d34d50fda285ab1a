"""Adapters by their Hub id: who may, what is refused and how, slots and disk; on a fake engine beside a small Hub."""

import asyncio
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.hub_sync import commit_lookup
from serve.hub_sync.adapter_cache import AdapterCache
from serve.hub_sync.on_demand import MODEL
from serve.rollout.load_queue import REMEMBERED, ExpiringCache
from tests.support.adapters import make_adapter, tensors
from tests.support.hub.gateway import HubStage, Plays, play
from tests.support.hub.server import HubServer, Repo
from understudy.registry.adapters import WEIGHTS

__all__ = ["play"]

OPEN = {"hub_orgs": "ann, bob/jokes"}


def test_a_hub_id_is_fetched_loaded_proved_and_answers_as_its_commit(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        commit = stage.push()
        status, body, headers = await stage.ask("ann/poet")
        assert status == 200, body
        assert headers["x-understudy-revision"] == body["system_fingerprint"] == commit[:12]
        assert "ann/poet@" in body["choices"][0]["message"]["content"]
        assert len(stage.engine.asked) > 1, "it was not probed"
        assert stage.engine.loaded[f"ann/poet@{commit[:12]}"] == str(stage.settings.home / "guests" / commit)
        async with stage.session.get(f"{stage.url}/v1/models") as response:
            assert [m["id"] for m in (await response.json())["data"]] == ["base"]
        shown = (await stage.admin("status"))["on_demand"]
        assert shown["loaded"] == {f"ann/poet@{commit[:12]}": {"in_flight": 0}}
        assert shown["allowed"] == ["ann", "bob/jokes"]
        assert stage.gateway.registry.personas() == []

    play(scene, **OPEN)


def test_a_tag_a_branch_and_a_commit_name_what_they_name(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        first, second = stage.push(ref="v1"), stage.push()
        assert await stage.answering("ann/poet@v1") == first[:12]
        assert await stage.answering("ann/poet@main") == second[:12]
        assert await stage.answering(f"ann/poet@{first}") == first[:12]
        assert await stage.answering(f"ann/poet@{second[:12]}") == second[:12]
        assert await stage.answering("ann/poet") == second[:12]
        assert stage.count(f"resolve/{first}") == stage.count(f"resolve/{second}")

    play(scene, **OPEN)


@pytest.mark.parametrize(
    "model",
    [
        "eve/poet",
        "bob/poet",
        "ann/nothing",
        "ann/private",
        "ann/poet@v9",
        "ann/poet@" + "f" * 40,
        "ann/poet@../../x",
        "ann/../eve",
        "ann/",
        "/poet",
        "ann/poet/x",
        "ann/poet@",
        "ann/poet@v1@v2",
        "ann/po\u00e9t",
        "ann/poet\n",
        "ann//poet",
        "ANN/poet",
        ".ann/poet",
    ],
)
def test_what_is_not_there_and_what_is_not_allowed_is_an_unknown_model(play: Plays, model: str) -> None:
    async def scene(stage: HubStage) -> None:
        for repo in ("ann/poet", "eve/poet", "bob/poet", "ann/private"):
            stage.push(repo)
        stage.hub.repos["ann/private"].private = True
        status, body, _ = await stage.ask(model)
        assert status == 404
        assert body["error"] == {
            "message": f"model {model!r} does not exist; models there are: base",
            "type": "not_found_error",
            "param": "model",
            "code": "model_not_found",
        }
        assert stage.count("/resolve/") == 0

    play(scene, **OPEN)


def test_without_an_allow_list_nothing_is_asked_of_the_hub(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        stage.push()
        assert await stage.answering("ann/poet") == "404"
        assert stage.hub.asked == []
        assert (await stage.admin("status"))["on_demand"] is None

    play(scene)


def test_a_commit_of_a_pull_request_is_not_the_organisations(play: Plays) -> None:
    """Anybody may open one, and the Hub answers for its commits under the organisation's name."""

    async def scene(stage: HubStage) -> None:
        old, new = stage.push(), stage.push()
        stranger = stage.push(ref="refs/pr/1")
        repo = stage.hub.repos["ann/poet"]
        del repo.refs["refs/pr/1"]
        repo.tags.clear()
        assert await stage.answering(f"ann/poet@{stranger}") == "404"
        assert await stage.answering(f"ann/poet@{stranger[:12]}") == "404"
        assert [await stage.answering(f"ann/poet@{sha}") for sha in (old, new)] == [old[:12], new[:12]]

    play(scene, **OPEN)


def test_twenty_first_requests_at_once_are_one_load(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        commit = stage.push()
        answers = await asyncio.gather(*(stage.answering("ann/poet") for _ in range(20)))
        assert answers == [commit[:12]] * 20
        assert stage.count("/refs") == 1
        assert stage.count(f"GET /ann/poet/resolve/{commit}/{WEIGHTS}") == 1
        assert stage.metric("on_demand_total", outcome="loaded") == 1

    play(scene, **OPEN)


def test_head_is_asked_again_only_after_a_while_and_the_old_commit_answers_on_meanwhile(
    play: Plays, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(stage: HubStage) -> None:
        first = stage.push()
        assert await stage.answering("ann/poet") == first[:12]
        second = stage.push()
        asked = stage.count("/refs")
        assert await stage.answering("ann/poet") == first[:12]
        assert stage.count("/refs") == asked
        await stage.until_answering(second, "ann/poet")

    monkeypatch.setattr(commit_lookup, "FRESH", 6.0)  # time enough for two answers on a busy machine
    play(scene, **OPEN)


def test_an_adapter_that_does_not_pass_is_422_with_reasons_and_not_downloaded_again(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        weights = tensors()
        next(iter(weights.values()))[0, 0] = np.nan
        shelf = Repo()
        commit = shelf.commit_folder(make_adapter(stage.folder / "nan", weights))
        stage.hub.repos["ann/poet"] = shelf
        for _ in range(3):
            status, body, _ = await stage.ask("ann/poet")
            assert (status, body["error"]["code"], body["error"]["type"]) == (
                422,
                "model_refused",
                "invalid_request_error",
            )
            assert "NaN or infinite" in body["error"]["reasons"][0]
            assert str(stage.settings.home) not in str(body)
        assert stage.count(f"GET /ann/poet/resolve/{commit}/{WEIGHTS}") == 1
        assert stage.metric("on_demand_total", outcome="refused") == 3
        assert stage.metric("refused_total", reason="hub") == 3
        assert "ann/poet" not in str(stage.engine.loaded)
        assert await stage.answering("base") == "base"

    play(scene, **OPEN)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"README.md": b"soon"}, "it is no PEFT adapter saved as safetensors"),
        (
            {"adapter_config.json": b"{", "adapter_model.safetensors": b"0"},
            "adapter_config.json, or another of its files, cannot be read",
        ),
        ({"adapter_config.json": b"{}", "adapter_model.bin": b"pickle"}, "no adapter_model.safetensors"),
    ],
)
def test_a_repository_without_an_adapter_is_422(play: Plays, files: dict[str, bytes], says: str) -> None:
    async def scene(stage: HubStage) -> None:
        shelf = stage.hub.repos["ann/poet"] = Repo()
        shelf.commit(files)
        status, body, _ = await stage.ask("ann/poet")
        assert (status, body["error"]["code"]) == (422, "model_refused")
        assert says in body["error"]["message"]
        assert str(stage.settings.home) not in str(body)

    play(scene, **OPEN)


def test_a_gated_repository_is_422_with_the_reason(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        stage.push()
        stage.hub.repos["ann/poet"].gated = True
        status, body, _ = await stage.ask("ann/poet")
        assert status == 422
        assert "it is gated" in body["error"]["message"]

    play(scene, **OPEN)


def test_while_the_hub_is_down_what_is_loaded_answers_and_the_rest_is_503(
    play: Plays, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(stage: HubStage) -> None:
        commit = stage.push()
        stage.push("ann/other")
        assert await stage.answering("ann/poet") == commit[:12]
        stage.hub.stop()
        await asyncio.sleep(0.2)
        assert await stage.answering("ann/poet") == commit[:12]
        status, body, headers = await stage.ask("ann/other")
        assert (status, body["error"]["code"], headers["Retry-After"]) == (503, "model_not_ready", "1")
        stage.hub.start()

        async def back() -> bool:
            return await stage.answering("ann/other") != "503"

        await stage.until(back)

    monkeypatch.setattr(commit_lookup, "FRESH", 0.1)
    play(scene, **OPEN)


def test_guests_leave_for_guests_but_never_a_persona_for_a_guest(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        stage.push("ann/star")
        await stage.until(lambda: is_live(stage))
        names = [f"ann/guest-{number}" for number in range(3)]
        commits = {name: stage.push(name)[:12] for name in names}
        for name in names[:2]:  # four slots: the persona, whoever is probed, and two guests
            assert await stage.answering(name) == commits[name]
        assert await stage.answering(names[0]) == commits[names[0]]
        assert await stage.answering(names[2]) == commits[names[2]]
        there = set(stage.engine.loaded) - {"base"}
        assert {name.partition("@")[0] for name in there} == {"star", names[0], names[2]}
        assert stage.engine.unloaded == [f"{names[1]}@{commits[names[1]]}"]
        # It comes back from the disk, without the Hub's files.
        fetched = stage.count("/resolve/")
        assert await stage.answering(names[1]) == commits[names[1]]
        assert stage.count("/resolve/") == fetched

    async def is_live(stage: HubStage) -> bool:
        return await stage.answering("star") != "404"

    play(scene, "star: {repo: ann/star}", slots=4, hub_poll=600, **OPEN)


def test_when_every_slot_is_busy_a_guest_is_told_to_come_again(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        commit, _ = stage.push("ann/first"), stage.push("ann/second")
        stage.engine.hold.clear()
        body = {"model": "ann/first", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        async with stage.session.post(f"{stage.url}/v1/chat/completions", json=body) as stream:
            assert stream.status == 200
            status, refusal, headers = await stage.ask("ann/second")
            assert (status, refusal["error"]["code"]) == (503, "no_slot")
            assert int(headers["Retry-After"]) >= 1
            assert stage.count("ann/second/resolve") == 0
            stage.engine.hold.set()
            assert "[DONE]" in await stream.text()
        assert await stage.answering("ann/second") != "503"
        assert f"ann/first@{commit[:12]}" not in stage.engine.loaded
        assert stage.metric("on_demand_total", outcome="full") == 1

    play(scene, slots=2, **OPEN)


def test_keys_and_their_limits_hold_for_guests_too(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        stage.push()
        assert (await stage.ask("ann/poet"))[0] == 401
        assert stage.hub.asked == []
        assert (await stage.ask("ann/poet", Authorization="Bearer let me in"))[0] == 200

    play(scene, api_key="let me in", **OPEN)


def test_a_client_that_goes_away_does_not_end_what_others_wait_for(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        commit = stage.push()
        stage.hub.slow(1, matching="/refs", times=1)
        leaving = asyncio.create_task(stage.ask("ann/poet"))
        await asyncio.sleep(0.3)
        leaving.cancel()
        assert await stage.answering("ann/poet") == commit[:12]
        assert stage.count("/refs") == 1

    play(scene, **OPEN)


def test_after_the_engine_s_restart_a_guest_is_loaded_again(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        commit = stage.push()
        assert await stage.answering("ann/poet") == commit[:12]
        stage.engine.start()
        stage.gateway.table.clear()
        assert await stage.answering("ann/poet") == commit[:12]

    play(scene, **OPEN)


def test_guessing_names_does_not_use_up_the_hub(play: Plays, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: HubStage) -> None:
        answers = [await stage.answering(f"ann/guess-{number}") for number in range(8)]
        assert answers == ["404"] * 5 + ["503"] * 3
        assert stage.count("/refs") == 5

    monkeypatch.setattr(commit_lookup, "LOOKUPS_PER_MINUTE", 5)
    play(scene, **OPEN)


def test_the_disk_is_bounded_and_what_is_in_use_stays(tmp_path: Path, hub: HubServer) -> None:
    commits = []
    for number in range(4):
        shelf = hub.repos[f"ann/a{number}"] = Repo()
        commits.append(shelf.commit_folder(make_adapter(tmp_path / str(number), tensors(seed=number))))
    one = sum(len(data) for data in hub.repos["ann/a0"].files().values())
    store = AdapterCache(tmp_path / "guests", int(2.5 * one), hub.url)
    for number, commit in enumerate(commits):
        revision, folder = store.fetch(f"ann/a{number}", commit)
        assert (revision.id, folder.name) == (commit, commit)
        assert not any(path.is_symlink() for path in folder.iterdir())
        time.sleep(0.01)
    store.prune({commits[0]})
    assert {path.name for path in (tmp_path / "guests").glob("[0-9a-f]*")} == {commits[0], commits[3]}
    assert list((tmp_path / "guests" / ".downloads").iterdir()) == []


def test_what_is_remembered_is_bounded() -> None:
    memory: ExpiringCache[str] = ExpiringCache()
    for number in range(REMEMBERED + 50):
        memory.keep(str(number), "known", float("inf"))
    assert len(memory) == REMEMBERED
    assert memory.fresh("0") is None
    assert memory.fresh(str(REMEMBERED)) is not None


@pytest.mark.fuzz
@given(st.text(max_size=60) | st.from_regex(r"[\w./@-]+/[\w./@-]+", fullmatch=True))
def test_no_name_of_a_client_is_a_path(name: str) -> None:
    """What is looked for on the Hub has one slash, begins plainly, and never climbs."""
    match = MODEL.fullmatch(name)
    if match:
        repo, revision = match[1], match[2] or ""
        assert name.isascii()
        assert repo.count("/") == 1
        assert "/" not in revision
        assert not any(part.startswith(".") for part in (*repo.split("/"), revision) if part)


def test_names_of_clients_never_reach_the_file_system(play: Plays, tmp_path: Path) -> None:
    async def scene(stage: HubStage) -> None:
        stage.push("ann/very-special-name", "v7")
        await stage.answering("ann/very-special-name@v7")
        for model in ("ann/..", "ann/../../escaped", "ann/x@../escaped", "ann/escaped%2f..", "ann/escaped@"):
            await stage.answering(model)

    play(scene, **OPEN)
    guests = tmp_path / "home" / "guests"
    assert all(len(path.name) == 40 or path.name == ".downloads" for path in guests.iterdir())
    found = subprocess.run(["find", str(tmp_path), "-name", "*escaped*"], capture_output=True, text=True, check=True)
    assert found.stdout == ""
