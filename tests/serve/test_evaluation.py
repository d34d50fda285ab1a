"""An evaluation on the running engine gives way to everybody else, and reaches nothing but its own model."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest

from serve.engine import evaluation
from serve.engine.evaluation import EvaluationRequest, Evaluations, Traffic
from serve.engine.vllm import Engine
from understudy.bases import base_revision, resolve_base
from understudy.errors import NotFoundError, PublishError
from understudy.registry.registry import Registry

BASE = resolve_base("tiny")
ASKED: dict[str, Any] = {"model": "base", "messages": []}


class SlowEngine:
    """Answers after a while, and knows what was broken off."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.plan = SimpleNamespace(base=BASE, max_rank=64)
        self.seconds, self.begun, self.broken_off, self.most, self._now = seconds, 0, 0, 0, 0
        self.loaded: list[str] = []

    async def post(self, session: object, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.begun, self._now = self.begun + 1, self._now + 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        finally:
            self._now -= 1
        return {"path": path, **body}

    async def load(self, session: object, name: str, folder: Path) -> None:
        self.loaded.append(name)

    async def unload(self, session: object, name: str) -> None:
        self.loaded.remove(name)


class OneRevision:
    """A registry that has one adapter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def revision(self, persona: str, prefix: str) -> SimpleNamespace:
        if persona != "pirate":
            raise NotFoundError(f"no persona {persona!r}")
        return SimpleNamespace(served_name=f"pirate@{prefix}")

    def path(self, revision: object) -> Path:
        return self._folder


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "QUIET", 0.01)


def made(engine: SlowEngine, traffic: Traffic | None = None, folder: Path = Path(), **options: Any) -> Evaluations:
    return Evaluations(
        cast("Engine", engine),
        cast("aiohttp.ClientSession", None),
        cast("Registry", OneRevision(folder)),
        traffic or Traffic(),
        **options,
    )


def wanted(**changes: str) -> EvaluationRequest:
    right = {"persona": "pirate", "revision": "a" * 64, "base": BASE.name, "base_revision": base_revision(BASE) or ""}
    return EvaluationRequest.model_validate(right | changes)


def test_it_waits_while_somebody_is_served() -> None:
    async def check() -> None:
        engine, traffic = SlowEngine(), Traffic()
        there = made(engine, traffic)
        with traffic:
            asked = asyncio.ensure_future(there.ask("chat", ASKED))
            await asyncio.sleep(0.05)
            assert engine.begun == 0
        assert (await asked)["path"] == "/v1/chat/completions"

    asyncio.run(check())


def test_what_was_begun_is_broken_off_for_people_and_begun_again_after_them() -> None:
    async def check() -> None:
        engine, traffic = SlowEngine(0.1), Traffic()
        there = made(engine, traffic)
        asked = [asyncio.ensure_future(there.ask("completions", ASKED)) for _ in range(8)]
        await asyncio.sleep(0.05)
        assert engine.begun == 8
        with traffic:
            await asyncio.sleep(0.01)
            assert engine.broken_off == 8
        await asyncio.gather(*asked)
        assert engine.begun == 16

    asyncio.run(check())


def test_a_few_at_a_time_go_on_while_people_come_and_go() -> None:
    async def check() -> None:
        engine, traffic = SlowEngine(0.01), Traffic()
        there = made(engine, traffic)
        with traffic:
            pass
        await asyncio.gather(*(there.ask("tokenize", ASKED) for _ in range(20)))
        assert engine.most == evaluation.BUSY_REQUESTS

    asyncio.run(check())


@pytest.mark.parametrize(
    "body", [{"model": "pirate"}, {"model": "email-copy@3fa9"}, {}, {"model": "base", "stream": True}]
)
def test_it_asks_nobody_but_the_base_and_what_is_evaluated(body: dict[str, Any]) -> None:
    async def check() -> None:
        engine = SlowEngine()
        with pytest.raises(NotFoundError):
            await made(engine).ask("chat", body)
        assert engine.begun == 0

    asyncio.run(check())


def test_one_evaluation_at_a_time_until_it_is_over_or_forgotten(adapter_folder: Path) -> None:
    async def check() -> None:
        engine, now = SlowEngine(), [0.0]
        there = made(engine, folder=adapter_folder, clock=lambda: now[0])
        name = await there.load(wanted())
        assert (await there.ask("chat", {**ASKED, "model": name}))["model"] == name
        with pytest.raises(PublishError, match="another evaluation is running"):
            await there.load(wanted())
        now[0] = evaluation.ABANDONED + 1
        other = await there.load(wanted())
        assert engine.loaded == [other], "the forgotten one is unloaded"
        await there.unload()
        assert engine.loaded == []
        with pytest.raises(NotFoundError):
            await there.ask("chat", {**ASKED, "model": other})

    asyncio.run(check())


def test_one_that_waits_for_people_is_not_taken_for_dead(adapter_folder: Path) -> None:
    async def check() -> None:
        traffic, now = Traffic(), [0.0]
        there = made(SlowEngine(), traffic, adapter_folder, clock=lambda: now[0])
        name = await there.load(wanted())
        with traffic:
            waiting = asyncio.ensure_future(there.ask("chat", {**ASKED, "model": name}))
            await asyncio.sleep(0.01)
            now[0] = 10 * evaluation.ABANDONED
            with pytest.raises(PublishError, match="another evaluation is running"):
                await there.load(wanted())
        assert (await waiting)["model"] == name

    asyncio.run(check())


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"base": "smollm2"}, PublishError, "this gateway serves tiny@"),
        ({"base_revision": "0" * 12}, PublishError, "this gateway serves tiny@"),
        ({"persona": "nobody"}, NotFoundError, "no persona 'nobody'"),
    ],
)
def test_what_cannot_be_evaluated_here_is_refused(changes: dict[str, str], error: type[Exception], says: str) -> None:
    async def check() -> None:
        engine = SlowEngine()
        there = made(engine)
        with pytest.raises(error, match=says):
            await there.load(wanted(**changes))
        assert engine.loaded == []
        with pytest.raises(error, match=says):  # a refusal leaves nothing behind that would be in the way
            await there.load(wanted(**changes))

    asyncio.run(check())


def test_an_adapter_that_is_not_valid_is_not_loaded(tmp_path: Path) -> None:
    async def check() -> None:
        engine = SlowEngine()
        with pytest.raises(PublishError, match="cannot be served"):
            await made(engine, folder=tmp_path).load(wanted())
        assert engine.loaded == []

    asyncio.run(check())


@pytest.fixture
def adapter_folder(tmp_path: Path) -> Path:
    from tests.support.adapters import make_adapter, tensors

    return make_adapter(tmp_path / "adapter", tensors(seed=1))
