"""Publishing as a state machine, on a fake engine: races that a real one would show once in a thousand runs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.publishing import Bench, play
from understudy.config.settings import Settings
from understudy.errors import NotFoundError, PublishError
from understudy.registry.adapters import short


def test_a_request_in_flight_keeps_its_revision_and_the_next_takes_the_new_one(
    settings: Settings, tmp_path: Path
) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        with bench.table.lease("poet") as target:
            await bench.publish(bench.second)
            await bench.publish(bench.third)
            assert bench.answering() == bench.third.served_name
            await asyncio.sleep(0.05)
            assert target.engine_name == bench.first.served_name
            assert bench.engine.unloaded == [], "unloaded while an answer was in flight"
        await bench.until(lambda: bench.engine.unloaded == [bench.first.served_name])
        with pytest.raises(NotFoundError), bench.table.lease(bench.first.served_name):
            pass

    play(settings, tmp_path, scene)


def test_what_was_live_before_stays_loaded_and_comes_back_without_the_engine(
    settings: Settings, tmp_path: Path
) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        await bench.publish(bench.second)
        asked = len(bench.engine.asked)
        bench.engine.load_gate.clear()  # a load would wait for ever
        done = await bench.publisher.rollback("poet", actor="test")
        assert (done.revision, done.previous) == (bench.first.id, bench.second.id)
        assert bench.answering() == bench.first.served_name
        assert len(bench.engine.asked) == asked, "nothing had to be proved again"
        with bench.table.lease(bench.second.served_name) as pinned:
            assert pinned.revision == bench.second.id[:12]

    play(settings, tmp_path, scene)


def test_two_publishes_at_once_come_one_after_the_other(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        bench.engine.load_gate.clear()
        both = [asyncio.create_task(bench.publish(r)) for r in (bench.first, bench.second)]
        await asyncio.sleep(0.05)
        assert bench.table.live == {}
        bench.engine.load_gate.set()
        await asyncio.gather(*both)
        assert bench.answering() == bench.second.served_name
        assert bench.registry.persona("poet").live == bench.second.id
        published = [e.revision for e in bench.registry.history("poet") if e.action == "publish"]
        assert published == [bench.second.id, bench.first.id]
        assert set(bench.engine.loaded) == {"base", bench.first.served_name, bench.second.served_name}

    play(settings, tmp_path, scene)


def test_going_back_to_a_revision_that_still_drains_keeps_it(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        with bench.table.lease("poet"):
            await bench.publish(bench.second)
            await bench.publish(bench.third)  # the first has nothing more to do than to end its answer
            await bench.publisher.rollback("poet", bench.first.id, actor="test")
            assert bench.answering() == bench.first.served_name
        await bench.until(lambda: bench.engine.unloaded == [bench.second.served_name])
        await asyncio.sleep(0.05)
        assert set(bench.engine.loaded) == {"base", bench.first.served_name, bench.third.served_name}

    play(settings, tmp_path, scene)


def test_many_publishes_leave_no_more_loaded_than_a_few(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        for number in range(100):
            await bench.publish((bench.first, bench.second, bench.third)[number % 3])
        await bench.until(lambda: len(bench.engine.loaded) == 3)
        assert len(bench.table.loaded) == 2, "the live one and the previous one"

    play(settings, tmp_path, scene)


def test_a_registry_that_fails_leaves_the_incumbent_and_nothing_loaded(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)

        def fail(*_: object, **__: object) -> None:
            raise OSError("disk full")

        monkeypatch.setattr(bench.registry, "set_live", fail)
        with pytest.raises(OSError, match="disk full"):
            await bench.publish(bench.second)
        assert bench.answering() == bench.first.served_name
        await bench.until(lambda: bench.engine.unloaded == [bench.second.served_name])

    play(settings, tmp_path, scene)


def test_a_publish_that_outlives_its_engine_is_made_live_by_the_replay(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        set_live = bench.registry.set_live

        def slowly(*args: Any, **kwargs: Any) -> None:
            bench.table.clear()  # the engine dies while the registry is written
            bench.engine.loaded = {"base": ""}
            set_live(*args, **kwargs)

        bench.registry.set_live = slowly  # pyright: ignore[reportAttributeAccessIssue]
        await bench.publish(bench.second)
        with pytest.raises(NotFoundError):
            bench.answering()
        assert await bench.publisher.replay(engine_died=True) == []
        assert bench.answering() == bench.second.served_name

    play(settings, tmp_path, scene)


@pytest.mark.parametrize(
    ("misbehave", "stage"), [("refuse load", "load"), ("act like the base", "probe"), ("500", "probe")]
)
def test_a_refused_candidate_leaves_the_incumbent_and_a_reason(
    settings: Settings, tmp_path: Path, misbehave: str, stage: str
) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        bench.engine.misbehave = misbehave
        bench.adapters._probe._base.clear()
        with pytest.raises(PublishError, match=f"refused by {stage}") as caught:
            await bench.publish(bench.second)
        assert caught.value.reasons
        assert bench.answering() == bench.first.served_name
        assert bench.registry.persona("poet").live == bench.first.id
        newest = bench.registry.history("poet")[0]
        assert (newest.action, newest.detail["stage"]) == ("reject", stage)
        assert bench.second.served_name not in bench.engine.loaded

    play(settings, tmp_path, scene)


def test_a_fresh_engine_gets_every_live_revision_back_and_says_which_it_could_not(
    settings: Settings, tmp_path: Path
) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.second)
        bench.engine.loaded = {"base": ""}
        assert await bench.publisher.replay() == []
        assert bench.answering() == bench.second.served_name
        bench.engine.loaded = {"base": ""}
        (bench.registry.path(bench.second) / "adapter_model.safetensors").unlink()
        assert await bench.publisher.replay() == ["poet"]
        with pytest.raises(NotFoundError, match="models there are: base"):
            bench.answering()

    play(settings, tmp_path, scene)


def test_publishing_what_is_live_does_nothing(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        asked = len(bench.engine.asked)
        done = await bench.publisher.publish("poet", bench.first.id[:12], actor="test")
        assert not done.changed
        assert len(bench.engine.asked) == asked

    play(settings, tmp_path, scene)


def test_there_must_be_something_to_go_back_to(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        with pytest.raises(NotFoundError, match="poet has no earlier revision to go back to"):
            await bench.publisher.rollback("poet", actor="test")

    play(settings, tmp_path, scene)


def test_the_arena_is_told_which_other_revisions_answer(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        assert bench.table.others("poet") == []
        await bench.publish(bench.first)
        assert bench.table.others("poet") == []
        await bench.publish(bench.second)
        assert bench.table.others("poet") == [short(bench.first.id)], "it stays loaded"
        await bench.publisher.publish("poet", bench.third.id, actor="test", share=0.5)
        assert bench.table.others("poet") == sorted([short(bench.first.id), short(bench.third.id)])
        for other in bench.table.others("poet"):
            with bench.table.lease(f"poet@{other}") as target:
                assert target.revision == other

    play(settings, tmp_path, scene)
