"""The whole story: train, verify, push to the Hub, live; the same under load; a broken push; and back to the first."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.hub.server import TOKEN, HubServer
from tests.support.system import wait_for
from understudy.config.settings import Settings, load_settings
from understudy.processes import Child, free_port
from understudy.registry.adapters import WEIGHTS, short

REPO = "local/email-copy"
SECRET = "only the Hub knows"
PROMPTS = ["Write about a teapot.", "Tell me about wool socks.", "Promote a hammock for the summer sale."]

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class World:
    """A developer's machine, the Hub, and the machine where the gateway runs: they share nothing but the Hub."""

    hub: HubServer
    folder: Path
    gateway: Settings

    @property
    def at_home(self) -> dict[str, str]:
        """The developer's environment."""
        home = self.folder / "developer"
        return {
            **self.hub.env(home / "hf", TOKEN),
            "UNDERSTUDY_BASE": "tiny",
            "UNDERSTUDY_HOME": str(home / "home"),
            "UNDERSTUDY_RUNS_DIR": str(home / "runs"),
            "UNDERSTUDY_GATEWAY_URL": self.gateway.gateway,
            "UNDERSTUDY_ADMIN_KEY": self.gateway.admin_secret,
        }

    @property
    def of_the_gateway(self) -> dict[str, str]:
        """The gateway's environment."""
        return {
            **self.hub.env(self.folder / "stage" / "hf", TOKEN),
            "UNDERSTUDY_BASE": "tiny",
            "UNDERSTUDY_HOME": str(self.gateway.home),
            "UNDERSTUDY_PORT": str(self.gateway.port),
            "UNDERSTUDY_PERSONAS_FILE": str(self.folder / "personas.yaml"),
            "UNDERSTUDY_WEBHOOK_SECRET": SECRET,
            "UNDERSTUDY_HUB_POLL": "600",
        }

    def understudy(self, *arguments: str, at: dict[str, str] | None = None) -> str:
        command = [sys.executable, "-m", "understudy", *arguments]
        env = {**os.environ, **(at or self.at_home)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"understudy {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def answer(self, prompt: str = PROMPTS[0]) -> tuple[str, str]:
        """Revision and text of one answer."""
        return ask(self.gateway.gateway, prompt)

    def until_live(self, commit: str, seconds: float = 60) -> float:
        """Waits until the persona answers with `commit`; returns how long that took."""
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            try:
                if self.answer()[0] == short(commit):
                    return time.monotonic() - began
            except httpx.HTTPStatusError:
                pass  # not live yet
            time.sleep(0.1)
        raise AssertionError(f"{short(commit)} is not live after {seconds} s:\n{self.history()}")

    def history(self) -> list[dict]:
        """What happened on the gateway's side, newest first."""
        text = self.understudy("history", "email-copy", "--json", at=self.of_the_gateway)
        return json.loads(text)


def ask(gateway: str, prompt: str) -> tuple[str, str]:
    body = {"model": "email-copy", "messages": [{"role": "user", "content": prompt}], "temperature": 0}
    response = httpx.post(f"{gateway}/v1/chat/completions", json=body, timeout=60)
    response.raise_for_status()
    return response.headers["x-understudy-revision"], response.json()["choices"][0]["message"]["content"]


@dataclass
class Crowd:
    """People who chat all the while; nobody may ever be turned away."""

    gateway: str
    heard: list[str] = field(default_factory=list)
    """Revisions in the order in which their answers ended."""
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> "Crowd":
        self._leave = threading.Event()
        self._people = [threading.Thread(target=self._chat, args=(n,)) for n in range(4)]
        for person in self._people:
            person.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        for person in self._people:
            person.join(60)

    def _chat(self, number: int) -> None:
        for prompt in itertools.islice(itertools.cycle(PROMPTS), number, None):
            if self._leave.is_set():
                return
            try:
                revision, text = ask(self.gateway, prompt)
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
            else:
                self.heard.append(revision)
                if not text:
                    self.failures.append(f"{revision} said nothing")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with HubServer() as hub:
        settings = load_settings(home=tmp_path / "stage" / "home", port=free_port())
        world = World(hub, tmp_path, settings)
        (tmp_path / "personas.yaml").write_text(f"email-copy:\n  repo: {REPO}\n")
        hub.webhook(f"{settings.gateway}/hooks/hub", SECRET)
        serve = [sys.executable, "-m", "understudy", "serve"]
        gateway = Child(serve, log=settings.logs_dir / "serve.log", env=world.of_the_gateway)
        try:
            wait_for(f"{settings.gateway}/ready", gateway)
            yield world
        finally:
            gateway.stop()


def head(world: World) -> str:
    return world.hub.repos[REPO].refs["main"]


def test_a_push_is_live_and_a_broken_one_is_not(world: World) -> None:
    # 17 examples become an adapter, it is shown to work, pushed, and answers a moment later.
    world.understudy("train", "email-copy")
    world.understudy("verify", "email-copy")
    world.understudy("push", "email-copy", "--to", f"hub:{REPO}")
    first = head(world)
    world.until_live(first)
    assert world.answer()[1].startswith("Subject:")

    # Another training, another push, while people chat: nobody is turned away, and in the end all hear the new one.
    # It is not verified again, which takes longest of all.
    world.understudy("train", "email-copy", "--seed", "1")
    with Crowd(world.gateway.gateway) as crowd:
        world.understudy("push", "email-copy", "--to", f"hub:{REPO}", "--force")
        second = head(world)
        assert second != first
        world.until_live(second)
        flipped = len(crowd.heard)
        while len(crowd.heard) < flipped + 12:
            time.sleep(0.1)
    assert crowd.failures == []
    assert set(crowd.heard) == {short(first), short(second)}
    assert set(crowd.heard[flipped + 4 :]) == {short(second)}
    assert {"v1": first, "v2": second}.items() <= world.hub.repos[REPO].refs.items()

    # Somebody pushes a broken one with the Hub's own client: refused with the reason, and the second goes on.
    broken = world.folder / "broken"
    fetch = "from huggingface_hub import snapshot_download as get, upload_folder as put\n"
    subprocess.run(
        [sys.executable, "-c", f"{fetch}get({REPO!r}, local_dir={str(broken)!r})"],
        env={**os.environ, **world.at_home},
        check=True,
    )
    weights = load_file(broken / WEIGHTS)
    poisoned = {name: torch.full_like(value, torch.nan) for name, value in weights.items()}
    save_file(poisoned, broken / WEIGHTS, metadata={"format": "pt"})
    subprocess.run(
        [sys.executable, "-c", f"{fetch}put(repo_id={REPO!r}, folder_path={str(broken)!r})"],
        env={**os.environ, **world.at_home},
        check=True,
        capture_output=True,
    )
    third = head(world)
    rejected = _wait_for_rejection(world, third)
    assert rejected["detail"]["stage"] == "validation"
    assert "NaN or infinite" in " ".join(rejected["detail"]["reasons"])
    assert world.answer()[0] == short(second)

    # And back to the first, at once.
    world.understudy("rollback", "email-copy")
    assert world.answer()[0] == short(first)
    actions = [(event["action"], event["actor"]) for event in world.history() if event["action"] not in ("push", "hub")]
    assert [action for action, _ in actions] == ["rollback", "reject", "publish", "publish"]
    assert {actor for action, actor in actions if action != "rollback"} == {f"hub:{REPO}"}


def _wait_for_rejection(world: World, commit: str) -> dict:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [e for e in world.history() if e["action"] == "reject" and e["revision"] == commit]
        if found:
            return found[0]
        time.sleep(0.5)
    raise AssertionError(f"{short(commit)} was not refused:\n{world.history()}")
