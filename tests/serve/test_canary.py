"""A revision on trial: who gets it, what ends it, and that nothing else changes meanwhile."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serve.rollout.canary import AnswerOutcome, Trial
from serve.rollout.routing import Loaded
from tests.support.publishing import Bench, play
from understudy.config.settings import Settings
from understudy.errors import NotFoundError, PublishError
from understudy.registry.records import Revision
from understudy.statistics.sequential import VoteOutcome

GOOD = AnswerOutcome(failed=False, tokens=20, seconds=1.0)
SLOW = AnswerOutcome(failed=False, tokens=20, seconds=3.0)
BAD = AnswerOutcome(failed=True)


def revision(letter: str) -> Revision:
    about = {"base": "tiny", "base_revision": None, "rank": 4, "size": 1, "source": "test"}
    return Revision(persona="poet", id=letter * 64, created_at=datetime.now(UTC), **about)


def trial(share: float = 0.5, answers: int = 10_000) -> tuple[Trial, Loaded, Loaded]:
    """A trial, its candidate and the incumbent."""
    candidate, live = Loaded(revision("a"), 0, {}), Loaded(revision("b"), 0, {})
    return Trial(candidate, share, answers=answers), candidate, live


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_about_that_share_of_the_users_gets_it_and_always_the_same_ones(share: float) -> None:
    it, _, _ = trial(share)
    users = [f"user-{n}" for n in range(4000)]
    chosen = [user for user in users if it.takes(user)]
    assert abs(len(chosen) / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5
    assert chosen == [user for user in users if it.takes(user)]


def test_another_revision_is_tried_on_other_users() -> None:
    first = {n for n in range(1000) if trial(0.1)[0].takes(str(n))}
    other = Trial(Loaded(revision("c"), 0, {}), 0.1, answers=1)
    assert len(first & {n for n in range(1000) if other.takes(str(n))}) < 30


@pytest.mark.parametrize(
    ("outcome", "why", "within"), [(BAD, "it fails more often: ", 40), (SLOW, "it is slower in ", 40)]
)
def test_a_worse_candidate_is_withdrawn_and_the_reason_told(outcome: AnswerOutcome, why: str, within: int) -> None:
    it, candidate, live = trial()
    for _ in range(within):
        assert it.see(live, GOOD) is None
        if verdict := it.see(candidate, outcome):
            assert not verdict.promote
            assert verdict.reason.startswith(why)
            return
    raise AssertionError(f"no verdict within {within} answers: {it.figures()}")


@pytest.mark.parametrize("outcome", [GOOD, SLOW, BAD])
def test_a_candidate_like_the_incumbent_passes_after_enough_answers(outcome: AnswerOutcome) -> None:
    it, candidate, live = trial(answers=50)
    verdict = None
    for _ in range(50):
        assert verdict is None
        it.see(live, outcome)
        verdict = it.see(candidate, outcome)
    assert verdict
    assert verdict.promote


def test_lost_votes_end_a_trial_and_each_vote_counts_once() -> None:
    it, _, _ = trial()
    ballots = [VoteOutcome(battle=f"i{n}", revision="b" * 12, won=True) for n in range(8)]
    for number in range(60):
        ballots.append(VoteOutcome(battle=f"i{number + 10}", revision="b" * 12, won=True))
        ballots.append(VoteOutcome(battle=f"c{number}", revision="a" * 12, won=False))
        if verdict := it.count(ballots):
            break
    else:
        raise AssertionError(it.figures())
    assert "it loses more battles" in verdict.reason
    assert it.figures()["lost"] == f"{number + 1} of {number + 1} on trial, 0 of {number + 9} before"


async def answer(bench: Bench, user: str, outcome: AnswerOutcome) -> str:
    with bench.table.lease("poet", user) as target:
        bench.publisher.answered(target.loaded, outcome)
        await asyncio.sleep(0)
        return target.engine_name


def test_a_trial_runs_beside_the_live_revision_and_is_promoted(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        done = await bench.publisher.publish("poet", bench.second.id, actor="ann", share=0.5)
        assert (done.share, done.previous) == (0.5, bench.first.id)
        persona = bench.registry.persona("poet")
        assert (persona.live, persona.candidate, persona.share) == (bench.first.id, bench.second.id, 0.5)
        seen = Counter[str]()
        for number in range(200):
            seen[await answer(bench, f"user {number}", GOOD)] += 1
            await asyncio.sleep(0.001)
        await bench.until(lambda: not bench.table.trials)
        assert set(seen) == {bench.first.served_name, bench.second.served_name}
        assert bench.answering() == bench.second.served_name
        persona = bench.registry.persona("poet")
        assert (persona.live, persona.candidate, persona.share) == (bench.second.id, None, 0)
        newest = bench.registry.history("poet")[0]
        assert (newest.action, newest.actor, newest.detail["previous"]) == ("promote", "gateway", bench.first.id)
        assert "no evidence against it" in newest.detail["reason"]
        assert [h.kind for h in bench.told if h.kind != "ordered"] == ["live", "canary", "promoted"]

    play(settings, tmp_path, scene)


def test_a_failing_trial_is_withdrawn_while_the_incumbent_goes_on(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        await bench.publisher.publish("poet", bench.second.id, actor="ann", share=0.5)
        number = 0
        while bench.table.trials:
            number += 1
            assert number < 200
            with bench.table.lease("poet", str(number)) as target:
                bad = target.engine_name == bench.second.served_name
                bench.publisher.answered(target.loaded, BAD if bad else GOOD)
            await asyncio.sleep(0.002)
        assert bench.answering() == bench.first.served_name
        await bench.until(lambda: bench.registry.history("poet")[0].action == "withdraw")
        assert bench.registry.history("poet")[0].detail["reason"].startswith("it fails more often")
        await bench.until(lambda: bench.engine.unloaded == [bench.second.served_name])
        assert bench.registry.persona("poet").candidate is None

    play(settings, tmp_path, scene)


def test_rollback_during_a_trial_withdraws_it_and_promote_ends_it_well(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        with pytest.raises(NotFoundError, match="no revision on trial"):
            await bench.publisher.promote("poet", actor="ann")
        await bench.publisher.publish("poet", bench.second.id, actor="ann", share=0.1)
        done = await bench.publisher.rollback("poet", actor="ann")
        assert done.revision == bench.first.id
        assert not bench.table.trials
        await bench.publisher.publish("poet", bench.third.id, actor="ann", share=0.1)
        done = await bench.publisher.promote("poet", actor="ann")
        assert (done.revision, done.previous) == (bench.third.id, bench.first.id)
        assert bench.answering() == bench.third.served_name
        await bench.publisher.rollback("poet", actor="ann")
        assert bench.answering() == bench.first.served_name

    play(settings, tmp_path, scene)


def test_a_second_trial_takes_the_place_of_the_first_and_a_full_publish_ends_it(
    settings: Settings, tmp_path: Path
) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        await bench.publisher.publish("poet", bench.second.id, actor="ann", share=0.1)
        await bench.publisher.publish("poet", bench.third.id, actor="ann", share=0.2)
        await bench.until(lambda: bench.engine.unloaded == [bench.second.served_name])
        assert bench.table.trials["poet"].share == 0.2
        await bench.publish(bench.second)
        assert not bench.table.trials
        await bench.until(lambda: bench.third.served_name in bench.engine.unloaded)
        assert bench.answering() == bench.second.served_name

    play(settings, tmp_path, scene)


def test_there_must_be_something_to_compare_a_trial_with(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        with pytest.raises(PublishError, match="no live revision to compare with"):
            await bench.publisher.publish("poet", bench.first.id, actor="ann", share=0.1)
        await bench.publish(bench.first)
        with pytest.raises(PublishError, match="is live already"):
            await bench.publisher.publish("poet", bench.first.id, actor="ann", share=0.1)

    play(settings, tmp_path, scene)


@pytest.mark.parametrize("engine_died", [False, True])
def test_a_trial_survives_a_restart_of_the_gateway_but_not_a_death_of_the_engine(
    settings: Settings, tmp_path: Path, engine_died: bool
) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        await bench.publisher.publish("poet", bench.second.id, actor="ann", share=0.3)
        bench.engine.loaded = {"base": ""}
        assert await bench.publisher.replay(engine_died=engine_died) == []
        assert bench.answering() in (bench.first.served_name, bench.second.served_name)
        assert ("poet" in bench.table.trials) != engine_died
        newest = bench.registry.history("poet")[0]
        assert newest.action == ("withdraw" if engine_died else "canary")

    play(settings, tmp_path, scene)
