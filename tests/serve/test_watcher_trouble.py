"""Following repositories of the Hub when something is wrong: broken commits, closed repositories, cut downloads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.adapters import make_adapter, tensors
from tests.support.hub.gateway import FOLLOW, HubStage, Plays, play
from tests.support.hub.server import Repo
from understudy.registry import hub as hub_module
from understudy.registry.adapters import CONFIG, WEIGHTS

__all__ = ["play"]


def test_a_refused_commit_is_tried_once_and_the_incumbent_answers_on(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        good = stage.push()
        await stage.until_answering(good)
        bad = stage.push(use_dora=True)
        status = await stage.until_trouble("refused by validation: DoRA is not served")
        assert status["handled"] == bad
        await stage.polls()
        assert [e.revision for e in stage.history(action="reject")] == [bad]
        assert await stage.answering() == good[:12]
        assert stage.metric("rejects_total", persona="poet", stage="validation") == 1
        kinds = [item.kind for item in stage.gateway.events._history]
        assert kinds.count("refused") == 1
        better = stage.push()
        await stage.until_answering(better)
        assert (await stage.until_handled(better))["last_error"] is None

    async def after_a_restart(stage: HubStage) -> None:
        await stage.polls()
        assert len(stage.history(action="reject")) == 1

    play(scene, FOLLOW)
    play(after_a_restart, FOLLOW)


def test_what_the_probe_refuses_is_refused_unless_the_engine_was_at_fault(play: Plays) -> None:
    async def scene(stage: HubStage) -> None:
        good = stage.push()
        await stage.until_answering(good)
        stage.engine.misbehave = "500"
        commit = stage.push()
        status = await stage.until_trouble("the engine failed during the publish")
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
        (sabotage_base, "it was trained on base 'gpt2', but 'tiny' is served"),
    ],
)
def test_a_broken_commit_is_told_once_and_never_tried_again(
    play: Plays, sabotage: Callable[[HubStage], None], says: str
) -> None:
    async def scene(stage: HubStage) -> None:
        good = stage.push()
        await stage.until_answering(good)
        told = len(stage.gateway.events._history)  # a poll before the push has found nothing there
        sabotage(stage)
        status = await stage.until_trouble(says)
        assert status["handled"] == status["wanted"]["commit"] != good
        await stage.polls()
        [refusal] = stage.history(action="reject")
        assert says in " ".join(refusal.detail["reasons"])
        assert refusal.revision == status["handled"]
        assert sum(item.kind in ("refused", "hub_trouble") for item in list(stage.gateway.events._history)[told:]) == 1
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
