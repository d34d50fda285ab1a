"""The events stream over real HTTP: in order, resumable, bounded, and gone when it should be."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
import uvicorn
from fastapi import FastAPI

from serve.events import EventStream, TooManySubscribersError
from understudy.processes import free_port

Event = tuple[str, dict]


class Listener:
    """Reads one stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.comments = 0

    async def next(self) -> Event | None:
        """The next event's name and data; None at the stream's end."""
        fields: dict[str, str] = {}
        while line := (await self.response.content.readline()).decode():
            name, _, value = line.rstrip("\r\n").partition(": ")
            self.comments += line.startswith(":")
            if name:
                fields[name] = value
            elif not line.strip() and "data" in fields:
                data = json.loads(fields["data"])
                assert fields.get("id") == (str(data["id"]) if "id" in data else None)
                return fields["event"], data
            else:
                fields = {}
        return None


class Hall:
    """A server with news, and clients for it."""

    def __init__(self, news: EventStream, server: uvicorn.Server, session: aiohttp.ClientSession, url: str) -> None:
        self.news, self.server, self.session, self.url = news, server, session, url

    @contextlib.asynccontextmanager
    async def listen(self, last: str | None = None) -> AsyncIterator[Listener]:
        headers = {} if last is None else {"Last-Event-ID": last}
        async with self.session.get(self.url, headers=headers) as response:
            assert response.status == 200
            assert response.content_type == "text/event-stream"
            yield Listener(response)


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.01)


def play(news: EventStream, scene: Callable[[Hall], Awaitable[None]]) -> None:
    async def run() -> None:
        app = FastAPI()
        app.add_api_route("/events", news.stream, methods=["GET"])
        port = free_port()
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=20))
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            try:
                async with asyncio.timeout(60):
                    await scene(Hall(news, server, session, f"http://127.0.0.1:{port}/events"))
            finally:
                server.should_exit = True
                await serving

    asyncio.run(run())


def test_everybody_hears_the_news_in_order() -> None:
    async def scene(hall: Hall) -> None:
        async with hall.listen() as one, hall.listen() as two:
            hall.news.announce("canary", "poet", "b" * 12, "Some hear it.", previous="a" * 12, title="The Poet")
            hall.news.announce("engine_down", text="The engine stopped.")
            for listener in (one, two):
                name, data = await listener.next() or ("", {})
                assert name == "canary"
                assert set(data) == {"id", "at", "kind", "persona", "revision", "previous", "title", "text"}
                assert data["title"] == "The Poet"
                assert data["previous"] == "a" * 12
                later, more = await listener.next() or ("", {})
                assert later == "engine_down"
                assert more["id"] > data["id"]

    play(EventStream(), scene)


def test_a_client_that_comes_back_gets_what_it_missed_and_no_more() -> None:
    async def scene(hall: Hall) -> None:
        items = [hall.news.announce("live", "poet", str(number)) for number in range(3)]
        async with hall.listen(last=str(items[0].id)) as listener:
            hall.news.announce("live", "poet", "3")
            heard = [await listener.next() for _ in range(3)]
        assert [event and event[1]["revision"] for event in heard] == ["1", "2", "3"]

    play(EventStream(), scene)


def test_a_client_without_a_last_id_hears_only_what_is_new() -> None:
    async def scene(hall: Hall) -> None:
        hall.news.announce("live", "poet", "old")
        for last in (None, "nonsense", "-1", "²", "9" * 19, "9" * 5000):
            async with hall.listen(last=last) as listener:
                hall.news.announce("live", "poet", "new")
                event = await listener.next()
                assert event
                assert event[1]["revision"] == "new"

    play(EventStream(), scene)


def test_a_client_that_was_away_for_too_long_is_told_so() -> None:
    async def scene(hall: Hall) -> None:
        items = [hall.news.announce("live", "poet", str(number)) for number in range(5)]
        async with hall.listen(last=str(items[0].id)) as listener:
            assert await listener.next() == ("missed", {"missed": None})
            event = await listener.next()
            assert event
            assert event[1]["revision"] == "2"
        async with hall.listen(last=str(items[1].id)) as listener:
            event = await listener.next()
            assert event
            assert event[1]["revision"] == "2"
        async with hall.listen(last="0") as listener:
            event = await listener.next()
            assert event
            assert event[1]["revision"] == "2"

    play(EventStream(history=3), scene)


def test_a_slow_client_loses_the_oldest_and_is_told_how_many() -> None:
    async def run() -> None:
        news = EventStream(queue=3)
        with news.subscribe() as slow:
            for number in range(10):
                news.announce("live", "poet", str(number))
            news.close()
            events = [event async for event in slow.events()]
        assert [event.event for event in events] == [None, "missed", "live", "live"]
        assert events[1].data == '{"missed": 8}'
        assert [json.loads(str(event.data))["revision"] for event in events[2:]] == ["8", "9"]
        assert news.listening == 0

    asyncio.run(run())


def test_a_client_that_stops_reading_is_let_go() -> None:
    async def scene(hall: Hall) -> None:
        async with hall.listen() as stuck:
            transport = stuck.response.connection and stuck.response.connection.transport
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            while hall.news.listening:
                hall.news.announce("live", "poet", text="x" * 100_000)
                await asyncio.sleep(0.001)
            transport.abort()

    play(EventStream(history=1, send_timeout=0.1), scene)


def test_ids_grow_across_restarts_and_when_the_clock_stands_still() -> None:
    before = EventStream(clock=lambda: 1000.0)
    ids = [before.announce("live").id for _ in range(3)]
    after = EventStream(clock=lambda: 1001.0)
    ids.append(after.announce("live").id)
    assert ids == sorted(set(ids))
    with after.subscribe(str(ids[0])) as subscriber:
        assert subscriber._lost  # what was told before the restart is not remembered


def test_beyond_the_cap_the_answer_is_503_until_somebody_leaves() -> None:
    async def scene(hall: Hall) -> None:
        async with hall.listen(), hall.session.get(hall.url) as response:
            assert response.status == 503
            assert int(response.headers["retry-after"]) > 0
            assert (await response.json())["error"]["code"] == "overloaded"
        await until(lambda: hall.news.listening == 0)
        async with hall.listen():
            pass

    play(EventStream(subscribers=1), scene)


def test_a_quiet_stream_gives_signs_of_life() -> None:
    async def scene(hall: Hall) -> None:
        async with hall.listen() as listener:
            waiting = asyncio.create_task(listener.next())
            await until(lambda: listener.comments >= 3)
            hall.news.announce("engine_ready")
            assert (await waiting or ("",))[0] == "engine_ready"

    play(EventStream(heartbeat=0.02), scene)


def test_two_hundred_clients_of_which_half_vanish_leave_no_subscriber_behind() -> None:
    async def scene(hall: Hall) -> None:
        async def client(number: int) -> str:
            async with hall.session.get(hall.url) as response:
                listener = Listener(response)
                await listener.next()
                if number % 2:
                    transport = response.connection and response.connection.transport
                    assert transport
                    transport.abort()
                    return "vanished"
                event = await listener.next()
                return event[1]["revision"] if event else "ended"

        clients = [asyncio.create_task(client(number)) for number in range(200)]
        await until(lambda: hall.news.listening == 200)
        hall.news.announce("live", "poet", "first")
        await until(lambda: hall.news.listening == 100)
        hall.news.announce("live", "poet", "second")
        told = await asyncio.gather(*clients)
        assert told.count("second") == told.count("vanished") == 100
        await until(lambda: hall.news.listening == 0)

    play(EventStream(), scene)


@pytest.mark.parametrize("end", ["close", "server"])
def test_streams_end_whole_when_the_server_stops(end: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(hall: Hall) -> None:
        async with contextlib.AsyncExitStack() as stack:
            listeners = [await stack.enter_async_context(hall.listen()) for _ in range(20)]
            if end == "close":
                hall.news.close()
            else:
                hall.server.should_exit = True
            for listener in listeners:
                assert await listener.next() is None
        await until(lambda: hall.news.listening == 0)

    play(EventStream(), scene)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_closed_news_take_nobody() -> None:
    news = EventStream()
    news.close()
    with pytest.raises(TooManySubscribersError), news.subscribe():
        pass


def test_head_answers_at_once_and_subscribes_nobody() -> None:
    async def scene(hall: Hall) -> None:
        async with hall.session.head(hall.url) as response:
            assert response.status in (200, 405)
        assert hall.news.listening == 0

    play(EventStream(), scene)
