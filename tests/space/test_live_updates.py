"""News of the gateway reach every page through one reader, and pages look for themselves while there are none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from space.backends.gateway import GatewayClient, GatewayEvent
from space.backends.listing import Listing
from space.live_updates import ALONE, LOOK, TOLD, LiveUpdates
from space.status import GatewayMonitor
from tests.support.fake_gateway import EMAIL, FakeGateway
from tests.support.space import eventually
from understudy.errors import GatewayError

QUICK = (0.01,)


class Tab:
    """A page that listens."""

    def __init__(self, room: LiveUpdates) -> None:
        self.heard: list[str] = []
        self._task = asyncio.create_task(self._listen(room._told()))

    async def _listen(self, told: AsyncIterator[str]) -> None:
        async for line in told:
            self.heard.append(line.removeprefix("data: ").strip())

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def rooms(fake: FakeGateway) -> tuple[LiveUpdates, GatewayMonitor]:
    client = GatewayClient(fake.url)
    backend = GatewayMonitor(client, fresh=1e9)
    return LiveUpdates(client, backend, pauses=QUICK), backend


def test_one_reader_tells_every_page_and_what_it_sees_then_is_new(fake: FakeGateway):
    fake.tells = True

    async def run() -> None:
        room, backend = rooms(fake)
        assert fake.listening == 0, "nobody has the page open"
        tabs = [Tab(room) for _ in range(5)]
        await eventually(lambda: all(tab.heard[-1:] == [TOLD] for tab in tabs))
        assert fake.listening == 1
        assert (await backend.look()).find("email-copy").revision == EMAIL
        fake.models["email-copy"]["understudy"]["revision"] = "f" * 12
        assert (await backend.look()).find("email-copy").revision == EMAIL, "seen a moment ago"
        fake.announce()
        await eventually(lambda: all(tab.heard[-1:] == [LOOK] for tab in tabs))
        assert (await backend.look()).find("email-copy").revision == "f" * 12
        late = Tab(room)
        await eventually(lambda: late.heard == [TOLD])
        for tab in (*tabs, late):
            await tab.leave()
        await eventually(lambda: fake.listening == 0)

    asyncio.run(run())


def test_pages_look_for_themselves_while_the_stream_is_broken_and_miss_nothing(fake: FakeGateway):
    fake.tells = True

    async def run() -> None:
        room, _ = rooms(fake)
        tab = Tab(room)
        await eventually(lambda: tab.heard[-1:] == [TOLD])
        fake.announce()
        await eventually(lambda: tab.heard == [ALONE, TOLD, LOOK])
        fake.tells = False
        await eventually(lambda: tab.heard[-1] == ALONE)
        fake.announce()
        fake.tells = True
        await eventually(lambda: tab.heard[-2:] == [TOLD, LOOK])
        await tab.leave()

    asyncio.run(run())


def test_news_that_come_while_the_gateway_is_being_asked_are_not_lost():
    asked: list[int] = []

    class Slow(GatewayClient):
        async def listing(self):
            asked.append(len(asked))
            backend.expire() if len(asked) == 1 else None
            return Listing(contestants=())

        async def readiness(self):
            return (await GatewayClient.readiness(self)).model_copy(update={"status": "ready"})

    backend = GatewayMonitor(Slow("http://127.0.0.1:9"), fresh=1e9)

    async def run() -> None:
        for _ in range(3):
            await backend.look()

    asyncio.run(run())
    assert len(asked) == 2


def test_a_closing_page_ends_its_streams(fake: FakeGateway):
    fake.tells = True

    async def run() -> None:
        room, _ = rooms(fake)
        tab = Tab(room)
        await eventually(lambda: tab.heard[-1:] == [TOLD])
        room.close()
        await eventually(tab._task.done)

    asyncio.run(run())


@pytest.mark.parametrize("away", ["no such route", "not there", "a proxy without its server"])
def test_a_gateway_without_news_says_so(fake: FakeGateway, away: str):
    fake.asleep = 503 if away == "a proxy without its server" else 0
    if away == "not there":
        fake.stop()

    async def run() -> list[GatewayEvent]:
        async with aclosing(GatewayClient(fake.url).news()) as news:
            return [one async for one in news]

    with pytest.raises(GatewayError):
        asyncio.run(run())
