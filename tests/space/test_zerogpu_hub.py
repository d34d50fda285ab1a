"""The ZeroGPU backend follows the Hub: a commit is live without a restart, a bad one is refused, a name goes back."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import gradio as gr
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.testclient import TestClient

from space.backends.protocol import Question
from space.backends.zerogpu import ZeroGpuBackend, zerogpu_backend
from space.backends.zerogpu_routes import hub_routes
from tests.support.hub.server import HubServer, Repo
from tests.support.zerogpu import REPO, adapter_files, answers, backend, settings_of, tiny_model, until
from understudy.config.settings import Settings
from understudy.registry.adapters import CONFIG, short
from understudy.registry.registry import open_registry

pytestmark = pytest.mark.anyio

CARD = json.dumps(
    {
        "title": "Poet",
        "prompts": ["Write about a lamp."],
        "golden": [{"prompt": "Write about a lamp.", "expect": r"\w"}],
    }
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("space.backends.zerogpu.AdapterModel", lambda base: tiny_model())
    with HubServer() as hub:
        hub.repos[REPO] = Repo()
        yield hub


@asynccontextmanager
async def running(there: ZeroGpuBackend) -> AsyncIterator[ZeroGpuBackend]:
    async with there.lifespan():
        yield there


def live(there: ZeroGpuBackend) -> str:
    return "".join(loaded.revision.id for loaded in there.table.live.values())


def is_live(there: ZeroGpuBackend, revision: str) -> Callable[[], bool]:
    return lambda: live(there) == revision


def polled(hub: HubServer, times: int = 2) -> Callable[[], bool]:
    """Whether the repository was polled so many times from now on."""
    seen = len(hub.asked)
    return lambda: sum("/refs" in line for line in hub.asked[seen:]) >= times


def history(settings: Settings) -> list[tuple[str, str | None]]:
    return [(event.action, event.revision) for event in open_registry(settings).history("poet")][::-1]


def failing(message: str, title: str) -> Callable[..., Iterator[None]]:
    """A call as `spaces` raises from it."""

    def generate(*_: object) -> Iterator[None]:
        raise gr.Error(message, title=title)
        yield

    return generate


async def reasons(there: ZeroGpuBackend) -> list[str]:
    return [f"{one.title}: {one.state}: {one.reason}" for one in (await there.listing()).learners]


async def refused(there: ZeroGpuBackend, revision: str) -> str:
    """The reason on the page why that commit is refused, once it is."""
    async with asyncio.timeout(60):
        while not (found := [one for one in await reasons(there) if short(revision) in one]):
            await asyncio.sleep(0.05)
    return found[0]


async def test_a_commit_is_live_after_one_poll_and_an_answer_in_flight_ends_on_the_old_revision(
    hub: HubServer, settings: Settings
):
    first = hub.repos[REPO].commit(adapter_files(1, card=CARD))
    there = backend(hub, settings)
    assert live(there) == "", "what was fetched at the start is not live before it is proved"
    async with running(there):
        await until(is_live(there, first))
        question = Question("poet", [{"role": "user", "content": "Write a long letter."}])
        (stream,) = there.battle([question], temperature=1.0, max_tokens=60, seed=1)
        revisions = {(await anext(stream)).revision}
        hub.asked.clear()
        second = hub.repos[REPO].commit(adapter_files(2, card=CARD))
        await until(is_live(there, second))
        assert sum("/refs" in line for line in hub.asked) <= 2, "the poll that finds it, or one that had begun before"
        revisions |= {chunk.revision async for chunk in stream}
        assert revisions == {short(first)}
        (answer,) = await answers(there, "poet")
        assert answer.startswith(short(second))
    assert history(settings) == [("push", first), ("publish", first), ("push", second), ("publish", second)]
    published = open_registry(settings).history("poet", limit=1)[0]
    assert (published.actor, published.detail["previous"]) == (f"hub:{REPO}", first)
    assert published.detail["checks"]["golden_met"] == 1


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({CONFIG: b"{"}, "not JSON"),
        (adapter_files(3, base_model_name_or_path="Qwen/Qwen3-0.6B"), "it was trained on base"),
        (adapter_files(3, scale=float("nan")), "NaN"),
        ({"README.md": b"nothing"}, "no adapter_config.json"),
    ],
)
async def test_a_bad_commit_is_refused_and_the_page_has_the_reason(
    hub: HubServer, settings: Settings, bad: dict[str, bytes], says: str
):
    good = hub.repos[REPO].commit(adapter_files(1, card=CARD))
    there = backend(hub, settings)
    async with running(there):
        await until(is_live(there, good))
        wrong = hub.repos[REPO].commit(bad if len(bad) > 1 or "README.md" in bad else {**adapter_files(1), **bad})
        reason = await refused(there, wrong)
        assert reason.startswith(f"poet@{short(wrong)}: refused: ")
        assert says in reason
        assert reason.count("refused") == 1
        assert "snapshots" not in reason, "no folder of the machine is on the page"
        assert live(there) == good
        assert history(settings)[-1] == ("reject", wrong)
        hub.asked.clear()
        await until(polled(hub))
        assert history(settings)[-1] == ("reject", wrong), "it is not tried again"
        assert not [line for line in hub.asked if "resolve" in line]
        newer = hub.repos[REPO].commit(adapter_files(4, card=CARD))
        await until(is_live(there, newer))
        async with asyncio.timeout(10):
            while await reasons(there):
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (adapter_files(1, scale=0.0), "no effect"),
        (adapter_files(1, card=CARD.replace(r"\\w", "impossible words")), "golden expectations"),
    ],
)
async def test_what_its_answers_speak_against_never_becomes_the_first(
    hub: HubServer, settings: Settings, bad: dict[str, bytes], says: str
):
    wrong = hub.repos[REPO].commit(bad)
    async with running(backend(hub, settings)) as there:
        assert says in await refused(there, wrong)
        assert live(there) == ""


async def test_a_pin_is_kept_and_a_pattern_takes_the_highest_tag(hub: HubServer, settings: Settings):
    repo = hub.repos[REPO]
    first = repo.commit(adapter_files(1))
    repo.refs["v1"] = first
    repo.tags.add("v1")
    head = repo.commit(adapter_files(2))
    async with running(backend(hub, settings, follow="v*")) as there:
        await until(is_live(there, first))
        settings_of(hub, settings, {"poet": {"repo": REPO}})
        await until(is_live(there, head))
        settings_of(hub, settings, {"poet": {"repo": REPO, "follow": first}})
        await until(is_live(there, first))
        repo.commit(adapter_files(3))
        await asyncio.sleep(1)
        assert live(there) == first


@pytest.mark.parametrize("disk", ["kept", "lost"])
async def test_a_restart_finds_what_was_live_also_on_a_new_disk(hub: HubServer, settings: Settings, disk: str):
    good = hub.repos[REPO].commit(adapter_files(1, card=CARD))
    before = backend(hub, settings)
    async with running(before):
        await until(is_live(before, good))
        wrong = hub.repos[REPO].commit({**adapter_files(1), CONFIG: b"{"})
        await refused(before, wrong)
    if disk == "lost":
        settings.store_dir.rename(settings.home / "elsewhere")
    async with running(backend(hub, settings)) as again:
        await until(is_live(again, good))
        (answer,) = await answers(again, "poet")
        assert answer.startswith(short(good))


async def test_a_restart_on_a_new_disk_waits_for_a_hub_that_is_away(hub: HubServer, settings: Settings):
    good = hub.repos[REPO].commit(adapter_files(1, card=CARD))
    before = backend(hub, settings)
    async with running(before):
        await until(is_live(before, good))
    settings.store_dir.rename(settings.home / "elsewhere")
    hub.fail(503)
    async with running(backend(hub, settings)) as again:
        await until(polled(hub, 3))
        assert live(again) == ""
        hub.heal()
        await until(is_live(again, good))
        newer = hub.repos[REPO].commit(adapter_files(2, card=CARD))
        await until(is_live(again, newer))


async def test_the_space_starts_without_an_adapter_that_cannot_be_placed(
    hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    def placing(*_: object) -> None:
        raise KeyError("base_model.model")

    first = hub.repos[REPO].commit(adapter_files(1))
    with monkeypatch.context() as broken:
        broken.setattr(tiny_model(), "load", placing)
        there = backend(hub, settings)
    async with running(there):
        await until(is_live(there, first))


def test_what_is_wanted_is_placed_when_the_space_starts(hub: HubServer, settings: Settings):
    first = hub.repos[REPO].commit(adapter_files(1))
    backend(hub, settings)
    assert f"poet@{short(first)}" in tiny_model()._adapters


async def test_trouble_with_the_hub_leaves_everything_as_it_is_and_is_said_where_nothing_is_live(
    hub: HubServer, settings: Settings
):
    hub.fail(503)
    async with running(backend(hub, settings)) as there:
        async with asyncio.timeout(60):
            while not (found := await reasons(there)):
                await asyncio.sleep(0.05)
        assert "503" in found[0]
        hub.heal()
        good = hub.repos[REPO].commit(adapter_files(1))
        await until(is_live(there, good))
        hub.fail(503)
        await until(polled(hub))
        assert (live(there), await reasons(there)) == (good, [])


async def test_without_a_gpu_for_the_proof_the_first_goes_live_and_the_next_waits(
    hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    generate = tiny_model().generate

    monkeypatch.setattr(tiny_model(), "generate", failing("no GPU was given", "ZeroGPU client error"))
    first = hub.repos[REPO].commit(adapter_files(1))
    async with running(backend(hub, settings)) as there:
        await until(is_live(there, first))
        assert "no GPU" in open_registry(settings).history("poet", limit=1)[0].detail["checks"]["not_asked"]
        second = hub.repos[REPO].commit(adapter_files(2))
        await until(polled(hub, 3))
        assert live(there) == first
        monkeypatch.setattr(tiny_model(), "generate", generate)
        await until(is_live(there, second))


@pytest.mark.parametrize("of", ["the first", "another one"])
async def test_a_commit_on_which_the_model_fails_is_refused(
    hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch, of: str
):
    async with running(backend(hub, settings)) as there:
        good = ""
        if of == "another one":
            good = hub.repos[REPO].commit(adapter_files(1))
            await until(is_live(there, good))
        monkeypatch.setattr(tiny_model(), "generate", failing("RuntimeError", "ZeroGPU worker error"))
        wrong = hub.repos[REPO].commit(adapter_files(2))
        assert "the model does not answer with it: RuntimeError" in await refused(there, wrong)
        assert live(there) == good


async def test_a_proof_that_zerogpu_ends_is_tried_again(
    hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    generate = tiny_model().generate
    monkeypatch.setattr(tiny_model(), "generate", failing("GPU task aborted", "ZeroGPU worker error"))
    first = hub.repos[REPO].commit(adapter_files(1))
    async with running(backend(hub, settings)) as there:
        await until(polled(hub, 3))
        assert live(there) == "", "it is not live unproved"
        monkeypatch.setattr(tiny_model(), "generate", generate)
        await until(is_live(there, first))


async def test_pages_hear_of_a_new_revision(hub: HubServer, settings: Settings):
    there = backend(hub, settings)
    stream = there.events()
    assert (await anext(stream)).kind == ""
    hub.repos[REPO].commit(adapter_files(1))
    async with running(there):
        assert (await anext(stream)).kind == "live"
        await until(lambda: bool(live(there)))
    await stream.aclose()


# Trials, rollback, and what is deleted


def kept(settings: Settings) -> set[str]:
    return {path.name for path in settings.store_dir.iterdir() if not path.name.startswith(".")}


def cached(revision: str) -> list[str]:
    from huggingface_hub import scan_cache_dir

    return [repo.repo_id for repo in scan_cache_dir().repos if revision in {one.commit_hash for one in repo.revisions}]


async def test_a_trial_is_a_share_of_the_visitors_always_the_same_ones(hub: HubServer, settings: Settings):
    first = hub.repos[REPO].commit(adapter_files(1))
    async with running(backend(hub, settings, canary="50%")) as there:
        await until(is_live(there, first))
        second = hub.repos[REPO].commit(adapter_files(2))
        await until(lambda: "poet" in there.table.trials)
        of = {user: (await answers(there, "poet", user=user))[0].partition(":")[0] for user in "abcdef"}
        assert set(of.values()) == {short(first), short(second)}
        assert of["a"] == (await answers(there, "poet", user="a"))[0].partition(":")[0]
        assert live(there) == first


async def test_a_trial_goes_on_after_a_restart_without_a_gpu_for_its_proof(
    hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    first = hub.repos[REPO].commit(adapter_files(1))
    before = backend(hub, settings, canary="50%")
    async with running(before):
        await until(is_live(before, first))
        second = hub.repos[REPO].commit(adapter_files(2))
        await until(lambda: "poet" in before.table.trials)
    generate = tiny_model().generate
    monkeypatch.setattr(tiny_model(), "generate", failing("no GPU", "ZeroGPU client error"))
    async with running(backend(hub, settings, canary="50%")) as there:
        await until(is_live(there, first))
        await until(polled(hub, 3))
        assert not there.table.trials
        monkeypatch.setattr(tiny_model(), "generate", generate)
        await until(lambda: "poet" in there.table.trials)
        assert there.table.trials["poet"].loaded.revision.id == second


async def test_a_rollback_is_at_once_and_one_further_back_is_fetched_again(hub: HubServer, settings: Settings):
    repo = hub.repos[REPO]
    there = backend(hub, settings)
    commits = []
    async with running(there):
        for seed in (1, 2, 3):
            commits.append(repo.commit(adapter_files(seed)))
            await until(is_live(there, commits[-1]))
        first, second, third = commits
        await until(lambda: kept(settings) == {second, third})
        assert not [commit for commit in commits if cached(commit)], "the store has the only copy"
        (poet,) = [one for one in (await there.listing()).contestants if one.name == "poet"]
        assert poet.others == (short(second),)
        (pinned,) = await answers(there, f"poet@{short(second)}")
        assert pinned.startswith(short(second))
        await there.publisher.rollback("poet", actor="ann")
        assert live(there) == second
        await until(polled(hub))
        assert live(there) == second, "what was rolled back is not published again"
        await there.publisher.rollback("poet", first[:8], actor="ann")
        assert live(there) == first
        (answer,) = await answers(there, "poet")
        assert answer.startswith(short(first))
    assert history(settings)[-2:] == [("rollback", second), ("rollback", first)]


async def test_an_answer_keeps_its_folder_until_it_ends(hub: HubServer, settings: Settings):
    repo = hub.repos[REPO]
    there = backend(hub, settings)
    async with running(there):
        first = repo.commit(adapter_files(1))
        await until(is_live(there, first))
        question = Question("poet", [{"role": "user", "content": "Write a long letter."}])
        with there.table.lease("poet"):  # as an answer in flight has one
            for seed in (2, 3):
                newer = repo.commit(adapter_files(seed))
                await until(is_live(there, newer))
            await asyncio.sleep(0.3)
            assert first in kept(settings)
        await until(lambda: first not in kept(settings))
        (stream,) = there.battle([question], temperature=0, max_tokens=5)
        assert {chunk.revision async for chunk in stream} == {short(newer)}


# Over HTTP


def client(there: ZeroGpuBackend, settings: Settings) -> TestClient:
    return TestClient(Starlette(routes=hub_routes(there, settings), lifespan=there.lifespan))


def test_the_webhook_needs_its_secret_and_only_causes_a_poll(hub: HubServer, settings: Settings):
    slow = settings_of(hub, settings, {"poet": {"repo": REPO}}).model_copy(update={"hub_poll": 600.0})
    there = zerogpu_backend(slow)
    assert hub_routes(there, slow) == []
    with client(there, slow.model_copy(update={"webhook_secret": SecretStr("s3cret")})) as http:
        wait(polled(hub, 1))
        good = hub.repos[REPO].commit(adapter_files(1))
        for secret, body, status, says in (
            ("", {"repo": {"name": REPO, "type": "model"}}, 401, "secret"),
            ("s3cret", {"repo": {"name": "o/p", "type": "model"}}, 202, "ignored"),
            ("s3cret", {"repo": 1}, 400, "repo.name"),
            ("s3cret", {"repo": {"name": REPO, "type": "model"}}, 202, "accepted"),
        ):
            assert live(there) == ""
            done = http.post("/hooks/hub", json=body, headers={"x-webhook-secret": secret})
            assert (done.status_code, says in done.text) == (status, True)
        wait(is_live(there, good))


def test_understudy_rollback_goes_back_in_a_space_as_in_a_gateway(
    hub: HubServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    from understudy.errors import GatewayError
    from understudy.workflows import gateway_admin
    from understudy.workflows.personas import rollback

    there = backend(hub, settings)
    elsewhere = {"home": settings.home / "elsewhere", "gateway_url": "http://space"}
    space = settings.model_copy(update={"admin_key": SecretStr("adm1n"), **elsewhere})
    with client(there, space) as http:
        monkeypatch.setattr(gateway_admin.httpx, "request", lambda *a, timeout, **more: http.request(*a, **more))
        first = hub.repos[REPO].commit(adapter_files(1))
        wait(is_live(there, first))
        with pytest.raises(GatewayError, match="admin key"):
            rollback(space.model_copy(update={"admin_key": SecretStr("wrong")}), "poet", "")
        with pytest.raises(GatewayError, match="has no revision abc"):
            rollback(space, "poet", "abc")
        second = hub.repos[REPO].commit(adapter_files(2))
        wait(is_live(there, second))
        done = rollback(space, "poet", first[:12])
        assert (done.revision, done.previous, done.changed) == (first, second, True)
        assert live(there) == first


def wait(condition: Callable[[], bool]) -> None:
    asyncio.run(until(condition))
