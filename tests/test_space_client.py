"""The Space and its gateway: what the client says when things go wrong, and the banner."""

import asyncio
import re
from typing import Any

import pytest

from space.app import changes
from space.banner import BASE, Backend, Snapshot, banner
from space.gateway_client import GatewayClient, Readiness
from tests.fake_gateway import EMAIL, FakeGateway, card
from tests.fake_gateway import Answer as Said
from tests.space_helpers import EMAIL_CARD, READY, eventually
from understudy.errors import GatewayError
from understudy.processes import free_port

KEY = "secret-inference-key"
HELLO = [{"role": "user", "content": "Hello"}]


async def heard(client: GatewayClient, model: str = "email-copy") -> tuple[str, set[str]]:
    pieces = [piece async for piece in client.stream(model, HELLO, temperature=0.5, max_tokens=9, seed=7)]
    return "".join(piece.text for piece in pieces), {piece.revision for piece in pieces}


def test_the_client_lists_the_base_and_the_personas(fake: FakeGateway):
    base, email, _ = asyncio.run(GatewayClient(fake.url).contestants())
    assert (base.name, base.kind, base.revision) == ("base", "base", "")
    assert (email.title, email.revision, email.sampling.max_tokens) == ("Email copywriter", EMAIL, 200)
    assert email.prompts[0].startswith("Write an email")


def test_the_client_streams_an_answer_and_says_who_gave_it(fake: FakeGateway):
    fake.say("email-copy", "Hello  you.\n\nBye.")
    assert asyncio.run(heard(GatewayClient(fake.url))) == ("Hello  you.\n\nBye.", {EMAIL})
    asked = fake.requests[0]
    assert (asked["messages"], asked["temperature"], asked["max_tokens"], asked["seed"]) == (HELLO, 0.5, 9, 7)
    assert asyncio.run(heard(GatewayClient(fake.url), "base"))[1] == {""}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Said("no room", status=400), "no room"),
        (Said("maximum context length is 4096 tokens", status=400), "longer than the model can read"),
        (Said("wrong key", status=401), "UNDERSTUDY_API_KEY"),
        (Said("slow down", status=429), "busy"),
        (Said("The engine is restarting.", status=503), "The engine is restarting."),
        (Said("", status=500), "refused the request (500)"),
        (Said("half an answer", cut=True), "cut off"),
    ],
)
def test_what_goes_wrong_is_said_for_people(fake: FakeGateway, answer: Said, says: str):
    fake.say("email-copy", answer)
    with pytest.raises(GatewayError, match=re.escape(says)):
        asyncio.run(heard(GatewayClient(fake.url)))


def test_the_client_carries_the_key(fake: FakeGateway):
    fake.api_key = KEY
    assert len(asyncio.run(GatewayClient(fake.url, KEY).contestants())) == 3
    with pytest.raises(GatewayError, match="UNDERSTUDY_API_KEY"):
        asyncio.run(GatewayClient(fake.url, "other").contestants())


def test_a_gateway_that_is_away():
    client = GatewayClient(f"http://127.0.0.1:{free_port()}")

    async def ask() -> Readiness:
        with pytest.raises(GatewayError, match="cannot be reached"):
            await client.contestants()
        with pytest.raises(GatewayError, match="cannot be reached"):
            await heard(client)
        return await client.readiness()

    assert asyncio.run(ask()).status == "down"


def test_an_answer_that_is_no_longer_wanted_is_withdrawn(fake: FakeGateway):
    fake.say("base", Said("one two three four", hold_after=2))

    async def leave() -> None:
        client = GatewayClient(fake.url)
        stream = client.stream("base", HELLO, temperature=0, max_tokens=9)
        async for piece in stream:
            if piece.text:
                break
        await stream.aclose()
        await eventually(lambda: fake.withdrawn == ["base"])

    asyncio.run(leave())


@pytest.mark.parametrize("status", ["starting", "down"])
def test_the_banner_explains_and_hides_nothing_dangerous(status: Any):
    shown = banner(Readiness(status=status, detail="Loading <b>x</b>"))
    assert "Loading &lt;b&gt;x&lt;/b&gt;" in shown
    assert status in shown
    assert banner(Readiness(status="ready")) == ""


def test_the_backend_notices_outage_recovery_and_new_personas(fake: FakeGateway):
    async def watch() -> None:
        backend = Backend(GatewayClient(fake.url), fresh=0)
        assert [one.name for one in (await backend.look()).personas] == ["email-copy", "stand-up"]
        fake.status, fake.detail = "starting", "Loading the model."
        assert (await backend.look()).readiness == Readiness(status="starting", detail="Loading the model.")
        await asyncio.to_thread(fake.stop)
        gone = await backend.look()
        assert gone.readiness.status == "down"
        assert [one.name for one in gone.personas] == ["email-copy", "stand-up"], "known personas stay"
        fake.status = "ready"
        fake.models["pirate"] = card("pirate", "Pirate", "Arr.", ["Ahoy?"], "c" * 12)
        await asyncio.to_thread(fake.start)
        back = await backend.look()
        assert back.readiness.status == "ready"
        assert [one.name for one in back.personas] == ["email-copy", "stand-up", "pirate"]

    asyncio.run(watch())


def test_many_pages_cost_the_gateway_one_look(fake: FakeGateway):
    async def crowd() -> list[Snapshot]:
        backend = Backend(GatewayClient(fake.url), fresh=60)
        first = await backend.look()
        fake.models.pop("stand-up")
        return [first, *await asyncio.gather(*(backend.look() for _ in range(20)))]

    assert len(set(map(id, asyncio.run(crowd())))) == 1


def test_a_page_is_told_only_what_changed():
    skipped = changes(READY, READY, "email-copy", "")
    assert all(update == {"__type__": "update"} for update in skipped)
    down = Snapshot(Readiness(status="down", detail="Gone."), READY.contestants)
    _, notice, *rest = changes(READY, down, "email-copy", "")
    assert notice["visible"]
    assert "Gone." in notice["value"]
    assert all(update == {"__type__": "update"} for update in rest)
    assert changes(down, READY, "email-copy", "")[1]["visible"] is False


def test_a_new_revision_keeps_the_choice_and_shows_itself():
    flipped = Snapshot(READY.readiness, (BASE, EMAIL_CARD.model_copy(update={"revision": "bbb"})))
    _, _, persona, _, live, temperature, *_ = changes(READY, flipped, "email-copy", "email-copy")
    assert persona["value"] == "email-copy"
    assert "bbb" in live
    assert temperature == {"__type__": "update"}, "sliders that a person moved stay"


def test_a_persona_that_went_away_is_no_longer_chosen():
    alone = Snapshot(READY.readiness, (BASE,))
    update = changes(READY, alone, "email-copy", "email-copy")
    assert (update[2]["value"], update[8]["value"]) == ("base", "")
