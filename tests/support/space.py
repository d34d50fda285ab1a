"""What the tests of the Space share."""

import asyncio
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy.orm import Session

from arena.battles.store import BattleAnswer, BattleStore, BattleTicket
from arena.votes.votes import cast_vote
from evaluate.reports.imported_answers import OtherSystems
from space.arena.battle import ArenaServices, BattleView, run_battle
from space.backends.errors import Readiness
from space.backends.gateway import GatewayClient
from space.backends.listing import Contestant
from space.status import BASE, GatewayMonitor, GatewayStatus
from tests.support.fake_gateway import FakeGateway
from understudy.registry.tables import BattleRow

EMAIL_CARD = Contestant(name="email-copy", kind="persona", title="Email", revision="aaa", prompts=("Sell it.",))
READY = GatewayStatus(Readiness(status="ready"), (BASE, EMAIL_CARD))


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits until `condition` holds; fails after ten seconds."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


def only_battle(store: BattleStore) -> BattleRow:
    """The one battle in the store."""
    with Session(store.engine) as db:
        return db.query(BattleRow).one()


class Page:
    """One browser tab as raw HTTP: it can call any event of the page, hidden ones too."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)
        self.session = uuid.uuid4().hex
        self.config = self.http.get("/config").json()

    def call(self, api_name: str, *data: Any) -> str:
        """Everything the server sends in answer to one event."""
        (event,) = [one for one in self.config["dependencies"] if one["api_name"] == api_name]
        body = {"data": list(data), "fn_index": event["id"], "session_hash": self.session, "trigger_id": 1}
        if not event["queue"]:
            return self.http.post("/gradio_api/run/predict", json=body).text
        self.http.post("/gradio_api/queue/join", json=body).raise_for_status()
        sent = []
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                sent.append(line)
                if '"close_stream"' in line:
                    break
        return "\n".join(sent)


def wait_for_page(url: str, process: subprocess.Popen[bytes], log: Path) -> Page:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return Page(url)
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"the Space did not start:\n{log.read_text()[-2000:]}")


OTHERS = OtherSystems({"what is rain?": {"chatgpt": "Water.", "claude": "It falls."}}, ["What is rain?"])


def finished_battle(
    store: BattleStore, prompt: str = "Hi", persona: str = "email-copy", rival: str = "base"
) -> BattleTicket:
    """A finished battle that waits for its vote."""
    made, ticket = store.create(
        prompt=prompt, persona=persona, rival=rival, session="s", temperature=0.5, max_tokens=9, category="free"
    )
    store.finish(made.id, BattleAnswer("some words"), BattleAnswer("other words here"))
    return ticket


def cast(store: BattleStore, verdict: str = "left", voter: str = "ann", **about: Any) -> str:
    """Casts a vote on a battle of its own; returns its id."""
    ticket = finished_battle(store, **about)
    cast_vote(store.engine, ticket, verdict, session=voter)
    return ticket.battle


async def one_battle(
    fake: FakeGateway, store: BattleStore, against: str, prompt: str = "What is rain?", **services: Any
) -> BattleView:
    """The last view of a battle of the email writer against that kind of rival."""
    client = GatewayClient(fake.url)
    there = ArenaServices(client, GatewayMonitor(client), store, other_systems=OTHERS, **services)
    return [view async for view in run_battle(there, prompt, "email-copy", "tab", against)][-1]
