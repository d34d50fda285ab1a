"""Events of the gateway reach every page through one reader, and pages poll while there are none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from space.backends.gateway import GatewayClient, GatewayEvent
from space.backends.listing import Listing
from space.live_updates import POLLING, PUSH, REFRESH, LiveUpdates
from space.status import GatewayMonitor
from tests.support.fake_gateway import EMAIL, FakeGateway
from tests.support.space import eventually
from understudy.errors import GatewayError

QUICK = (0.01,)


class Tab:
    """A page that listens."""

    def __init__(self, updates: LiveUpdates) -> None:
        self.received: list[str] = []
        self._task = asyncio.create_task(self._listen(updates.messages()))

    async def _listen(self, messages: AsyncIterator[str]) -> None:
        async for line in messages:
            self.received.append(line.removeprefix("data: ").strip())

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def live_updates(fake: FakeGateway) -> tuple[LiveUpdates, GatewayMonitor]:
    client = GatewayClient(fake.url)
    monitor = GatewayMonitor(client, fresh=1e9)
    return LiveUpdates(client, monitor, pauses=QUICK), monitor


def test_one_reader_tells_every_page_and_its_next_status_is_new(fake: FakeGateway):
    fake.tells = True

    async def run() -> None:
        updates, monitor = live_updates(fake)
        assert fake.listening == 0, "nobody has the page open"
        tabs = [Tab(updates) for _ in range(5)]
        await eventually(lambda: all(tab.received[-1:] == [PUSH] for tab in tabs))
        assert fake.listening == 1
        assert (await monitor.status()).find("email-copy").revision == EMAIL
        fake.models["email-copy"]["understudy"]["revision"] = "f" * 12
        assert (await monitor.status()).find("email-copy").revision == EMAIL, "asked a moment ago"
        fake.announce()
        await eventually(lambda: all(tab.received[-1:] == [REFRESH] for tab in tabs))
        assert (await monitor.status()).find("email-copy").revision == "f" * 12
        late = Tab(updates)
        await eventually(lambda: late.received == [PUSH])
        for tab in (*tabs, late):
            await tab.leave()
        await eventually(lambda: fake.listening == 0)

    asyncio.run(run())


def test_pages_poll_while_the_stream_is_broken_and_miss_nothing(fake: FakeGateway):
    fake.tells = True

    async def run() -> None:
        updates, _ = live_updates(fake)
        tab = Tab(updates)
        await eventually(lambda: tab.received[-1:] == [PUSH])
        fake.announce()
        await eventually(lambda: tab.received == [POLLING, PUSH, REFRESH])
        fake.tells = False
        await eventually(lambda: tab.received[-1] == POLLING)
        fake.announce()
        fake.tells = True
        await eventually(lambda: tab.received[-2:] == [PUSH, REFRESH])
        await tab.leave()

    asyncio.run(run())


def test_an_event_that_comes_while_the_gateway_is_asked_is_not_lost():
    asked: list[int] = []

    class Slow(GatewayClient):
        async def listing(self):
            asked.append(len(asked))
            monitor.expire() if len(asked) == 1 else None
            return Listing(contestants=())

        async def readiness(self):
            return (await GatewayClient.readiness(self)).model_copy(update={"status": "ready"})

    monitor = GatewayMonitor(Slow("http://127.0.0.1:9"), fresh=1e9)

    async def run() -> None:
        for _ in range(3):
            await monitor.status()

    asyncio.run(run())
    assert len(asked) == 2


def test_a_closing_page_ends_its_streams(fake: FakeGateway):
    fake.tells = True

    async def run() -> None:
        updates, _ = live_updates(fake)
        tab = Tab(updates)
        await eventually(lambda: tab.received[-1:] == [PUSH])
        updates.close()
        await eventually(tab._task.done)

    asyncio.run(run())


@pytest.mark.parametrize("away", ["no such route", "not there", "a proxy without its server"])
def test_a_gateway_without_events_is_an_error(fake: FakeGateway, away: str):
    fake.asleep = 503 if away == "a proxy without its server" else 0
    if away == "not there":
        fake.stop()

    async def run() -> list[GatewayEvent]:
        async with aclosing(GatewayClient(fake.url).events()) as events:
            return [one async for one in events]

    with pytest.raises(GatewayError):
        asyncio.run(run())
