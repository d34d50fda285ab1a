"""Following repositories of a Hub that is closed, slow or down: the incumbent stays, nothing damaged is kept."""

import asyncio
import shutil
import time
from collections.abc import Callable

import pytest
from huggingface_hub import constants

from serve.hub_sync import follower
from tests.support.hub.gateway import FOLLOW, HubStage, Plays, play
from tests.support.hub.server import TOKEN, HubServer
from understudy.errors import HubError
from understudy.registry.adapters import WEIGHTS
from understudy.registry.hub import fetch_adapter

__all__ = ["play"]


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
        before, polls, told = dict(stage.hub.repos), stage.history(action="hub"), len(stage.gateway.events._history)
        trouble(stage)
        await stage.until_trouble(says)

        async def tried_thrice() -> bool:
            return stage.metric("hub_polls_total", persona="poet", outcome=kind) >= 3

        async def well() -> bool:
            return stage.metric("hub_failing", persona="poet") == 0

        await stage.until(tried_thrice)
        assert not await well()
        [event] = [e for e in stage.history(action="hub") if e not in polls and e.detail["cause"] == kind]
        assert says in event.detail["reasons"][0]
        assert sum(f"({kind})" in item.text for item in list(stage.gateway.events._history)[told:]) == 1
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


def test_retry_after_is_honoured_even_when_a_poll_is_requested(play: Plays) -> None:
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


def test_a_download_that_keeps_failing_is_given_up_until_a_poll_is_requested(
    play: Plays, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(stage: HubStage) -> None:
        stage.hub.fail(404, matching=f"resolve/.*{WEIGHTS}")  # the listing has it, the storage does not
        commit = stage.push()

        async def given_up() -> bool:
            return any("given up" in e.detail["reasons"][0] for e in stage.history(action="hub"))

        await stage.until(given_up)
        tried = stage.count("/resolve/")
        await stage.polls()
        assert stage.count("/resolve/") == tried
        assert [e.detail["cause"] for e in stage.history(action="hub")].count("hub_error") == 2
        stage.hub.heal()
        await stage.hook({"repo": {"name": "ann/poet", "type": "model"}})
        await stage.until_answering(commit)

    monkeypatch.setattr(follower, "MAX_ATTEMPTS", 3)
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


def test_after_a_restart_everything_is_live_without_the_hub_and_its_cache(play: Plays, hub: HubServer) -> None:
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

    monkeypatch.setattr(follower, "POLL_SECONDS", 0.6)
    play(scene, FOLLOW)
