"""`understudy promote --when-better`: the gateway's own routes and publisher, real votes, a fake engine."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from fastapi import FastAPI

from arena.battles.store import BattleAnswer, BattleStore
from arena.votes.votes import cast_vote
from serve.http.routes import admin_routes, shape_errors
from serve.rollout.canary import AnswerOutcome
from tests.support.publishing import Bench, play
from understudy.cli.commands.serve import TRIAL_EXIT_CODES
from understudy.cli.show_personas import show_trial
from understudy.config.settings import Settings, load_settings
from understudy.errors import GatewayError, NotFoundError
from understudy.processes import free_port
from understudy.registry.adapters import short
from understudy.registry.records import Revision
from understudy.workflows.promote_when_better import promote_when_better

GOOD = AnswerOutcome(failed=False, tokens=20, seconds=1.0)


@contextlib.asynccontextmanager
async def gateway(bench: Bench, settings: Settings) -> AsyncIterator[Settings]:
    """The admin's routes over HTTP, in front of this bench's publisher; yields settings that lead there."""

    async def allowed(*_: str) -> None: ...

    app = FastAPI()
    app.include_router(admin_routes())
    shape_errors(app)
    ready = SimpleNamespace(status=SimpleNamespace(status="ready", detail="", answers=True))
    authenticator = SimpleNamespace(require=allowed)
    app.state.gateway = SimpleNamespace(publisher=bench.publisher, supervisor=ready, authenticator=authenticator)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield load_settings(**{**settings.model_dump(exclude_unset=True), "port": port})
    server.should_exit = True
    await serving


def meet(bench: Bench, winner: Revision, loser: Revision, times: int) -> None:
    """So many battles of the two that the same one wins."""
    store, names = BattleStore(bench.registry.engine), [f"poet@{short(one.id)}" for one in (winner, loser)]
    for number in range(times):
        battle, ticket = store.create(
            prompt=f"Rhyme {number}.", persona=names[0], rival=names[1], session="s", temperature=0, max_tokens=9
        )
        said = {names[0]: BattleAnswer("Good.", short(winner.id)), names[1]: BattleAnswer("Bad.", short(loser.id))}
        store.finish(battle.id, said[battle.left], said[battle.right])
        cast_vote(store.engine, ticket, "left" if battle.left == names[0] else "right", session="s")


async def on_trial(bench: Bench) -> None:
    await bench.publish(bench.first)
    await bench.publisher.publish("poet", bench.second.id, actor="ann", share=0.5)


def test_a_held_trial_is_not_promoted_for_want_of_evidence_against_it(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        await on_trial(bench)
        held = bench.publisher.hold("poet")
        assert (held.changed, held.revision, held.share) == (False, bench.second.id, 0.5)
        for number in range(200):
            with bench.table.lease("poet", f"user {number}") as target:
                bench.publisher.answered(target.loaded, GOOD)
            await asyncio.sleep(0)
        assert "poet" in bench.table.trials
        await bench.publisher.promote("poet", actor="ann", reason="it rhymes better")
        assert bench.registry.history("poet")[0].detail["reason"] == "it rhymes better"
        with pytest.raises(NotFoundError, match="no revision on trial"):
            bench.publisher.hold("poet")

    play(settings, tmp_path, scene)


@pytest.mark.parametrize(
    ("wins", "losses", "kind", "live"),
    [(0, 0, "not yet", "first"), (5, 4, "not yet", "first"), (12, 0, "promoted", "second"), (0, 12, "worse", "first")],
)
def test_votes_decide(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], wins: int, losses: int, kind: str, live: str
) -> None:
    async def scene(bench: Bench) -> None:
        meet(bench, bench.second, bench.first, 12)  # before the trial: they tell nothing about it
        await on_trial(bench)
        async with gateway(bench, settings) as known:
            meet(bench, bench.second, bench.first, wins)
            meet(bench, bench.first, bench.second, losses)
            found = await asyncio.to_thread(promote_when_better, known, "poet", alpha=0.05, timeout=0)
        assert found.kind == kind
        show_trial(found, alpha=0.05)
        assert bench.registry.persona("poet").live == getattr(bench, live).id
        heard = {bench.answering(f"user {number}") for number in range(20)}
        on_trial_still = set() if kind == "promoted" else {bench.second.served_name}
        assert heard == {getattr(bench, live).served_name} | on_trial_still
        newest = bench.registry.history("poet")[0]
        if kind == "promoted":
            assert newest.detail["reason"].startswith("better: 12 wins, 0 losses against the live revision; evidence")
        assert newest.action == ("promote" if kind == "promoted" else "canary")

    play(settings, tmp_path, scene)
    shown = {"not yet": "not yet", "promoted": "promoted: poet@", "worse": "no better"}
    assert shown[kind] in capsys.readouterr().out


def test_the_exit_codes_of_the_command() -> None:
    assert TRIAL_EXIT_CODES == {"promoted": 0, "not yet": 3, "worse": 4}


def test_it_waits_for_votes_that_come_while_it_looks(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        await on_trial(bench)
        async with gateway(bench, settings) as known:
            waiting = asyncio.create_task(asyncio.to_thread(promote_when_better, known, "poet", alpha=0.05, timeout=60))
            await bench.until(lambda: bench.table.trials["poet"].held)
            meet(bench, bench.second, bench.first, 12)
            assert (await waiting).kind == "promoted"

    play(settings, tmp_path, scene)


def test_a_trial_that_the_gateway_ends_meanwhile_ends_the_wait(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(bench: Bench) -> None:
        await on_trial(bench)
        async with gateway(bench, settings) as known:
            waiting = asyncio.create_task(asyncio.to_thread(promote_when_better, known, "poet", alpha=0.05, timeout=60))
            await bench.until(lambda: bench.table.trials["poet"].held)
            await bench.publisher.rollback("poet", actor="ann")
            ended = await waiting
            assert ended.kind == "worse"
            show_trial(ended, alpha=0.05)

    play(settings, tmp_path, scene)
    assert "withdrawn by ann: poet@" in capsys.readouterr().out


def test_without_a_trial_or_a_gateway_it_says_so(settings: Settings, tmp_path: Path) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(bench.first)
        with pytest.raises(NotFoundError, match="no revision on trial"):
            promote_when_better(settings, "poet", alpha=0.05, timeout=0)
        await bench.publisher.publish("poet", bench.second.id, actor="ann", share=0.5)
        nowhere = load_settings(**{**settings.model_dump(exclude_unset=True), "port": free_port()})
        with pytest.raises(GatewayError, match="no gateway at"):
            await asyncio.to_thread(promote_when_better, nowhere, "poet", alpha=0.05, timeout=0)

    play(settings, tmp_path, scene)
