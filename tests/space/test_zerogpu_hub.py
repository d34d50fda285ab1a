"""The ZeroGPU backend follows the Hub: a commit is live without a restart, a bad one is refused."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.testclient import TestClient

from space.backends.followed import NoProofError
from space.backends.protocol import Question
from space.backends.zerogpu import ZeroGpuBackend
from tests.support.hub.server import HubServer, Repo
from tests.support.zerogpu import REPO, adapter_files, answers, backend, tiny_model
from understudy.config.settings import Settings
from understudy.registry.adapters import CONFIG, short

CARD = json.dumps(
    {
        "title": "Poet",
        "prompts": ["Write about a lamp."],
        "golden": [{"prompt": "Write about a lamp.", "expect": r"\w"}],
    }
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("space.backends.zerogpu.AdapterModel", lambda base: tiny_model())
    with HubServer() as hub:
        hub.repos[REPO] = Repo()
        yield hub


def live(backend: ZeroGpuBackend) -> str:
    (one,) = backend._personas.live.values()
    return one.revision.id


def poll(backend: ZeroGpuBackend) -> None:
    backend._personas._not_before.clear()
    backend._personas.poll()


def history(backend: ZeroGpuBackend) -> list[tuple[str, str | None]]:
    return [(event.action, event.revision) for event in backend._personas.registry.history("poet")][::-1]


def reasons(backend: ZeroGpuBackend) -> list[str]:
    return [f"{one.title}: {one.state}: {one.reason}" for one in backend._personas.learners]


def test_a_commit_is_live_after_one_poll_and_an_answer_in_flight_ends_on_the_old_revision(
    hub: HubServer, settings: Settings
):
    first = hub.repos[REPO].commit(adapter_files(1, card=CARD))
    there = backend(hub, settings)
    assert there._personas.live == {}, "what was fetched at the start is not live before it is proved"
    poll(there)
    assert live(there) == first
    second = ""

    async def in_flight() -> str:
        nonlocal second
        question = Question("poet", [{"role": "user", "content": "Write a long letter."}])
        (stream,) = there.battle([question], temperature=1.0, max_tokens=60, seed=1)
        revisions = {(await anext(stream)).revision}
        second = hub.repos[REPO].commit(adapter_files(2, card=CARD))
        await asyncio.to_thread(poll, there)
        assert live(there) == second
        revisions |= {chunk.revision async for chunk in stream}
        return ",".join(revisions)

    assert asyncio.run(in_flight()) == short(first)
    (answer,) = asyncio.run(answers(there, "poet"))
    assert answer.startswith(short(second))
    assert history(there) == [("push", first), ("publish", first), ("push", second), ("publish", second)]
    published = there._personas.registry.history("poet", limit=1)[0]
    assert (published.actor, published.detail["previous"]) == (f"hub:{REPO}", first)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({CONFIG: b"{"}, "not JSON"),
        (adapter_files(3, base_model_name_or_path="Qwen/Qwen3-0.6B"), "it was trained on base"),
        (adapter_files(3, scale=float("nan")), "NaN"),
        ({"README.md": b"nothing"}, "no adapter_config.json"),
    ],
)
def test_a_bad_commit_is_refused_and_the_page_has_the_reason(
    hub: HubServer, settings: Settings, bad: dict[str, bytes], says: str
):
    good = hub.repos[REPO].commit(adapter_files(1, card=CARD))
    there = backend(hub, settings)
    poll(there)
    wrong = hub.repos[REPO].commit(bad if len(bad) > 1 or "README.md" in bad else {**adapter_files(1), **bad})
    poll(there)
    assert live(there) == good
    (reason,) = reasons(there)
    assert reason.startswith(f"poet@{short(wrong)}: refused: ")
    assert says in reason
    assert history(there)[-1] == ("reject", wrong)
    hub.asked.clear()
    poll(there)
    assert history(there)[-1] == ("reject", wrong), "it is not tried again"
    assert not [line for line in hub.asked if "resolve" in line]
    newer = hub.repos[REPO].commit(adapter_files(4, card=CARD))
    poll(there)
    assert (live(there), reasons(there)) == (newer, [])


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (adapter_files(1, scale=0.0), "no effect"),
        (adapter_files(1, card=CARD.replace(r"\\w", "impossible words")), "golden expectations"),
    ],
)
def test_what_its_answers_speak_against_never_becomes_the_first(
    hub: HubServer, settings: Settings, bad: dict[str, bytes], says: str
):
    hub.repos[REPO].commit(bad)
    there = backend(hub, settings)
    poll(there)
    assert there._personas.live == {}
    assert says in reasons(there)[0]


def test_a_pin_is_kept_and_a_pattern_takes_the_highest_tag(hub: HubServer, settings: Settings):
    repo = hub.repos[REPO]
    first = repo.commit(adapter_files(1))
    repo.refs["v1"] = first
    repo.tags.add("v1")
    there = backend(hub, settings)
    (followed,) = there._personas.following.values()
    there._personas.following = {"poet": type(followed)(REPO, "v*")}
    poll(there)
    repo.commit(adapter_files(2))
    poll(there)
    assert live(there) == first
    there._personas.following = {"poet": type(followed)(REPO, first)}
    poll(there)
    assert live(there) == first


def test_a_restart_finds_what_was_live(hub: HubServer, settings: Settings):
    good = hub.repos[REPO].commit(adapter_files(1, card=CARD))
    before = backend(hub, settings)
    poll(before)
    hub.repos[REPO].commit({**adapter_files(1), CONFIG: b"{"})
    poll(before)
    again = backend(hub, settings)
    poll(again)
    assert live(again) == good


def test_trouble_with_the_hub_leaves_everything_as_it_is_and_is_said_where_nothing_is_live(
    hub: HubServer, settings: Settings
):
    hub.fail(503)
    there = backend(hub, settings)
    poll(there)
    assert "503" in reasons(there)[0]
    hub.heal()
    good = hub.repos[REPO].commit(adapter_files(1))
    poll(there)
    assert (live(there), reasons(there)) == (good, [])
    hub.fail(503)
    poll(there)
    assert (live(there), reasons(there)) == (good, [])
    asked = len(hub.asked)
    there._personas.poll()
    assert len(hub.asked) == asked, "it waits before it asks again"


def test_without_a_gpu_for_the_proof_the_first_goes_live_and_the_next_waits(
    hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    first = hub.repos[REPO].commit(adapter_files(1))
    there = backend(hub, settings)

    def no_gpu(*_: object) -> list[str]:
        raise NoProofError("no GPU was given")

    proving, there._personas.prove = there._personas.prove, no_gpu
    poll(there)
    assert live(there) == first
    second = hub.repos[REPO].commit(adapter_files(2))
    poll(there)
    assert live(there) == first
    there._personas.prove = proving
    poll(there)
    assert live(there) == second


def test_pages_hear_of_a_new_revision(hub: HubServer, settings: Settings):
    hub.repos[REPO].commit(adapter_files(1))
    there = backend(hub, settings)

    async def heard() -> list[str]:
        stream = there.events()
        kinds = [(await anext(stream)).kind]
        await asyncio.to_thread(poll, there)
        kinds.append((await anext(stream)).kind)
        await stream.aclose()
        return kinds

    assert asyncio.run(heard()) == ["", "live"]


def test_the_webhook_needs_its_secret_and_only_causes_a_poll(hub: HubServer, settings: Settings):
    there = backend(hub, settings)
    assert there.routes(settings) == []
    routes = there.routes(settings.model_copy(update={"webhook_secret": SecretStr("s3cret")}))
    client = TestClient(Starlette(routes=routes))
    for secret, body, status in (
        ("", {"repo": {"name": REPO}}, 401),
        ("s3cret", {"repo": {"name": REPO}}, 202),
        ("s3cret", {"repo": {"name": "o/p"}}, 202),
        ("s3cret", ["repo"], 400),
    ):
        there._personas._soon.clear()
        done = client.post("/hooks/hub", json=body, headers={"x-webhook-secret": secret})
        assert done.status_code == status
        assert there._personas._soon == ({"poet"} if done.json().get("status") == "accepted" else set())
    assert there._personas.live == {}


def test_the_thread_polls_by_itself_and_at_once_when_the_webhook_calls(hub: HubServer, settings: Settings):
    there = backend(hub, settings)
    there._personas.every = 600.0
    there.open()
    good = hub.repos[REPO].commit(adapter_files(1))
    assert there._personas.poll_soon(REPO)
    assert not there._personas.poll_soon("ann/other")
    for _ in range(300):
        if there._personas.live:
            break
        asyncio.run(asyncio.sleep(0.1))
    assert live(there) == good
