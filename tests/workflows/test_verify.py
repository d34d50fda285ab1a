"""`understudy check` and `understudy verify` for real, on the tiny base: what is not good is named."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import psutil
import pytest

from evaluate.verified_runs import load_run
from tests.support.command_line import Done
from tests.support.pirate import hold_out, home, items, made_home, only_run, places, train, understudy
from tests.support.system import wait_for
from understudy.config.settings import load_settings
from understudy.processes import Child, free_port
from understudy.registry.adapters import content_revision

__all__ = ["home"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class World:
    """A home with a trained pirate, and its gateway."""

    home: Path
    port: int
    admin_key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def understudy(self, *arguments: str) -> Done:
        with patch.dict(os.environ, {"UNDERSTUDY_PORT": str(self.port)}):
            return understudy(self.home, *arguments)

    def verify(self, *options: str) -> dict[str, Any]:
        done = self.understudy("verify", "pirate", "--json", *options)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def status(self) -> dict[str, Any]:
        key = {"Authorization": f"Bearer {self.admin_key}"}
        return httpx.get(f"{self.url}/admin/status", headers=key).raise_for_status().json()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = made_home(tmp_path_factory.mktemp("world"))
    hold_out(folder, items(range(40, 48)))
    assert train(folder, "--epochs", "8").returncode == 0
    port = free_port()
    env = {**places(folder), "UNDERSTUDY_BASE": "tiny", "UNDERSTUDY_PORT": str(port)}
    with patch.dict(os.environ, env):
        admin_key = load_settings().admin_secret
    serve = Child([sys.executable, "-m", "understudy", "serve"], log=folder / "serve.log", env=env)
    try:
        wait_for(f"http://127.0.0.1:{port}/ready", serve, 300)
        yield World(folder, port, admin_key)
    finally:
        serve.stop()


def test_without_a_run_or_held_out_rows_verify_says_what_to_do(home: Path) -> None:
    done = understudy(home, "verify", "pirate")
    assert done.returncode == 1
    assert "pirate has no finished run; train one first: understudy train pirate" in done.stderr
    assert train(home, "--set", "max_steps=1").returncode == 0
    done = understudy(home, "verify", "pirate")
    assert done.returncode == 1
    assert "heldout.jsonl: verify needs at least 2 held-out rows" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.engine
def test_the_gateways_engine_is_asked_and_nothing_stays_there(world: World) -> None:
    card = world.verify()
    assert card["engine"] == "gateway"
    assert card["acts"]["value"] > 0.5
    assert card["contestants"]["adapter"]["loss"]["value"] < card["contestants"]["base"]["loss"]["value"]
    assert set(card["contestants"]) == {"base", "described", "few-shot", "adapter"}
    assert card["contestants"]["few-shot"]["shots"] == 12
    assert abs(card["parity"]) < 0.1
    assert [m["id"] for m in httpx.get(f"{world.url}/v1/models").json()["data"]] == ["base"]
    assert world.status()["in_progress"] == 0


@pytest.mark.engine
def test_what_the_base_said_is_not_asked_again(world: World) -> None:
    first = world.verify()
    (kept,) = (world.home / "runs" / "pirate").glob("rivals-*.json")
    written = kept.stat().st_mtime_ns
    second = world.verify()
    assert kept.stat().st_mtime_ns == written
    assert second["contestants"]["base"] == first["contestants"]["base"]
    kept.write_text("{")
    assert world.verify()["contestants"]["base"]["in_style"] == first["contestants"]["base"]["in_style"]
    assert kept.stat().st_size > 1, "a broken file is made anew"


@pytest.mark.engine
@pytest.mark.long
def test_somebody_elses_adapter_has_an_engine_of_its_own_and_a_folder_of_its_own(world: World, tmp_path: Path) -> None:
    theirs = tmp_path / "downloads" / "adapter"
    shutil.copytree(next((world.home / "runs" / "pirate").glob("*/adapter")), theirs)
    (theirs / "note.txt").write_text("mine")
    (theirs / "adapter_config.json").write_text((theirs / "adapter_config.json").read_text() + "\n")
    done = world.understudy("verify", "pirate", "--adapter", str(theirs))
    assert "own engine" in done.stdout, done.stderr
    assert {path.name for path in theirs.parent.iterdir()} == {"adapter"}
    (place,) = (world.home / "runs" / "pirate").glob("verified-*")
    assert str(place / "proof.json") in done.stdout
    assert place.name == f"verified-{content_revision(theirs)[:12]}"
    assert load_run(place).facts.method == "qlora"
    refused = world.understudy("verify", "pirate", "--adapter", str(theirs), "--engine", "gateway")
    assert refused.returncode == 1
    assert "has no revision" in refused.stderr


@pytest.mark.engine
@pytest.mark.long
def test_a_full_fine_tune_is_verified_as_a_model_of_its_own(home: Path) -> None:
    hold_out(home, items(range(40, 44)))
    assert train(home, "--method", "full", "--set", "max_steps=2").returncode == 0
    done = understudy(home, "verify", "pirate")
    assert "full fine-tune" in done.stdout, done.stderr
    card = json.loads((only_run(home) / "proof.json").read_text())
    losses = {name: found["loss"]["value"] for name, found in card["contestants"].items() if found["loss"]}
    assert losses["adapter"] != losses["base"]
    assert (card["parity"], card["method"], card["engine"]) == (None, "full", "own engine")
    assert understudy(home, "verify", "pirate", "--engine", "gateway").returncode == 1


@pytest.mark.engine
def test_ctrl_c_ends_verify_with_the_engine_that_it_started(home: Path) -> None:
    hold_out(home, items(range(40, 44)))
    assert train(home, "--set", "max_steps=1").returncode == 0
    command = [sys.executable, "-m", "understudy", "verify", "pirate", "--engine", "own"]
    verify = subprocess.Popen(command, env={**os.environ, **places(home), "UNDERSTUDY_BASE": "tiny"})
    log = home / "home" / "logs" / "scratch-engine.log"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        assert verify.poll() is None
        time.sleep(0.2)
    started = psutil.Process(verify.pid).children(recursive=True)
    assert any("vllm" in " ".join(child.cmdline()) for child in started)
    verify.send_signal(signal.SIGINT)
    assert verify.wait(60) != 0
    assert psutil.wait_procs(started, timeout=30)[1] == []


@pytest.mark.engine
def test_check_shows_the_loss_mask_and_asks_a_real_engine(home: Path) -> None:
    hold_out(home, items(range(40, 42)))
    done = understudy(home, "check", "pirate", "--rows", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "row 2 <|user|>Tell me about item 1.<|end|><|assistant|>Ahoy! Item 1 it be.<|end|>" in done.stdout
    assert "✓ the engine sees the prompts that training sees: 8 prompts" in done.stdout
    assert "✓ the engine takes the planned adapter: maximum rank 64" in done.stdout


def test_check_fails_closed_when_rows_are_too_long(home: Path) -> None:
    done = understudy(home, "check", "pirate", "--no-engine", "--set", "max_length=16")
    assert done.returncode == 1
    assert "✗ every row fits into max_length" in done.stdout
