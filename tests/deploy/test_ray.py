"""Two replicas on Ray Serve behind one gateway: publish reaches both, and one may die under load. Takes minutes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import aiohttp
import httpx
import psutil
import pytest
import yaml

from tests.support.system import System, wait_for
from understudy.config.settings import PROJECT, load_settings
from understudy.processes import Child, free_port

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]

FOLDER = PROJECT / "deploy" / "ray"
MEMORY = 8 * 2**30
"""Bytes that two replicas, Ray and the gateway may take together."""

MODELS = ("base", "email-copy", "stand-up")
TOPICS = ("kite", "teapot", "lamp", "bicycle", "garden chair", "blanket")
CLIENTS = 6
SHORT, LONG = 48, 400
"""Tokens of an answer; the long ones go on to the last."""


@dataclass(frozen=True)
class Fleet:
    """A gateway and the engines on Ray behind it."""

    system: System
    engine_url: str
    ray: Child
    gateway: Child

    def replicas(self) -> list[dict[str, Any]]:
        """What every replica tells of itself."""
        answer = httpx.get(f"{self.engine_url}/replicas", timeout=180)
        assert answer.status_code == 200, answer.text
        return answer.json()["replicas"]

    def revision(self, persona: str) -> str:
        """What the gateway says is live; empty when nothing is."""
        models = httpx.get(f"{self.system.gateway_url}/v1/models", timeout=60).json()["data"]
        return next((m["understudy"]["revision"] for m in models if m["id"] == persona), "")

    def publish(self, persona: str) -> httpx.Response:
        """Publishes the newest registered revision."""
        url, headers = f"{self.system.gateway_url}/admin/publish", self.system.admin_headers
        return httpx.post(url, json={"persona": persona, "actor": "test"}, headers=headers, timeout=300)

    def ask(self, model: str, topic: str, tokens: int) -> tuple[str, str]:
        """A greedy answer, and the revision that gave it."""
        body = question(model, topic, tokens)
        response = httpx.post(f"{self.system.gateway_url}/v1/chat/completions", json=body, timeout=180)
        assert response.status_code == 200, response.text
        return response.json()["choices"][0]["message"]["content"], response.headers["x-understudy-revision"]


def question(model: str, topic: str, tokens: int, *, stream: bool = False) -> dict[str, Any]:
    message = {"role": "user", "content": f"Write about a {topic}."}
    body = {"model": model, "messages": [message], "temperature": 0, "max_tokens": tokens, "stream": stream}
    return body | {"ignore_eos": tokens == LONG}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Makes Ray's environment if it is not there, trains two personas, starts two replicas and a gateway."""
    made = subprocess.run([FOLDER / "setup.sh"], env={**os.environ, "VARIANT": "cpu"}, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"deploy/ray/setup.sh could not make Ray's environment: {made.stderr.strip()[-300:]}")
    if psutil.virtual_memory().available < MEMORY:
        pytest.skip(f"two replicas need {MEMORY / 2**30:.0f} GB of free memory")
    home = tmp_path_factory.mktemp("fleet")
    engine_port = free_port()
    env = {
        "UNDERSTUDY_BASE": "tiny",
        "UNDERSTUDY_HOME": str(home / "home"),
        "UNDERSTUDY_RUNS_DIR": str(home / "runs"),
        "UNDERSTUDY_PORT": str(free_port()),
        "UNDERSTUDY_ENGINE_URL": f"http://127.0.0.1:{engine_port}",
    }
    settings = load_settings(home=home / "home", runs_dir=home / "runs", port=int(env["UNDERSTUDY_PORT"]))
    system = System(settings, env)
    for persona in MODELS[1:]:
        system.cli("train", persona)
        system.cli("push", persona)
    config = yaml.safe_load((FOLDER / "serve_config.yaml").read_text())
    config["http_options"]["port"] = engine_port
    config["applications"][0]["args"] |= {"min_replicas": 2, "max_replicas": 2}
    (home / "serve_config.yaml").write_text(yaml.safe_dump(config))
    children = []
    try:
        run = [str(FOLDER / "run.sh"), str(home / "serve_config.yaml"), "--cpus", "4"]
        children.append(Child(run, log=home / "ray.log", env=env))
        wait_for(f"{env['UNDERSTUDY_ENGINE_URL']}/health", children[0], timeout=600)
        children.append(Child([sys.executable, "-m", "understudy", "serve"], log=home / "serve.log", env=env))
        wait_for(f"{settings.gateway}/ready", children[1])
        yield Fleet(system, env["UNDERSTUDY_ENGINE_URL"], *children)
    finally:
        started = [p for child in children for p in psutil.Process(child.pid).children(recursive=True)]
        for child in reversed(children):
            child.stop(60)
        assert not (left := living(started, 30)), f"left behind: {left}"


def living(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Which of them run after at most so many seconds; one that ended, but that nobody reaps, does not."""
    deadline = time.monotonic() + seconds
    while (left := [p for p in processes if lives(p)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until_two(fleet: Fleet, *, without: int = 0) -> list[dict[str, Any]]:
    """Waits until there are two replicas, none of them the process `without`."""
    deadline = time.monotonic() + 600
    while True:
        replicas = fleet.replicas()
        if len(replicas) == 2 and without not in [r["pid"] for r in replicas]:
            return replicas
        assert time.monotonic() < deadline, f"it did not come back: {replicas}"
        time.sleep(1)


def test_a_publish_waits_for_every_replica_before_the_name_changes(fleet: Fleet) -> None:
    replicas = until_two(fleet)
    assert fleet.publish("email-copy").status_code == 200
    stuck = psutil.Process(replicas[0]["pid"])
    with ThreadPoolExecutor() as pool:
        stuck.suspend()  # one replica cannot load anything now
        try:
            publish = pool.submit(fleet.publish, "stand-up")
            time.sleep(12)
            assert not publish.done(), "published although one replica does not have it"
            assert fleet.revision("stand-up") == "", "the name changed before both replicas had the revision"
            assert fleet.revision("email-copy"), "a stuck replica took the gateway down"
        finally:
            stuck.resume()
        assert publish.result().status_code == 200
    names = {f"{persona}@{fleet.revision(persona)}" for persona in MODELS[1:]}
    for replica in fleet.replicas():
        assert set(replica["adapters"]) == names


@dataclass
class Seen:
    """What clients saw: how many answers were right, and everything else with its reason."""

    right: int = 0
    streamed: int = 0
    cut: list[str] = field(default_factory=list)
    """Streams that had begun, and then ended with an error event."""
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Load:
    """Clients that ask the base and both personas, streamed and not, until told to stop."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.seen, self.over = fleet, Seen(), asyncio.Event()
        questions = [(model, topic, SHORT) for model in MODELS for topic in TOPICS]
        questions += [("base", topic, LONG) for topic in TOPICS]
        self.expected = {asked: fleet.ask(*asked) for asked in questions}

    async def client(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = number
        while not self.over.is_set():
            model, topic, stream = MODELS[turn % 3], TOPICS[turn % len(TOPICS)], turn % 2 == 0
            await self.one(session, model, topic, SHORT, stream=stream)
            turn += 1

    async def one(
        self, session: aiohttp.ClientSession, model: str, topic: str, tokens: int, *, stream: bool = False
    ) -> None:
        body = question(model, topic, tokens, stream=stream)
        async with session.post(f"{self.fleet.system.gateway_url}/v1/chat/completions", json=body) as response:
            text = await response.text()
            revision = response.headers.get("x-understudy-revision", "")
        if response.status != 200:
            self.seen.failed.append(f"{response.status}: {text[:200]}")
        elif stream and not text.endswith("data: [DONE]\n\n"):
            last = json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))
            (self.seen.cut if last.get("error", {}).get("code") == "engine_down" else self.seen.failed).append(
                text[-200:]
            )
        elif (said := (streamed(text) if stream else whole(text), revision)) != self.expected[model, topic, tokens]:
            self.seen.wrong.append(f"{model} on {topic}: {said}, not {self.expected[model, topic, tokens]}")
        else:
            self.seen.right += 1
            self.seen.streamed += stream

    async def during(self, work: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
        """Keeps the load up while `work` goes on."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=300)) as session:
            clients = [asyncio.create_task(self.client(session, n)) for n in range(CLIENTS)]
            try:
                await work(session)
            finally:
                self.over.set()
                await asyncio.gather(*clients)


def whole(text: str) -> str:
    return json.loads(text)["choices"][0]["message"]["content"]


def streamed(text: str) -> str:
    events = [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line.startswith("data: {")]
    return "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"])


def test_a_replica_that_is_killed_under_load_fails_no_request_and_comes_back_with_its_adapters(fleet: Fleet) -> None:
    for persona in MODELS[1:]:
        if not fleet.revision(persona):
            assert fleet.publish(persona).status_code == 200
    before = until_two(fleet)
    victim, load = before[0]["pid"], Load(fleet)
    children = psutil.Process(victim).children(recursive=True)

    async def kill(session: aiohttp.ClientSession) -> None:
        await asyncio.sleep(5)
        long = [asyncio.create_task(load.one(session, "base", topic, LONG)) for topic in TOPICS]
        await asyncio.sleep(1)  # each replica is at some of them now, and has not said a word
        os.kill(victim, signal.SIGKILL)
        await asyncio.gather(*long)
        await asyncio.to_thread(until_two, fleet, without=victim)
        await asyncio.sleep(5)

    asyncio.run(load.during(kill))
    seen = load.seen
    assert fleet.gateway.log
    again = fleet.gateway.log.read_text().count("the engine answered 5")
    print(f"\n{seen.right} right ({seen.streamed} streamed), {again} of them asked again")
    print(f"{len(seen.cut)} streams broke off, {len(seen.failed)} requests failed")
    assert not seen.failed, seen.failed
    assert not seen.wrong, seen.wrong
    assert len(seen.cut) <= CLIENTS, "more streams broke than were in flight when the replica died"
    assert seen.streamed > 10
    assert again > 0, "the dead replica had no request to lose, so this proves nothing"
    assert not (left := living(children, 10)), f"the dead replica left {left} behind"

    after = until_two(fleet, without=victim)
    names = {f"{persona}@{fleet.revision(persona)}" for persona in MODELS[1:]}
    assert all(set(replica["adapters"]) == names for replica in after), "a new replica starts without what is live"
    load = Load(fleet)
    asyncio.run(load.during(lambda _: asyncio.sleep(8)))
    assert not load.seen.failed + load.seen.wrong + load.seen.cut
    asked = Counter({r["replica"]: r["asked"] for r in fleet.replicas()})
    asked.subtract({r["replica"]: r["asked"] for r in after})
    assert min(asked.values()) > 0, f"both replicas should have answered: {asked}"
    assert fleet.system.status()["engine"]["restarts"] == 0


def test_ray_listens_on_loopback_only(fleet: Fleet) -> None:
    family = [psutil.Process(fleet.ray.pid), *psutil.Process(fleet.ray.pid).children(recursive=True)]
    listening = {
        (connection.laddr.ip, connection.laddr.port, process.name())
        for process in family
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    outside = {entry for entry in listening if not ip_address(entry[0].removeprefix("::ffff:")).is_loopback}
    assert not outside, f"reachable from other machines: {sorted(outside)}"
