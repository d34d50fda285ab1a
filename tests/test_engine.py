"""The engine: its command line as data, and what happens when clients or the engine itself go away."""

import os
import re
import signal
import time
from pathlib import Path

import httpx
import pytest

from serve.engine import EnginePlan, engine_command, engine_environment, plan_engine
from tests.conftest import Stage
from understudy.bases import Base, resolve_base
from understudy.errors import EngineError
from understudy.settings import load_settings

PLAN = EnginePlan(
    base=Base(name="Qwen/Qwen3-0.6B", location="Qwen/Qwen3-0.6B", local=False),
    port=8123,
    slots=8,
    max_rank=64,
    max_model_len=0,
    memory_share=0.9,
    on_cpu=False,
)


def option(command: tuple[str, ...], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


def test_the_engine_listens_on_loopback_and_serves_the_base_under_one_name() -> None:
    command = engine_command(PLAN)
    assert option(command, "--host") == "127.0.0.1"
    assert option(command, "--served-model-name") == "base"
    assert option(command, "--model") == "Qwen/Qwen3-0.6B"
    assert option(command, "--max-lora-rank") == "64"
    assert option(command, "--max-model-len") is None
    assert option(command, "--dtype") is None


def test_the_embedded_base_is_served_in_float32_within_its_context() -> None:
    plan = plan_engine(load_settings(), resolve_base("embedded"), personas=2)
    command = engine_command(plan)
    assert option(command, "--dtype") == "float32"
    assert int(option(command, "--max-model-len") or 0) >= 1024
    assert engine_environment(plan)["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert engine_environment(plan)["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(("personas", "slots"), [(0, 8), (6, 8), (7, 9), (40, 42)])
def test_there_is_a_slot_for_each_persona_a_candidate_and_one_being_drained(personas: int, slots: int) -> None:
    assert plan_engine(load_settings(), resolve_base("embedded"), personas).slots == slots


@pytest.mark.parametrize(("wanted", "given"), [(1, 1), (5, 8), (33, 64), (512, 512)])
def test_the_rank_is_rounded_up_to_one_that_vllm_knows(wanted: int, given: int) -> None:
    plan = plan_engine(load_settings(max_lora_rank=wanted), resolve_base("embedded"), personas=0)
    assert plan.max_rank == given


def test_a_rank_beyond_what_vllm_can_do_is_refused() -> None:
    with pytest.raises(EngineError, match="UNDERSTUDY_MAX_LORA_RANK is 513"):
        plan_engine(load_settings(max_lora_rank=513), resolve_base("embedded"), personas=0)


def engine_url(stage: Stage) -> str:
    """Where the engine itself listens, from its log."""
    log = (stage.settings.logs_dir / "engine.log").read_text()
    return re.findall(r"Starting vLLM server on (\S+)", log)[-1]


def metric(stage: Stage, name: str) -> float:
    text = httpx.get(f"{engine_url(stage)}/metrics").text
    return sum(float(value) for value in re.findall(rf"^{name}\{{[^}}]*\}} (\S+)$", text, re.MULTILINE))


@pytest.mark.engine
def test_when_clients_vanish_the_engine_stops_generating_for_them(stage: Stage) -> None:
    before = metric(stage, "vllm:generation_tokens_total")
    clients, tokens = 8, 900
    body = {"model": "email-copy", "messages": [{"role": "user", "content": "Write about a kite."}], "stream": True}
    for _ in range(clients):
        url = f"{stage.gateway_url}/v1/chat/completions"
        with httpx.stream("POST", url, json={**body, "max_tokens": tokens, "ignore_eos": True}, timeout=60) as answer:
            next(answer.iter_bytes())
    deadline = time.monotonic() + 60
    while metric(stage, "vllm:num_requests_running") > 0:
        assert time.monotonic() < deadline, "requests of vanished clients are still running"
        time.sleep(0.05)
    assert metric(stage, "vllm:generation_tokens_total") - before < clients * tokens / 2


def engine_processes(stage: Stage) -> list[int]:
    """The vLLM processes of this stage, API server first."""
    mark, found = f"UNDERSTUDY_HOME={stage.settings.home}".encode(), []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            names = (path / "cmdline").read_bytes() + (path / "comm").read_bytes()
            if mark in (path / "environ").read_bytes() and re.search(rb"vllm|VLLM|EngineCore", names):
                found.append(int(path.name))
        except OSError:
            continue
    return sorted(found)


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_engine_is_noticed_restarted_and_its_personas_put_back(stage: Stage) -> None:
    body = {"model": "email-copy", "messages": [{"role": "user", "content": "Write about a kite."}], "temperature": 0}
    url = f"{stage.gateway_url}/v1/chat/completions"
    before = httpx.post(url, json=body, timeout=60)
    processes = engine_processes(stage)
    assert len(processes) >= 2
    os.kill(processes[-1], signal.SIGKILL)

    seen, readiness = set(), []
    deadline = time.monotonic() + 300
    while 503 not in readiness or readiness[-1] != 200:
        assert time.monotonic() < deadline, f"it did not come back; seen: {seen}"
        readiness.append(httpx.get(f"{stage.gateway_url}/ready").status_code)
        answer = httpx.post(url, json={**body, "max_tokens": 4}, timeout=60)
        seen.add(answer.status_code)
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["error"]["message"]
        time.sleep(0.3)
    assert seen <= {200, 503}
    after = httpx.post(url, json=body, timeout=60)
    assert after.json()["choices"] == before.json()["choices"]
    assert after.headers["x-understudy-revision"] == before.headers["x-understudy-revision"]
    assert not set(processes) & set(engine_processes(stage)), "processes of the dead engine are still there"
