"""Many at once: no vote is lost, no conversation is mixed, and a Space that is killed has kept what it said it kept."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from arena.battles.store import BattleStore
from arena.votes.votes import list_votes
from space.app import build_app, start
from space.backends.gateway import GatewayClient
from tests.support.fake_gateway import FakeGateway
from tests.support.space import Page, wait_for_page
from tests.support.system import System
from understudy.config.settings import PROJECT
from understudy.processes import free_port
from understudy.registry.database import open_database

USERS = 32
VERDICTS = {"cast": "left", "cast_1": "right", "cast_2": "tie", "cast_3": "both_bad"}
"""Event of a vote button -> the verdict it casts."""


def visit(url: str, number: int) -> tuple[str, str] | None:
    """One person's battle and vote: the prompt and the verdict, or `None` where the battle was void."""
    prompt = f"Write an email about umbrella number {number}."
    page = Page(url)
    told = page.call("battle", prompt, "", "base")
    if "Which answer is better?" not in told:
        assert "does not count" in told, told[-500:]
        return None
    event = list(VERDICTS)[number % len(VERDICTS)]
    assert "Your vote is counted" in page.call(event, None, [])
    return prompt, VERDICTS[event]


def cast_by(url: str, store: BattleStore) -> list[tuple[str, str]]:
    """Everybody visits at once; what they voted, once it is all found in the database."""
    with ThreadPoolExecutor(USERS) as pool:
        cast = [one for one in pool.map(lambda number: visit(url, number), range(USERS)) if one]
    kept = [(store.get(vote.battle).prompt, vote.verdict) for vote in list_votes(store.engine)]
    assert sorted(one for one in kept if "umbrella number" in one[0]) == sorted(cast)
    return cast


def test_32_people_at_once_lose_no_vote_and_read_their_own_answers(fake: FakeGateway, store: BattleStore):
    app = build_app(GatewayClient(fake.url), store)
    port = free_port()
    start(app, host="127.0.0.1", port=port, block=False)
    try:
        assert len(cast_by(f"http://127.0.0.1:{port}", store)) == USERS
    finally:
        app.close()
    for vote in list_votes(store.engine):
        battle = store.get(vote.battle)
        assert battle.left_answer.text.endswith(f"You said: {battle.prompt}")
        assert battle.right_answer.text.endswith(f"You said: {battle.prompt}")


@pytest.mark.engine
def test_32_people_at_once_on_the_real_engine(system: System):
    store = BattleStore(open_database(system.settings.database))
    cast = cast_by(system.space_url, store)
    assert len(cast) > USERS / 2, "most battles of two real models have something to choose between"


@pytest.mark.slow
def test_a_space_that_is_killed_has_kept_every_vote_that_it_thanked_for(fake: FakeGateway, tmp_path: Path):
    port = free_port()
    env = {
        **os.environ,
        "UNDERSTUDY_HOME": str(tmp_path),
        "UNDERSTUDY_SPACE_PORT": str(port),
        "UNDERSTUDY_GATEWAY_URL": fake.url,
        "UNDERSTUDY_BATTLES_PER_MINUTE": "1000",
    }
    url = f"http://127.0.0.1:{port}"
    thanked: list[str] = []
    over = threading.Event()

    def vote_on(voter: int) -> None:
        number = 0
        while not over.is_set():
            prompt = f"Prompt {number} of voter {voter}"
            number += 1
            try:
                page = Page(url)
                if "Which answer is better?" not in page.call("battle", prompt, "", "base"):
                    continue
                if "Your vote is counted" in page.call("cast", None, []):
                    thanked.append(prompt)
            except (httpx.HTTPError, ValueError):
                time.sleep(0.05)

    for _ in range(2):
        with (tmp_path / "log").open("a") as log:
            space = subprocess.Popen([sys.executable, "-m", "space.app"], cwd=PROJECT, env=env, stdout=log, stderr=log)
        wait_for_page(url, space, tmp_path / "log")
        over.clear()
        voters = [threading.Thread(target=vote_on, args=(voter,)) for voter in range(6)]
        for voter in voters:
            voter.start()
        goal = len(thanked) + 20
        deadline = time.monotonic() + 120
        while len(thanked) < goal and time.monotonic() < deadline:
            time.sleep(0.05)
        space.send_signal(signal.SIGKILL)
        space.wait(20)
        over.set()
        for voter in voters:
            voter.join(60)
    store = BattleStore(open_database(f"sqlite:///{tmp_path / 'understudy.db'}"))
    kept = {store.get(vote.battle).prompt for vote in list_votes(store.engine)}
    assert len(thanked) >= 40
    assert set(thanked) <= kept
