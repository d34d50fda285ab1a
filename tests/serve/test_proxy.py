"""The pass-through on a fake engine: keys, limits, broken answers, and clients that go away."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Route

from serve.app import RequestIds
from serve.engine.fair_scheduler import FairScheduler
from serve.engine.supervisor import Status
from serve.http.auth import Authenticator
from serve.http.proxy import Proxy, ProxyContext
from serve.metrics import Metrics
from serve.rollout.canary import AnswerOutcome
from serve.rollout.loaded import Loaded
from serve.rollout.routing import RoutingTable
from tests.support.adapters import make_adapter
from tests.support.fake_engine import FakeEngine
from understudy.config.settings import Settings
from understudy.processes import free_port
from understudy.registry.api_keys import KeyStore
from understudy.registry.registry import open_registry

CHAT = "/v1/chat/completions"
BODY = {"model": "poet", "messages": [{"role": "user", "content": "Hi"}]}


class ServedProxy:
    """A proxy in front of a fake engine, listening for real."""

    def __init__(self, engine: FakeEngine, session: aiohttp.ClientSession, url: str) -> None:
        self.engine, self.session, self.url, self.table = engine, session, url, RoutingTable()
        self.status = Status(status="ready", detail="Ready.")
        self.metrics, self.scheduler = Metrics(), FairScheduler(4)
        self.outcomes: list[tuple[Loaded | None, AnswerOutcome]] = []

    def app(self, settings: Settings) -> RequestIds:
        self.authenticator = Authenticator(settings, KeyStore(open_registry(settings).engine))
        context = ProxyContext(
            engine=self.engine,
            table=self.table,
            scheduler=self.scheduler,
            session=self.session,
            authenticator=self.authenticator,
            metrics=self.metrics,
            status=lambda: self.status,
            answered=lambda loaded, outcome: self.outcomes.append((loaded, outcome)),
            max_body=10_000,
            ensure_loaded=self.known,
        )
        return RequestIds(Starlette(routes=[Route(CHAT, Proxy(CHAT, context))]))

    async def known(self, model: str) -> str:
        """Every model here is loaded."""
        return model

    def metric(self, name: str, **labels: str) -> float:
        """A sample of what Prometheus would read."""
        return self.metrics.registry.get_sample_value(f"understudy_{name}", labels) or 0.0

    def ask(self, **changes: object):
        return self.session.post(f"{self.url}{CHAT}", json={**BODY, **changes})


def play(settings: Settings, folder: Path, scene: Callable[[ServedProxy], Awaitable[None]]) -> None:
    """Runs a scene on a served proxy; `poet` is live."""

    async def run() -> None:
        engine, port = FakeEngine(), free_port()
        async with engine.serving() as session:
            served = ServedProxy(engine, session, f"http://127.0.0.1:{port}")
            revision = open_registry(settings).push("poet", make_adapter(folder / "a"), actor="test")
            engine.loaded[revision.served_name] = "somewhere"
            served.table.flip(served.table.add(revision, 0, {}))
            server = uvicorn.Server(uvicorn.Config(served.app(settings), port=port, log_level="error"))
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                async with asyncio.timeout(30):
                    await scene(served)
            finally:
                engine.hold.set()
                server.should_exit = True
                await serving

    asyncio.run(run())


def test_an_answer_names_its_revision_in_body_and_header(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        revision = next(iter(served.table.live.values())).revision
        async with served.ask() as response:
            body = await response.json()
            assert response.headers["x-understudy-revision"] == revision.id[:12]
        assert body["model"] == revision.served_name
        assert body["system_fingerprint"] == revision.id[:12]

    play(settings, tmp_path, scene)


def test_events_that_arrive_in_pieces_leave_whole_and_labelled(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        async with served.ask(stream=True) as response:
            events = (await response.text()).split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        words = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
        assert [word["choices"][0]["delta"]["content"] for word in words] == ["one", "two", "three"]
        assert len({word["system_fingerprint"] for word in words}) == 1

    play(settings, tmp_path, scene)


def test_a_name_in_an_answers_text_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        name = next(iter(served.table.live.values())).name
        tricky = f'"model":"{name}" "system_fingerprint":null'
        async with served.ask(messages=[{"role": "user", "content": tricky}]) as response:
            assert (await response.json())["choices"][0]["message"]["content"] == f"{name} heard: {tricky}"

    play(settings, tmp_path, scene)


def test_a_client_that_goes_away_ends_its_request_upstream(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        served.engine.hold.clear()
        response = await served.ask(stream=True)
        await response.content.readany()
        assert served.engine.running == 1
        assert served.table.live["poet"].in_flight == 1
        response.close()
        while served.engine.running or served.table.live["poet"].in_flight:
            await asyncio.sleep(0.01)

    play(settings, tmp_path, scene)


def test_an_engine_that_dies_in_mid_answer_ends_the_stream_with_an_error_event(
    settings: Settings, tmp_path: Path
) -> None:
    async def scene(served: ServedProxy) -> None:
        served.engine.misbehave = "die mid-answer"
        async with served.ask(stream=True) as response:
            assert response.status == 200
            events = (await response.text()).strip().split("\n\n")
        assert "one" in events[0]
        error = json.loads(events[-1].removeprefix("data: "))["error"]
        assert error["code"] == "engine_down"
        assert "[DONE]" not in events[-1]

    play(settings, tmp_path, scene)


@pytest.mark.parametrize("status", ["starting", "down"])
def test_without_an_engine_the_answer_is_503_with_the_reason(settings: Settings, tmp_path: Path, status: str) -> None:
    async def scene(served: ServedProxy) -> None:
        served.status = Status(status=status, detail="The engine is loading the base.")  # pyright: ignore
        async with served.ask() as response:
            assert response.status == 503
            assert int(response.headers["retry-after"]) > 0
            assert (await response.json())["error"]["message"] == "The engine is loading the base."
        assert served.engine.asked == []

    play(settings, tmp_path, scene)


def test_requests_are_let_in_while_personas_are_loaded(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        served.status = Status(status="loading", detail="The base answers; 2 personas are being loaded.")
        async with served.ask(model="base") as response:
            assert response.status == 200

    play(settings, tmp_path, scene)


def test_the_engines_own_500_never_reaches_a_client(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        served.engine.misbehave = "500"
        async with served.ask() as response:
            assert response.status == 503
            assert "EngineDeadError" not in await response.text()

    play(settings, tmp_path, scene)


def test_a_key_is_asked_for_before_anything_is_read(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        async with served.session.post(f"{served.url}{CHAT}", data=b"{not json") as response:
            assert response.status == 401
            assert (await response.json())["error"]["code"] == "invalid_api_key"
        headers = {"authorization": "Bearer right"}
        async with served.session.post(f"{served.url}{CHAT}", json=BODY, headers=headers) as response:
            assert response.status == 200
        assert served.metric("refused_total", reason="key") == 1

    play(settings.model_copy(update={"api_key": SecretStr("right")}), tmp_path, scene)


def test_an_exhausted_minute_is_429_with_the_time_to_wait(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        async with served.ask() as response:
            assert response.status == 200
            assert response.headers["x-ratelimit-remaining-requests"] == "0"
        async with served.ask() as response:
            assert response.status == 429
            assert 0 < int(response.headers["retry-after"]) <= 60
            assert (await response.json())["error"]["type"] == "rate_limit_error"
        assert len(served.engine.asked) == 1
        assert served.metric("refused_total", reason="rate_limit") == 1

    play(settings.model_copy(update={"anonymous_requests_per_minute": 1}), tmp_path, scene)


def test_a_full_gateway_says_so_and_has_room_again_afterwards(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        served.engine.hold.clear()
        response = await served.ask(stream=True)
        await response.content.readany()
        async with served.ask() as refused:
            assert refused.status == 429
            assert (await refused.json())["error"]["code"] == "overloaded"
        served.engine.hold.set()
        await response.read()
        async with served.ask() as answer:
            assert answer.status == 200
            await answer.read()
        assert served.authenticator.in_progress == 0

    play(settings.model_copy(update={"max_concurrent": 1}), tmp_path, scene)


@pytest.mark.parametrize(
    ("sent", "answered"),
    [("my-id.1", "my-id.1"), ("", None), ("x" * 65, None), ("a b", None), ("us-0123abcd-" + "x" * 43, None)],
)
def test_every_answer_carries_a_request_id(settings: Settings, tmp_path: Path, sent: str, answered: str | None) -> None:
    async def scene(served: ServedProxy) -> None:
        headers = {"x-request-id": sent}
        for url in (f"{served.url}{CHAT}", f"{served.url}/nowhere"):
            async with served.session.post(url, json=BODY, headers=headers) as response:
                request_id = response.headers["x-request-id"]
                assert request_id == answered if answered else request_id.startswith("req-")

    play(settings, tmp_path, scene)


def test_tokens_are_counted_without_the_client_asking_for_them(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        for options, told in ((None, False), ({"include_usage": False}, False), ({"include_usage": True}, True)):
            async with served.ask(stream=True, stream_options=options) as response:
                assert ("completion_tokens" in await response.text()) == told
        async with served.ask() as response:
            assert (await response.json())["usage"]["completion_tokens"] == 3
        labels = {"persona": "poet", "revision": served.table.live["poet"].revision.id[:12]}
        assert served.metric("completion_tokens_total", **labels) == 12
        assert served.metric("prompt_tokens_total", **labels) == 28
        assert served.metric("requests_total", status="200", **labels) == 4
        assert served.metric("first_token_seconds_count", **labels) == 4
        assert 0 < served.metric("inter_token_seconds_count", **labels) <= 6
        assert served.metric("requests_waiting", **labels) == 0

    play(settings, tmp_path, scene)


def test_what_became_of_an_answer_is_told_to_whoever_judges_trials(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        live = served.table.live["poet"]
        async with served.ask(stream=True) as response:
            await response.read()
        async with served.ask(messages=[]) as response:
            assert response.status == 400
        served.engine.misbehave = "say nothing"
        async with served.ask() as response:
            await response.read()
        served.engine.misbehave = "fail mid-answer"
        async with served.ask(stream=True) as response:
            await response.read()
        assert [loaded for loaded, _ in served.outcomes] == [live] * 3
        assert [outcome.failed for _, outcome in served.outcomes] == [False, True, True]

    play(settings, tmp_path, scene)


def test_requests_for_more_adapters_than_slots_wait_their_turn_and_give_it_up_when_the_client_goes(
    settings: Settings, tmp_path: Path
) -> None:
    async def scene(served: ServedProxy) -> None:
        served.scheduler.capacity = 0
        waiting = asyncio.create_task(served.session.post(f"{served.url}{CHAT}", json=BODY))
        while not served.scheduler.waiting:
            await asyncio.sleep(0.01)
        async with served.ask(model="base") as response:
            assert response.status == 200, "the base needs no slot"
        waiting.cancel()
        while served.scheduler.waiting or served.table.live["poet"].in_flight:
            await asyncio.sleep(0.01)

    play(settings, tmp_path, scene)


def test_the_log_tells_about_a_request_but_not_what_was_said(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(served: ServedProxy) -> None:
        with caplog.at_level("INFO", logger="understudy"):
            async with served.ask(messages=[{"role": "user", "content": "a secret wish"}]) as response:
                await response.read()
            async with served.ask(model="nobody's secret") as response:
                assert response.status == 404

    play(settings, tmp_path, scene)
    done, refused = [vars(r) for r in caplog.records if r.name == "understudy.access"]
    assert (done["persona"], done["outcome"], done["completion_tokens"]) == ("poet", "ok", 3)
    assert (refused["status"], refused["outcome"]) == (404, "refused")
    assert "secret" not in caplog.text


def test_a_body_over_the_limit_is_413(settings: Settings, tmp_path: Path) -> None:
    async def scene(served: ServedProxy) -> None:
        async with served.ask(messages=[{"role": "user", "content": "x" * 20_000}]) as response:
            assert response.status == 413
            assert "larger than 10,000 bytes" in (await response.json())["error"]["message"]
        assert served.engine.asked == []

    play(settings, tmp_path, scene)
