"""The Space and its gateway: what the client says when things go wrong, and the banner."""

import asyncio
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from space.app import changes
from space.backends.errors import Readiness
from space.backends.gateway import GatewayClient
from space.backends.listing import LearningPersona
from space.i18n import Notice
from space.status import BASE, GatewayMonitor, GatewayStatus, banner
from tests.support.fake_gateway import EMAIL, FakeGateway, card
from tests.support.fake_gateway import Answer as Said
from tests.support.space import EMAIL_CARD, READY, eventually
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


def test_the_client_lists_who_is_not_live_yet(fake: FakeGateway):
    fake.learning = [
        {"persona": "stand-up", "title": "Comedian", "state": "learning", "percent": 40, "reason": "", "more": 1},
        {"persona": "poet", "title": "Poet", "state": "refused", "reason": "babble"},
        {"persona": "bad", "title": "Bad", "state": "dancing"},
        "nonsense",
    ]
    listing = asyncio.run(GatewayClient(fake.url).listing())
    assert len(listing.contestants) == 3
    assert [(one.title, one.state, one.percent, one.reason) for one in listing.learners] == [
        ("Comedian", "learning", 40, ""),
        ("Poet", "refused", 0, "babble"),
    ]


@pytest.mark.parametrize("learning", [None, {}, "soon", 3])
def test_a_gateway_without_such_a_list_is_fine(fake: FakeGateway, learning: object):
    fake.learning = learning
    assert asyncio.run(GatewayClient(fake.url).listing()).learners == ()


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
        (Said("too many tokens", status=400, param="input_tokens"), "longer than the model can read"),
        (Said("every slot", status=503, code="no_slot"), "Every slot for personas is in use"),
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
        asyncio.run(heard(GatewayClient(fake.url, pauses=())))


def test_the_client_carries_the_key(fake: FakeGateway):
    fake.api_key = KEY
    assert len(asyncio.run(GatewayClient(fake.url, KEY).contestants())) == 3
    with pytest.raises(GatewayError, match="UNDERSTUDY_API_KEY"):
        asyncio.run(GatewayClient(fake.url, "other").contestants())


def test_a_gateway_that_is_away():
    client = GatewayClient(f"http://127.0.0.1:{free_port()}", pauses=(0.01,))

    async def ask() -> Readiness:
        with pytest.raises(GatewayError, match="cannot be reached"):
            await client.contestants()
        with pytest.raises(GatewayError, match="cannot be reached"):
            await heard(client)
        return await client.readiness()

    assert asyncio.run(ask()).status == "down"


@pytest.mark.parametrize(
    ("url", "asleep", "status", "says"),
    [
        ("", 503, "waking", "sleeps while nobody asks"),
        ("", 502, "waking", "(502)"),
        ("", 504, "waking", "(504)"),
        ("", 404, "down", "answered 404"),
        ("http://127.0.0.1:9", 0, "down", "refuses connections"),
        ("http://no-such-host.invalid", 0, "down", "no DNS entry"),
    ],
)
def test_why_nobody_answers_is_told_apart(fake: FakeGateway, url: str, asleep: int, status: str, says: str):
    fake.asleep = asleep
    readiness = asyncio.run(GatewayClient(url or fake.url).readiness())
    assert readiness.status == status
    assert says in readiness.detail.text()
    assert "invalid" not in readiness.detail.text(), "addresses are nobody's business"


async def answered(client: GatewayClient) -> list[tuple[str, str]]:
    stream = client.stream("email-copy", HELLO, temperature=0.5, max_tokens=9)
    return [(piece.text, piece.waiting.text()) async for piece in stream if piece.text or piece.waiting]


@pytest.mark.parametrize("asleep", [502, 503, 504])
def test_a_question_that_nobody_heard_is_asked_again_until_somebody_does(fake: FakeGateway, asleep: int):
    fake.asleep = asleep

    fake.say("email-copy", "Hello.")

    async def ask() -> list[tuple[str, str]]:
        asking = asyncio.create_task(answered(GatewayClient(fake.url, pauses=(0.05,) * 100)))
        await eventually(lambda: len(fake.requests) >= 3)
        fake.asleep = 0
        return await asking

    *waiting, last = asyncio.run(ask())
    assert last == ("Hello.", "")
    assert len(waiting) >= 2
    assert all(not text and "waking up" in why and "Trying again" in why for text, why in waiting)
    assert len({repr(asked) for asked in fake.requests}) == 1
    assert fake.headers[0]["x-scale-up-timeout"] == "30"


def test_tries_are_bounded_and_what_was_begun_is_never_asked_again(fake: FakeGateway):
    fake.asleep = 503
    with pytest.raises(GatewayError, match="waking up"):
        asyncio.run(answered(GatewayClient(fake.url, pauses=(0.01, 0.01))))
    assert len(fake.requests) == 3
    fake.asleep = 0
    fake.say("email-copy", Said("half an answer", cut=True))
    with pytest.raises(GatewayError, match="cut off"):
        asyncio.run(answered(GatewayClient(fake.url, pauses=(0.01, 0.01))))
    assert len(fake.requests) == 4


def test_the_server_may_say_when_to_come_back_within_bounds(fake: FakeGateway, monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(
        "space.backends.gateway.asyncio", SimpleNamespace(sleep=sleep)
    )  # the fake's own server sleeps, too
    fake.status = "starting"  # 503 with Retry-After: 5
    with pytest.raises(GatewayError, match="starting"):
        asyncio.run(answered(GatewayClient(fake.url)))
    assert waits == [5, 5, 5]


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


@pytest.mark.parametrize("status", ["starting", "waking", "down"])
def test_the_banner_explains_and_hides_nothing_dangerous(status: Any):
    loading = Readiness(status=status, detail=Notice(words="Loading <b>x</b>"))
    shown = banner(GatewayStatus(loading))
    assert "Loading &lt;b&gt;x&lt;/b&gt;" in shown
    assert status in shown
    assert banner(READY) == ""
    assert "looking again" not in shown, "nothing is known yet of how long"
    timed = banner(GatewayStatus(loading, away=42, again=3))
    assert "For 42 s so far; looking again in 3 s." in timed
    assert "For 3 min so far; looking again now." in banner(GatewayStatus(loading, away=200))


def test_the_backend_notices_outage_recovery_and_new_personas(fake: FakeGateway):
    async def watch() -> None:
        monitor = GatewayMonitor(GatewayClient(fake.url), fresh=0)
        assert [one.name for one in (await monitor.status()).personas] == ["email-copy", "stand-up"]
        fake.status, fake.detail = "starting", "Loading the model."
        assert (await monitor.status()).readiness == Readiness(
            status="starting", detail=Notice(words="Loading the model.")
        )
        fake.status = "loading"
        assert (await monitor.status()).ready, "the base answers, and so does who is loaded"
        await asyncio.to_thread(fake.stop)
        gone = await monitor.status()
        assert gone.readiness.status == "down"
        assert [one.name for one in gone.personas] == ["email-copy", "stand-up"], "known personas stay"
        fake.status = "ready"
        fake.models["pirate"] = card("pirate", "Pirate", "Arr.", ["Ahoy?"], "c" * 12)
        await asyncio.to_thread(fake.start)
        back = await monitor.status()
        assert back.readiness.status == "ready"
        assert [one.name for one in back.personas] == ["email-copy", "stand-up", "pirate"]

    asyncio.run(watch())


def test_a_gateway_that_is_away_is_asked_more_and_more_rarely_until_somebody_wants_it(fake: FakeGateway):
    fake.asleep = 503
    now, asked = 0.0, []
    client = GatewayClient(fake.url)
    honest = client.readiness

    async def counted() -> Readiness:
        asked.append(now)
        return await honest()

    client.readiness = counted

    async def watch() -> None:
        nonlocal now
        monitor = GatewayMonitor(client, fresh=1, clock=lambda: now)
        for second in range(20):
            now = second
            await monitor.status()
        assert asked == [0, 1, 3, 5, 9, 15]
        away = await monitor.status()
        assert (away.readiness.status, away.away, away.again) == ("waking", 19, 2)
        await monitor.status(at_once=True)
        assert asked[-1] == 19, "somebody wants something"
        fake.asleep = 0
        now = 25
        assert (await monitor.status()).ready
        now = 26
        assert (await monitor.status()).away == 0
        assert asked[-2:] == [25, 26]

    asyncio.run(watch())


def test_many_pages_cost_the_gateway_one_look(fake: FakeGateway):
    async def crowd() -> list[GatewayStatus]:
        monitor = GatewayMonitor(GatewayClient(fake.url), fresh=60)
        first = await monitor.status()
        fake.models.pop("stand-up")
        return [first, *await asyncio.gather(*(monitor.status() for _ in range(20)))]

    assert len(set(map(id, asyncio.run(crowd())))) == 1


def test_a_page_is_told_only_what_changed():
    skipped = changes(READY, READY, "email-copy", "")
    assert all(update == {"__type__": "update"} for update in skipped)
    down = GatewayStatus(Readiness(status="down", detail=Notice(words="Gone.")), READY.contestants)
    _, notice, gallery, _, *rest = changes(READY, down, "email-copy", "")
    assert notice["visible"]
    assert "Gone." in notice["value"]
    assert gallery["value"] == "email-copy"
    assert all(update == {"__type__": "update"} for update in rest), "sliders and arena stay"
    assert changes(down, READY, "email-copy", "")[1]["visible"] is False


def test_who_is_not_live_yet_is_told_in_the_visitors_language_without_touching_anything_else():
    learners = (
        LearningPersona(persona="email-copy", title="Email <b>", state="learning", percent=40),
        LearningPersona(persona="stand-up", title="Comedian", state="refused", reason="probe: <script>"),
    )
    _, notice, *rest = changes(READY, replace(READY, learners=learners), "email-copy", "", language="de")
    assert "Email &lt;b&gt; lernt, 40 %" in notice["value"]
    assert "Comedian wurde abgelehnt: probe: &lt;script&gt;" in notice["value"]
    assert notice["visible"]
    assert all(update == {"__type__": "update"} for update in rest), "a conversation goes on meanwhile"
    assert changes(replace(READY, learners=learners), READY, "email-copy", "")[1]["visible"] is False


def test_a_conversation_with_the_base_goes_on_when_the_first_persona_comes():
    alone = GatewayStatus(READY.readiness, (BASE,))
    _, _, gallery, _, temperature, *_ = changes(alone, READY, "base", "")
    assert gallery["value"] == "base"
    assert "email-copy" in gallery["cards"]
    assert temperature == {"__type__": "update"}
    starting = GatewayStatus(Readiness(status="starting"), (BASE,))
    assert changes(starting, READY, "base", "")[2]["value"] == "email-copy", "nobody could talk to the base yet"


def test_a_new_revision_keeps_the_choice_and_shows_itself():
    flipped = GatewayStatus(READY.readiness, (BASE, EMAIL_CARD.model_copy(update={"revision": "bbb"})))
    _, _, gallery, _, temperature, *_ = changes(READY, flipped, "email-copy", "email-copy")
    assert gallery["value"] == "email-copy"
    assert "bbb" in gallery["cards"]
    assert temperature == {"__type__": "update"}, "sliders that a person moved stay"


def test_a_persona_that_went_away_is_no_longer_chosen():
    alone = GatewayStatus(READY.readiness, (BASE,))
    update = changes(READY, alone, "email-copy", "email-copy")
    assert (update[2]["value"], update[6]["value"]) == ("base", "")
