"""The Space without a browser: its client, its handlers, and its HTTP door as an attacker would use it."""

import asyncio
import itertools
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from arena.battles import ASKED, OPEN, VOID, BattleStore
from arena.votes import VoteError, list_votes
from space import chat
from space.app import build_app, changes, launch, start
from space.arena_tab import show
from space.banner import BASE, Backend, Snapshot, banner
from space.battle import Ring, View, draw, fight, settle, suggestions
from space.gateway_client import Contestant, GatewayClient, Readiness
from tests.fake_gateway import EMAIL, STAND_UP, FakeGateway, card
from tests.fake_gateway import Answer as Said
from understudy.database import open_database
from understudy.errors import GatewayError, PortError
from understudy.processes import free_port
from understudy.settings import PROJECT, load_settings
from understudy.tables import BattleRow

KEY = "secret-inference-key"
TELLING = ("email-copy", "stand-up", "Email copywriter", "Stand-up", EMAIL, STAND_UP)
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def fake() -> Iterator[FakeGateway]:
    gateway = FakeGateway().start()
    yield gateway
    gateway.stop()


@pytest.fixture
def store(tmp_path: Path) -> BattleStore:
    return BattleStore(open_database(f"sqlite:///{tmp_path / 'space.db'}"))


async def heard(client: GatewayClient, model: str = "email-copy") -> tuple[str, set[str]]:
    pieces = [piece async for piece in client.stream(model, HELLO, temperature=0.5, max_tokens=9, seed=7)]
    return "".join(piece.text for piece in pieces), {piece.revision for piece in pieces}


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


# The client of the gateway


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


# The banner


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


EMAIL_CARD = Contestant(name="email-copy", kind="persona", title="Email", revision="aaa", prompts=("Sell it.",))
READY = Snapshot(Readiness(status="ready"), (BASE, EMAIL_CARD))


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


# Chat


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}], "metadata": None, "options": None}


def bot(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}], "metadata": {}, "options": []}


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([user("a"), bot("b"), user("c")], ["a", "b", "c"]),
        ([user("unanswered"), user("c")], ["c"]),
        ([user("stopped at once"), bot(""), user("c")], ["c"]),
        ([user("a"), {"role": "assistant", "content": "b"}], ["a", "b"]),
        ([], []),
    ],
)
def test_the_endpoint_gets_plain_alternating_turns(history: list[dict[str, Any]], expected: list[str]):
    turns = chat.plain(history)
    assert [turn["content"] for turn in turns] == expected
    assert all(turn.keys() == {"role", "content"} for turn in turns)
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"][: len(expected)]


def test_retry_goes_back_to_the_last_question():
    assert chat.rewind([user("a"), bot("b"), user("c"), bot("d")]) == [user("a"), bot("b"), user("c")]
    assert chat.rewind([bot("hello")]) == []


async def chatted(fake: FakeGateway, history: list[dict[str, Any]]) -> list[chat.Chat]:
    client = GatewayClient(fake.url)
    _, email, _ = await client.contestants()
    return [step async for step in chat.answer(client, email, history, temperature=0.4, max_tokens=50)]


def test_an_answer_streams_into_the_conversation(fake: FakeGateway):
    fake.say("email-copy", Said("One two three four five six.", pause=0.03))
    steps = asyncio.run(chatted(fake, [user("a"), bot("b"), user("c")]))
    texts = [step.history[-1]["content"] for step in steps if step.history[-1]["role"] == "assistant"]
    assert len(set(texts)) > 1, "it came in one piece"
    assert all(later.startswith(sooner) for sooner, later in itertools.pairwise(texts))
    assert texts[-1] == "One two three four five six."
    assert [step.busy for step in steps] == [True] * (len(steps) - 1) + [False]
    assert [step.note for step in steps if "Answered by" in step.note] == [steps[-1].note]
    assert f"email-copy@{EMAIL}" in steps[-1].note
    assert [turn["content"] for turn in fake.requests[0]["messages"]] == ["a", "b", "c"]
    assert fake.requests[0]["temperature"] == 0.4


@pytest.mark.parametrize(
    ("answer", "says", "kept"),
    [
        (Said("<i>no</i>", status=400), "&lt;i&gt;no&lt;/i&gt;", False),
        (Said("so far", cut=True), "cut off", True),
        (Said(""), "empty", False),
    ],
)
def test_trouble_becomes_a_note_not_a_turn(fake: FakeGateway, answer: Said, says: str, kept: bool):
    fake.say("email-copy", answer)
    last = asyncio.run(chatted(fake, [user("a")]))[-1]
    assert says in last.note
    assert "Retry" in last.note
    assert not last.busy
    assert [turn["role"] for turn in last.history] == ["user", "assistant"][: 1 + kept]


# Battles


async def fought(fake: FakeGateway, store: BattleStore, choice: str = "email-copy", prompt: str = "Hi") -> list[View]:
    ring = Ring(client := GatewayClient(fake.url), Backend(client), store)
    return [view async for view in fight(ring, prompt, choice, "tab")]


def only_battle(store: BattleStore) -> BattleRow:
    with Session(store.engine) as db:
        return db.query(BattleRow).one()


def test_a_battle_from_prompt_to_reveal(fake: FakeGateway, store: BattleStore):
    views = asyncio.run(fought(fake, store))
    assert all(view.ticket is None for view in views[:-1]), "the vote opens only when both are complete"
    row = only_battle(store)
    assert (row.status, {row.left, row.right}) == (OPEN, {"base", "email-copy"})
    assert (row.left_text, row.right_text) == (views[-1].left, views[-1].right)
    assert {row.left_revision, row.right_revision} == {None, EMAIL}
    ticket = views[-1].ticket
    ring = Ring(GatewayClient(fake.url), Backend(GatewayClient(fake.url)), store)
    battle = settle(ring, "left", ticket, "tab")
    assert battle.left == row.left
    with pytest.raises(VoteError, match="already"):
        settle(ring, "right", ticket, "tab")
    assert [vote.verdict for vote in list_votes(store.engine)] == ["left"]


def test_both_sides_are_asked_the_same_and_after_the_sides_are_on_record(fake: FakeGateway, store: BattleStore):
    held = [fake.say(name, Said(f"{name[:1]} one two", hold_after=1)) for name in ("base", "email-copy")]

    async def watch() -> dict[str, Any]:
        battle = asyncio.create_task(fought(fake, store))
        await eventually(lambda: len(fake.requests) == 2)
        row = only_battle(store)
        seen = {"status": row.status, "left": row.left, "sampling": row.sampling}
        for answer in held:
            answer.release.set()
        await battle
        return seen

    seen = asyncio.run(watch())
    one, other = ({k: v for k, v in asked.items() if k != "model"} for asked in fake.requests)
    assert one == other
    assert {asked["model"] for asked in fake.requests} == {"base", "email-copy"}
    assert seen["status"] == ASKED
    assert seen["left"] == only_battle(store).left
    assert seen["sampling"].items() <= one.items()
    assert (one["temperature"], one["max_tokens"]) == (0.6, 200)


def test_the_swift_side_waits_for_the_slow_one(fake: FakeGateway, store: BattleStore):
    fake.say("base", "word " * 60)
    slow = fake.say("email-copy", Said("term " * 60, hold_after=3))

    async def watch() -> list[View]:
        views: list[View] = []
        ring = Ring(client := GatewayClient(fake.url), Backend(client), store)
        async for view in fight(ring, "Hi", "email-copy", "tab"):
            views.append(view)
            if len(view.left) >= 15:
                slow.release.set()
        return views

    views = asyncio.run(watch())
    before = [view for view in views if max(len(view.left), len(view.right)) <= 15]
    assert before[-1].left
    assert all(len(view.left) == len(view.right) for view in views), "one side was ahead of the other"


@pytest.mark.parametrize(
    ("base", "persona", "reason", "says"),
    [
        (Said("boom", status=500), "fine", "error: boom", "does not count"),
        ("fine", Said("so far", cut=True), "error: The answer was cut off", "does not count"),
        ("Same.", "Same.", "both answers are the same", "the same"),
        ("", "", "both answers are empty", "empty"),
        ("fine", "I am your email-copy.", "identity leak: the", "gave away"),
        ("I am Qwen, a model.", "fine", "identity leak: the", "gave away"),
        ("fine", f"I am {EMAIL}.", "identity leak: the", "gave away"),
    ],
)
def test_a_battle_that_does_not_count(
    fake: FakeGateway, store: BattleStore, base: Said | str, persona: Said | str, reason: str, says: str
):
    fake.say("base", base)
    fake.say("email-copy", persona)
    last = asyncio.run(fought(fake, store))[-1]
    row = only_battle(store)
    assert row.status == VOID
    assert row.reason.startswith(reason)
    assert says in last.message
    assert last.ticket is None
    assert not last.busy


def test_a_battle_that_nobody_waits_for_is_void_and_withdrawn(fake: FakeGateway, store: BattleStore):
    for name in ("base", "email-copy"):
        fake.say(name, Said("one two three", hold_after=1))

    async def leave() -> None:
        task = asyncio.create_task(fought(fake, store))
        await eventually(lambda: len(fake.requests) == 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await eventually(lambda: len(fake.withdrawn) == 2)

    asyncio.run(leave())
    assert only_battle(store).status == VOID


def test_no_view_before_the_vote_names_anyone(fake: FakeGateway, store: BattleStore):
    for view in asyncio.run(fought(fake, store, choice="")):
        *visible, ticket = show(view)
        assert not [name for name in TELLING if name in repr(visible)]
        assert ticket is view.ticket


def test_the_arena_without_a_prompt_or_a_persona(fake: FakeGateway, store: BattleStore):
    assert asyncio.run(fought(fake, store, prompt="  "))[-1].message == "Write a prompt first."
    for name in ("email-copy", "stand-up"):
        fake.models.pop(name)
    assert "No persona is live" in asyncio.run(fought(fake, store))[-1].message
    assert fake.requests == []


def test_surprise_draws_everyone_sooner_or_later_and_a_choice_is_kept():
    other = EMAIL_CARD.model_copy(update={"name": "stand-up", "prompts": ("Joke.", "Sell it.")})
    two = Snapshot(READY.readiness, (BASE, EMAIL_CARD, other))
    assert {drawn.name for _ in range(200) if (drawn := draw(two, ""))} == {"email-copy", "stand-up"}
    assert {drawn.name for _ in range(50) if (drawn := draw(two, "stand-up"))} == {"stand-up"}
    assert draw(Snapshot(READY.readiness, (BASE,)), "") is None
    assert suggestions(two, "") == ["Sell it.", "Joke."]
    assert suggestions(two, "stand-up") == ["Joke.", "Sell it."]


# The page over HTTP


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


@pytest.fixture
def page_url(fake: FakeGateway, store: BattleStore) -> Iterator[str]:
    app = build_app(GatewayClient(fake.url, KEY), store)
    port = free_port()
    start(app, host="127.0.0.1", port=port, block=False)
    yield f"http://127.0.0.1:{port}"
    app.close()


def test_nothing_but_the_vote_reveals_who_is_who(fake: FakeGateway, store: BattleStore, page_url: str):
    page = Page(page_url)
    sent = page.call("battle", "Hi", "")
    row = only_battle(store)
    assert row.status == OPEN
    assert row.left_text in sent.replace("\\n", "\n"), "the answers themselves must arrive"
    for secret in (*TELLING, row.id, row.nonce, str(row.seed)):
        assert secret not in sent
    assert "secret" not in sent, "the ticket stays on the server"
    revealed = page.call("cast", None)
    assert EMAIL in revealed or STAND_UP in revealed
    assert row.left in revealed


def test_a_second_vote_by_direct_call_is_refused(store: BattleStore, page_url: str):
    page = Page(page_url)
    page.call("battle", "Hi", "email-copy")
    assert "Your vote is counted" in page.call("cast", None)
    assert "Your vote is counted" not in page.call("cast_1", None)
    assert "counted already" in page.call("cast", None)
    assert len(list_votes(store.engine)) == 1


def test_nobody_votes_on_the_battle_of_another_tab(store: BattleStore, page_url: str):
    page, thief = Page(page_url), Page(page_url)
    page.call("battle", "Hi", "email-copy")
    row = only_battle(store)
    forged = {"battle": row.id, "secret": row.nonce}
    assert "No battle is waiting" in thief.call("cast", forged)
    assert "No battle is waiting" in thief.call("cast", None)
    assert list_votes(store.engine) == []


def test_a_vote_before_the_answers_are_complete_is_refused(fake: FakeGateway, store: BattleStore, page_url: str):
    fake.say("base", Said("boom", status=500))
    page = Page(page_url)
    assert "does not count" in page.call("battle", "Hi", "email-copy")
    assert "No battle is waiting" in page.call("cast", None)
    assert list_votes(store.engine) == []


def test_the_key_never_reaches_the_browser(fake: FakeGateway, page_url: str):
    fake.api_key = KEY
    page = Page(page_url)
    seen = [httpx.get(page_url).text, json.dumps(page.config), page.call("look", None, None, None)]
    seen.append(page.call("battle", "Hi", "email-copy"))
    fake.say("email-copy", Said(f"refused {KEY[:6]}", status=401))
    seen.append(page.call("send", "Hello", [], "email-copy", 0.5, 50))
    assert "Email copywriter" in seen[2], "the key was used"
    assert not [text for text in seen if KEY in text]


# Starting


def run_python(*code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *code], capture_output=True, text=True, timeout=120, **options)


def test_the_app_needs_no_model_library():
    code = "import space.app, sys; print(*sorted(set(m.split('.')[0] for m in sys.modules)))"
    done = run_python("-c", code, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "transformers", "trl", "peft", "vllm", "train", "serve"} & set(done.stdout.split())


def test_a_taken_port_is_named_together_with_its_option(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=rf"port {port} .*--space-port.*UNDERSTUDY_SPACE_PORT"):
            launch(load_settings(home=tmp_path, space_port=port))


def test_the_pins_of_the_space_are_those_we_test_with():
    pins = {line for line in (PROJECT / "space/requirements.txt").read_text().splitlines() if "==" in line}
    locked = {line.strip() for line in (PROJECT / "requirements/cpu.txt").read_text().splitlines()}
    assert pins <= locked
    gradio = next(pin.split("==")[1] for pin in pins if pin.startswith("gradio=="))
    assert f"sdk_version: {gradio}" in (PROJECT / "space/huggingface/README.md").read_text()


def test_a_hugging_face_space_starts_with_its_files_alone_and_no_gateway(tmp_path: Path):
    """The folders and files that its README names, in a folder of their own, with the gateway down."""
    for name in ("arena", "space", "understudy"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "embedded_base"))
    shutil.copy(PROJECT / "space/huggingface/app.py", tmp_path)
    port = free_port()
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "UNDERSTUDY_SPACE_PORT": str(port),
        "UNDERSTUDY_GATEWAY_URL": f"http://127.0.0.1:{free_port()}",
    }
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=tmp_path, env=env, stdout=log, stderr=log)
    try:
        page = _wait_for_page(f"http://127.0.0.1:{port}", process, tmp_path / "log")
        assert "not available right now" in page.call("look", None, None, None)
    finally:
        process.terminate()
        process.wait(20)


def _wait_for_page(url: str, process: subprocess.Popen[bytes], log: Path) -> Page:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return Page(url)
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"the Space did not start:\n{log.read_text()[-2000:]}")
