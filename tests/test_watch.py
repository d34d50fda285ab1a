"""Following repositories of the Hub: the real client, a small Hub over HTTP, a whole gateway on a fake engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import HubServer
from tests.hub_stage import HubStage, Plays

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
        told = [(e.actor, e.action, e.revision) for e in stage.history()]
        actor = "hub:ann/poet"
        assert told == [(actor, action, sha) for sha in (first, second) for action in ("push", "publish")]
        revision = stage.gateway.registry.revision("poet", second)
        assert (revision.id, revision.source) == (second, "hub:ann/poet@main")
        status = await stage.following()
        assert (status["wanted"], status["handled"]) == ({"commit": second, "name": "main"}, second)
        assert status["last_error"] is None
        assert stage.metric("hub_looks_total", persona="poet", outcome="published") == 2

    play(scene, FOLLOW)
