"""The engine: its command line as data, and what happens when clients or the engine itself go away."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil
import pytest

from serve.engine.vllm import EnginePlan, engine_command, engine_environment, plan_engine
from tests.support.system import CHAT, System, engine_processes
from understudy.bases import Base, resolve_base
from understudy.config.settings import load_settings
from understudy.errors import EngineError
from understudy.processes import free_port

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
    assert option(command, "--dtype") == "auto"


def test_the_tiny_base_is_served_in_float32_within_its_context() -> None:
    plan = plan_engine(load_settings(), resolve_base("tiny"), personas=2)
    command = engine_command(plan)
    assert option(command, "--dtype") == "float32"
    assert int(option(command, "--max-model-len") or 0) >= 1024
    assert engine_environment(plan)["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert engine_environment(plan)["HF_HUB_OFFLINE"] == "1"
    assert engine_environment(plan)["VLLM_LOGGING_LEVEL"] == "INFO"


def test_on_a_cpu_the_scheduler_computes_itself_unless_told_otherwise() -> None:
    switch = "VLLM_ENABLE_V1_MULTIPROCESSING"
    on_cpu = PLAN.model_copy(update={"on_cpu": True, "threads": 3})
    assert engine_environment(on_cpu)[switch] == "0"
    assert engine_environment(on_cpu)["OMP_NUM_THREADS"] == "3"
    assert switch not in engine_environment(PLAN)
    assert switch not in engine_environment(on_cpu.model_copy(update={"worker_process": True}))


@pytest.mark.parametrize(("personas", "slots"), [(0, 8), (6, 8), (7, 9), (32, 34), (1000, 34)])
def test_there_is_a_slot_for_each_persona_a_candidate_and_one_being_drained(personas: int, slots: int) -> None:
    assert plan_engine(load_settings(), resolve_base("tiny"), personas).slots == slots
    assert plan_engine(load_settings(slots=3), resolve_base("tiny"), personas).slots == 3


@pytest.mark.parametrize(("wanted", "given"), [(1, 1), (5, 8), (33, 64), (512, 512)])
def test_the_rank_is_rounded_up_to_one_that_vllm_knows(wanted: int, given: int) -> None:
    plan = plan_engine(load_settings(max_lora_rank=wanted), resolve_base("tiny"), personas=0)
    assert plan.max_rank == given


def test_a_rank_beyond_what_vllm_can_do_is_refused() -> None:
    with pytest.raises(EngineError, match="UNDERSTUDY_MAX_LORA_RANK is 513"):
        plan_engine(load_settings(max_lora_rank=513), resolve_base("tiny"), personas=0)


def engine_url(system: System) -> str:
    """Where the engine itself listens, from its log."""
    log = (system.settings.logs_dir / "engine.log").read_text()
    return re.findall(r"Starting vLLM server on (\S+)", log)[-1]


def metric(system: System, name: str) -> float:
    text = httpx.get(f"{engine_url(system)}/metrics").text
    return sum(float(value) for value in re.findall(rf"^{name}\{{[^}}]*\}} (\S+)$", text, re.MULTILINE))


@pytest.mark.engine
def test_when_clients_vanish_the_engine_stops_generating_for_them(system: System) -> None:
    before = metric(system, "vllm:generation_tokens_total")
    clients, tokens = 8, 900
    body = {**CHAT, "stream": True}
    for _ in range(clients):
        url = f"{system.gateway_url}/v1/chat/completions"
        with httpx.stream("POST", url, json={**body, "max_tokens": tokens, "ignore_eos": True}, timeout=60) as answer:
            next(answer.iter_bytes())
    deadline = time.monotonic() + 60
    while metric(system, "vllm:num_requests_running") > 0:
        assert time.monotonic() < deadline, "requests of vanished clients are still running"
        time.sleep(0.05)
    assert metric(system, "vllm:generation_tokens_total") - before < clients * tokens / 2


@pytest.mark.engine
def test_seeds_with_prompts_that_are_read_in_pieces_do_not_end_the_engine(system: System) -> None:
    """Together they are more tokens than vLLM reads in one step, so some prompt is cut in two."""
    prompt = " ".join(f"number {n}" for n in range(60))
    bodies = [{**CHAT, "messages": [{"role": "user", "content": f"{n} {prompt}"}], "seed": n} for n in range(48)]

    def ask(body: dict[str, Any]) -> int:
        body = {**body, "max_tokens": 4, "temperature": 0.7, "top_p": 0.9}
        return httpx.post(f"{system.gateway_url}/v1/chat/completions", json=body, timeout=120).status_code

    with ThreadPoolExecutor(len(bodies)) as pool:
        assert set(pool.map(ask, bodies)) == {200}
    assert httpx.get(f"{system.gateway_url}/ready").status_code == 200


@pytest.mark.engine
@pytest.mark.timeout(300)
def test_two_hundred_streams_of_which_half_vanish_leave_nothing_behind(system: System) -> None:
    body = {**CHAT, "stream": True, "max_tokens": 24, "ignore_eos": True}
    url = f"{system.gateway_url}/v1/chat/completions"

    async def client(session: aiohttp.ClientSession, number: int) -> bool:
        async with session.post(url, json=body) as response:
            assert response.status == 200, await response.text()
            if number % 2:
                await response.content.readany()
                return False  # leaving the block closes the connection
            return (await response.text()).endswith("data: [DONE]\n\n")

    async def everybody() -> list[bool]:
        timeout = aiohttp.ClientTimeout(total=240)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            return await asyncio.gather(*(client(session, n) for n in range(200)))

    assert sum(asyncio.run(everybody())) == 100
    deadline = time.monotonic() + 60
    while True:
        status = system.status()
        running = metric(system, "vllm:num_requests_running") + metric(system, "vllm:num_requests_waiting")
        if not (status["in_progress"] or running or any(status["loaded"].values()) or status["slots"]["waiting"]):
            break
        assert time.monotonic() < deadline, f"{status}, {running} in the engine"
        time.sleep(0.1)
    text = system.metrics()
    assert re.search(r"^understudy_clients_gone_total (\S+)$", text, re.MULTILINE)
    assert not [
        line for line in text.splitlines() if re.match(r"understudy_requests_(in_flight|waiting)\{.* [^0]", line)
    ]


KILLS = {"API server": b"api_server", "EngineCore": b"EngineCore"}


@pytest.mark.engine
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "victim", ["EngineCore", pytest.param("API server", marks=[pytest.mark.slow, pytest.mark.long])]
)
def test_a_killed_engine_is_noticed_restarted_and_its_personas_put_back(system: System, victim: str) -> None:
    kill_and_wait(system, KILLS[victim])


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_so_is_one_whose_worker_process_is_killed(system: System, tmp_path: Path) -> None:
    with another_gateway(system, tmp_path, UNDERSTUDY_CPU_WORKER_PROCESS="true") as (other, _):
        kill_and_wait(other, b"Worker")


def kill_and_wait(system: System, victim: bytes) -> None:
    """Kills one process of the engine and asks until everything is as before."""
    body = {**CHAT, "temperature": 0}
    url = f"{system.gateway_url}/v1/chat/completions"
    before = httpx.post(url, json=body, timeout=60)
    processes = engine_processes(system)
    os.kill(only(processes, victim), signal.SIGKILL)

    seen, readiness = set(), []
    deadline = time.monotonic() + 300
    while 503 not in readiness or readiness[-1] != 200:
        assert time.monotonic() < deadline, f"it did not come back; seen: {seen}"
        readiness.append(httpx.get(f"{system.gateway_url}/ready").status_code)
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
    assert not set(processes) & set(engine_processes(system)), "processes of the dead engine are still there"


def only(processes: list[int], mark: bytes) -> int:
    """The process with that in its command line; the guard, which has the whole command in its own, comes first."""
    found = [pid for pid in processes if mark in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert found, f"{mark!r} fits none of {processes}"
    return found[-1]


@pytest.mark.engine
@pytest.mark.timeout(400)
def test_sigterm_lets_answers_in_flight_end_and_leaves_no_process(system: System, tmp_path: Path) -> None:
    with another_gateway(system, tmp_path, UNDERSTUDY_LOG_JSON="true") as (other, process):
        children = psutil.Process(process.pid).children(recursive=True)
        body = {**CHAT, "model": "base", "stream": True, "max_tokens": 200, "ignore_eos": True}
        with httpx.stream("POST", f"{other.gateway_url}/v1/chat/completions", json=body, timeout=60) as answer:
            pieces = answer.iter_bytes()
            next(pieces)
            process.send_signal(signal.SIGTERM)
            rest = b"".join(pieces)
        assert rest.endswith(b"data: [DONE]\n\n"), "the answer was cut off"
        assert process.wait(60) in (0, -signal.SIGTERM, 143)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == []
    records = [json.loads(line) for line in (tmp_path / "serve.log").read_text().splitlines()]
    assert any(record.get("outcome") == "ok" and record["streamed"] for record in records)


@contextlib.contextmanager
def another_gateway(system: System, folder: Path, **variables: str) -> Iterator[tuple[System, subprocess.Popen[bytes]]]:
    """A second gateway with the same personas in a home of its own, so that the first goes on for the other tests."""
    home = folder / "home"
    home.mkdir()
    shutil.copytree(system.settings.store_dir, home / "adapters")
    with (
        sqlite3.connect(system.settings.home / "understudy.db") as source,
        sqlite3.connect(home / "understudy.db") as copy,
    ):
        source.backup(copy)
    env = {**system.env, "UNDERSTUDY_PORT": str(free_port()), "UNDERSTUDY_HOME": str(home), **variables}
    other = System(load_settings(home=home, port=int(env["UNDERSTUDY_PORT"])), env)
    with (folder / "serve.log").open("wb") as log:
        command = [sys.executable, "-m", "understudy", "serve"]
        process = subprocess.Popen(command, env={**os.environ, **env}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 240
        while not answers(f"{other.gateway_url}/ready"):
            assert process.poll() is None, (folder / "serve.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield other, process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False
