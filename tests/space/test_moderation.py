"""Prompts that the arena refuses, by patterns, a function or an endpoint."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from arena.battles.store import BattleStore
from space.app import launch
from space.arena.moderation import ALLOWED, REFUSED, UNKNOWN, moderation
from space.i18n import Notice
from tests.support.fake_gateway import FakeGateway
from tests.support.space import one_battle
from understudy.config.settings import load_settings
from understudy.errors import ConfigError, ExamplesError
from understudy.registry.tables import BattleRow


def test_a_refused_prompt_is_told_so_and_asked_of_nobody(fake: FakeGateway, store: BattleStore, tmp_path: Path):
    (tmp_path / "patterns").write_text("# bad things\nrain\\?\n\n")
    view = asyncio.run(one_battle(fake, store, "base", moderate=moderation(str(tmp_path / "patterns"))))
    assert (view.message, view.kind, view.ticket) == (REFUSED, "trouble", None)
    assert fake.requests == []
    with Session(store.engine) as db:
        assert db.query(BattleRow).count() == 0
    assert asyncio.run(
        one_battle(fake, store, "base", "What is snow?", moderate=moderation(str(tmp_path / "patterns")))
    ).ticket


def only_snow(prompt: str) -> str:
    """A moderator for the test below."""
    return "" if "snow" in prompt else "Snow only."


def test_a_function_or_an_endpoint_may_look_at_prompts():
    moderate = moderation(f"{__name__}:only_snow")
    assert [moderate("snow").text(), moderate("rain").text()] == ["", "Snow only."]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answers = {
                "snow": {"allowed": True},
                "rain": {"allowed": False},
                "hail": {"allowed": False, "message": "No."},
            }
            body = json.dumps(answers.get(asked["prompt"], [])).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, as its base class has it
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    moderate = moderation(f"http://127.0.0.1:{server.server_port}")
    answers = [moderate(prompt) for prompt in ("snow", "rain", "hail", "nonsense")]
    assert answers == [ALLOWED, REFUSED, Notice(words="No."), UNKNOWN]
    server.shutdown()
    server.server_close()
    assert moderate("snow") == UNKNOWN, "while nobody looks, nothing goes through"


@pytest.mark.parametrize("setting", ["no/such/file", "no_such_module:f", f"{__name__}:nobody"])
def test_a_moderator_that_is_not_there_is_said_at_the_start(setting: str):
    with pytest.raises(ConfigError, match="UNDERSTUDY_MODERATION"):
        moderation(setting)


def test_the_space_does_not_start_without_the_moderator_that_it_was_told_to_have(tmp_path: Path):
    with pytest.raises(ConfigError, match="no/such/file"):
        launch(load_settings(home=tmp_path, moderation="no/such/file"))
    with pytest.raises(ExamplesError, match="no such file"):
        launch(load_settings(home=tmp_path, imported_answers=tmp_path / "nothing.csv"))


def test_a_pattern_that_is_none_is_named_with_its_line(tmp_path: Path):
    (tmp_path / "patterns").write_text("fine\n(")
    with pytest.raises(ConfigError, match=r"patterns, line 2"):
        moderation(str(tmp_path / "patterns"))
