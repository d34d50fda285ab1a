"""The page over HTTP, as an attacker would use it, and how the app starts."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from arena.battles.store import OPEN, BattleStore
from arena.votes.votes import list_votes
from space.app import build_app, launch, start
from space.backends.gateway import GatewayClient
from tests.support.fake_gateway import EMAIL, STAND_UP, FakeGateway
from tests.support.fake_gateway import Answer as Said
from tests.support.space import Page, only_battle, wait_for_page
from understudy.config.settings import PROJECT, load_settings
from understudy.errors import ConfigError
from understudy.processes import free_port

KEY = "secret-inference-key"
TELLING = ("email-copy", "stand-up", "Email copywriter", "Stand-up", EMAIL, STAND_UP)


@pytest.fixture
def page_url(fake: FakeGateway, store: BattleStore) -> Iterator[str]:
    app = build_app(GatewayClient(fake.url, KEY), store)
    port = free_port()
    start(app, host="127.0.0.1", port=port, block=False)
    yield f"http://127.0.0.1:{port}"
    app.close()


def test_nothing_but_the_vote_reveals_who_is_who(fake: FakeGateway, store: BattleStore, page_url: str):
    page = Page(page_url)
    sent = page.call("battle", "Hi", "", "")
    row = only_battle(store)
    assert row.status == OPEN
    assert row.left_text in sent.replace("\\n", "\n"), "the answers themselves must arrive"
    for secret in (*TELLING, row.id, row.nonce, str(row.seed)):
        assert secret not in sent
    assert "secret" not in sent, "the ticket stays on the server"
    revealed = page.call("cast", None, [])
    assert EMAIL in revealed or STAND_UP in revealed
    assert row.left in revealed


def test_a_second_vote_by_direct_call_is_refused(store: BattleStore, page_url: str):
    page = Page(page_url)
    page.call("battle", "Hi", "email-copy", "base")
    assert "Your vote is counted" in page.call("cast", None, [])
    assert "Your vote is counted" not in page.call("cast_1", None, [])
    assert "counted already" in page.call("cast", None, [])
    assert len(list_votes(store.engine)) == 1


def test_nobody_votes_on_the_battle_of_another_tab(store: BattleStore, page_url: str):
    page, thief = Page(page_url), Page(page_url)
    page.call("battle", "Hi", "email-copy", "base")
    row = only_battle(store)
    forged = {"battle": row.id, "secret": row.nonce}
    assert "No battle is waiting" in thief.call("cast", forged, [])
    assert "No battle is waiting" in thief.call("cast", None, [])
    assert list_votes(store.engine) == []


def test_a_vote_before_the_answers_are_complete_is_refused(fake: FakeGateway, store: BattleStore, page_url: str):
    fake.say("base", Said("boom", status=500))
    page = Page(page_url)
    assert "does not count" in page.call("battle", "Hi", "email-copy", "base")
    assert "No battle is waiting" in page.call("cast", None, [])
    assert list_votes(store.engine) == []


def test_the_key_never_reaches_the_browser(fake: FakeGateway, page_url: str):
    fake.api_key = KEY
    page = Page(page_url)
    seen = [httpx.get(page_url).text, json.dumps(page.config), page.call("refresh", None, None, None)]
    seen.append(page.call("battle", "Hi", "email-copy", "base"))
    fake.say("email-copy", Said(f"refused {KEY[:6]}", status=401))
    seen.append(page.call("send", "Hello", [], "email-copy", 0.5, 50))
    assert "Email copywriter" in seen[2], "the key was used"
    assert not [text for text in seen if KEY in text]


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
        with pytest.raises(ConfigError, match=rf"port {port} .*--space-port.*UNDERSTUDY_SPACE_PORT"):
            launch(load_settings(home=tmp_path, space_port=port))


def test_a_space_starts_without_its_gateway(tmp_path: Path):
    port = free_port()
    env = {
        "PATH": "/usr/bin:/bin",
        "UNDERSTUDY_HOME": str(tmp_path),
        "UNDERSTUDY_SPACE_PORT": str(port),
        "UNDERSTUDY_GATEWAY_URL": f"http://127.0.0.1:{free_port()}",
    }
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "space.app"], cwd=PROJECT, env=env, stdout=log, stderr=log)
    try:
        page = wait_for_page(f"http://127.0.0.1:{port}", process, tmp_path / "log")
        assert "not available right now" in page.call("refresh", None, None, None)
    finally:
        process.terminate()
        process.wait(20)
