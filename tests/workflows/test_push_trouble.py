"""`understudy push` and a Hub that says no, is down, or is written to by somebody else at the same time."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from tests.support.hub.server import READ_TOKEN, TOKEN, HubServer, Repo, Space
from tests.support.pirate import home
from tests.support.pushes import REPO, TO, files, make_run, push, pushed, verify
from understudy.hub_errors import hub_failure
from understudy.registry.adapters import WEIGHTS

__all__ = ["home"]


def test_a_commit_that_lost_its_tag_gets_one(hub: HubServer, home: Path) -> None:
    verify(make_run(home))
    hub.fail(400, matching="POST .*/tag/", times=1)
    assert push(hub, home).returncode == 1
    told = pushed(hub, home)
    assert (told["tag"], told["new"]) == ("v1", False)
    assert len(hub.repos[REPO].commits) == 2


@pytest.mark.parametrize(
    ("to", "token", "says"),
    [
        (TO, "", "no token for the Hub: run `hf auth login`, or set HF_TOKEN"),
        (TO, READ_TOKEN, "the token may not write there (the Hub says: you must use a write token"),
        (TO, "hf_nobody", "the token may not write there"),
        ("hub:other/pirate", TOKEN, 'the rights to write under the namespace "other"'),
        ("hub:ann/rows", TOKEN, "ann/rows is a data set on the Hub; give the model a name of its own"),
        ("hub:ann/stage", TOKEN, "ann/stage is a Space on the Hub"),
        ("hub:ann/whole", TOKEN, "ann/whole holds a whole model, and this is an adapter"),
        ("hub:pirate", TOKEN, "'hub:pirate' is no place to push to; use registry, or hub:ORG/REPO"),
        ("hub:ann/../x", TOKEN, "is no place to push to"),
        ("s3:ann/pirate", TOKEN, "is no place to push to"),
    ],
)
def test_what_the_hub_does_not_allow_is_one_line(hub: HubServer, home: Path, to: str, token: str, says: str) -> None:
    verify(make_run(home))
    hub.foreign.add("other")
    hub.datasets["ann/rows"], hub.spaces["ann/stage"], hub.repos["ann/whole"] = Repo(), Space(), Repo()
    for repo in (hub.datasets["ann/rows"], hub.spaces["ann/stage"], hub.repos["ann/whole"]):
        repo.commit({"config.json": b"{}", "model.safetensors": b""})
    before = {name: len(repo.commits) for name, repo in hub.repos.items()}
    done = push(hub, home, to=to, token=token)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert {name: len(repo.commits) for name, repo in hub.repos.items()} == before


def test_a_hub_that_is_down_broken_or_slow_is_one_line(
    hub: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(make_run(home))
    hub.stop()
    assert "ann/pirate: the Hub cannot be reached (" in push(hub, home).stderr
    hub.start()
    hub.fail(500, matching="/api/models/ann/pirate", times=1)
    assert "ann/pirate: the Hub answered 500" in push(hub, home).stderr
    monkeypatch.setattr("train.hub.push.TIMEOUT", 0.3)
    hub.slow(2, matching="GET /api/models/ann/pirate", times=1)
    done = push(hub, home)
    assert "ann/pirate: the Hub cannot be reached (" in done.stderr
    assert done.stderr.count("\n") == 1
    assert pushed(hub, home)["tag"] == "v1"


def test_a_hub_that_repeats_the_token_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    answer = httpx2.Response(
        403, request=httpx2.Request("POST", "http://hub"), headers={"X-Error-Message": f"no: {TOKEN}"}
    )
    error = HfHubHTTPError("403", response=answer, server_message=f"{TOKEN} may not")
    told = hub_failure(error, writing=True).sentence
    assert told.startswith("the token may not write there (the Hub says: *** may not); set HF_TOKEN")


def meanwhile(hub: HubServer, asked: str, do: Callable[[], object]) -> threading.Thread:
    """Does something while the Hub, slow for once, has not answered a request yet that matches."""
    hub.slow(1.0, matching=asked, times=1)

    def wait() -> None:
        end = time.monotonic() + 30
        while not any(re.search(asked, line) for line in hub.asked):
            assert time.monotonic() < end
            time.sleep(0.01)
        do()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_what_somebody_else_pushed_meanwhile_is_not_overwritten(hub: HubServer, home: Path) -> None:
    verify(make_run(home))
    other = meanwhile(hub, "POST .*/commit/", lambda: hub.repos[REPO].commit({"theirs": b"1"}))
    done = push(hub, home)
    other.join()
    assert "ann/pirate: somebody else pushed there at the same time" in done.stderr
    assert files(hub) == {"theirs": b"1"}
    assert pushed(hub, home)["tag"] == "v1"
    assert files(hub)["theirs"] == b"1"


def test_a_number_that_somebody_else_took_meanwhile_is_passed_over(hub: HubServer, home: Path) -> None:
    verify(make_run(home))

    def take() -> None:
        repo = hub.repos[REPO]
        repo.refs["v1"] = next(iter(repo.commits))
        repo.tags.add("v1")

    other = meanwhile(hub, "POST .*/tag/", take)
    assert pushed(hub, home)["tag"] == "v2"
    other.join()


def test_a_cut_connection_costs_nothing_that_arrived(hub: HubServer, home: Path) -> None:
    verify(make_run(home))
    hub.cut(1000, matching="PUT /_lfs/")
    hub.cut(100, matching="POST .*/commit/")
    done = push(hub, home)
    if done.returncode:  # the client itself may try the commit again
        assert "push again: large files that arrived are not sent twice" in done.stderr
        pushed(hub, home)
    assert sum(line.startswith("PUT /_lfs/") for line in hub.asked) == 2, "once in vain, once for good"
    assert WEIGHTS in files(hub)
    assert hub.repos[REPO].tags == {"v1"}
