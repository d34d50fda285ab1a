"""Publishes, rollbacks, trials, kills and vanishing clients at random, under load.

No answer may come from a revision that its name did not mean at that moment, and every failure must be explained.
A minute long here; `make chaos` takes three.
"""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.support.signals import PERSONA, TOPICS, colours_in, train_signals
from tests.support.system import System, engine_processes
from understudy.registry.records import Revision
from understudy.registry.registry import open_registry

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.long]

SECONDS = float(os.environ.get("UNDERSTUDY_CHAOS_SECONDS", "60"))
CLIENTS = 12
KILL_EVERY = 60.0


@dataclass
class Truth:
    """What the persona's name could mean, and when: a revision may answer from the moment a change towards it
    begins until the next change away from it has ended."""

    spans: list[tuple[str, float, float]] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)

    def possible(self, begin: float, end: float) -> set[str]:
        return {name for name, first, last in self.spans if first <= end and last >= begin}

    def begin(self, name: str) -> int:
        """A change towards `name` begins; returns its number."""
        self.spans.append((name, time.monotonic(), float("inf")))
        return len(self.spans) - 1

    def settle(self, names: set[str]) -> None:
        """From now on the name means only these."""
        now = time.monotonic()
        self.spans = [(n, a, b if n in names or b < now else now) for n, a, b in self.spans]

    def out(self, begin: float, end: float) -> bool:
        """Whether the engine was away during some of that time."""
        return any(first <= end and last >= begin for first, last in self.outages)


@dataclass
class Report:
    """What the clients saw."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)


def command_of(pid: int) -> bytes:
    """A process's command line; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Chaos:
    """One run: clients, a director who changes things, and what everybody saw."""

    def __init__(self, system: System, revisions: dict[str, Revision], seed: int) -> None:
        self.system, self.chance, self.truth, self.report = system, random.Random(seed), Truth(), Report()
        self.colour_of = {r.id[:12]: colour for colour, r in revisions.items()}
        self.ids = [r.id[:12] for r in revisions.values()]
        self.done = False
        self.headers = {"Authorization": f"Bearer {system.settings.admin_secret}"}

    async def run(self) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as self.session:
            first = self.truth.begin(self.ids[0])
            assert first == 0
            await self.admin("publish", revision=self.ids[0])
            clients = [asyncio.create_task(self.client(n)) for n in range(CLIENTS)]
            killer = asyncio.create_task(self.killer())
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                await self.change()
                await asyncio.sleep(self.chance.uniform(0.2, 2))
            self.done = True
            await asyncio.gather(*clients, killer)

    # The director

    async def change(self) -> None:
        """A publish, a rollback, or a trial that is ended one way or the other."""
        live = await self.live()
        other = next(i for i in self.ids if i != live)
        kind = self.chance.choice(["publish", "publish", "rollback", "trial"])
        self.truth.begin(other)
        if kind == "publish":
            await self.admin("publish", revision=other)
        elif kind == "rollback":
            await self.admin("rollback", revision=other)
        else:
            await self.admin("publish", revision=other, share=0.5)
            await asyncio.sleep(self.chance.uniform(0.5, 3))
            await self.admin(self.chance.choice(["promote", "rollback"]))
        self.report.counts[kind] += 1
        self.truth.settle({await self.live()})

    async def admin(self, action: str, **changes: object) -> None:
        """An admin call; while the engine is away it is refused, and that is all."""
        begin = time.monotonic()
        body = {"persona": PERSONA, "actor": "chaos", **changes}
        url = f"{self.system.gateway_url}/admin/{action}"
        async with self.session.post(url, json=body, headers=self.headers) as response:
            text = await response.text()
        trial_ended_itself = action in ("promote", "rollback") and response.status == 404
        if response.status != 200 and not trial_ended_itself and not self.truth.out(begin, time.monotonic()):
            self.report.unexplained.append(f"{action}: {response.status} {text[:200]}")

    async def live(self) -> str:
        """What the registry says."""
        persona = await asyncio.to_thread(open_registry(self.system.settings).persona, PERSONA)
        assert persona.live
        return persona.live[:12]

    async def killer(self) -> None:
        while not self.done:
            await asyncio.sleep(self.chance.uniform(0.2, 0.5) * KILL_EVERY)
            await self.kill()

    async def kill(self) -> None:
        """Ends one process of the engine, any, and waits until the stage is ready again."""
        # Python's resource tracker is in the group, too; the engine does not need it and goes on without.
        processes = [pid for pid in engine_processes(self.system) if b"resource_tracker" not in command_of(pid)]
        victim = self.chance.choice(processes)
        begin = time.monotonic()
        self.truth.outages.append((begin, float("inf")))
        os.kill(victim, signal.SIGKILL)
        self.report.counts["kill"] += 1
        down = False
        while True:
            assert time.monotonic() - begin < 200, "the engine did not come back"
            async with self.session.get(f"{self.system.gateway_url}/ready") as response:
                down = down or response.status == 503
                if down and response.status == 200:
                    break
            await asyncio.sleep(0.1)
        self.truth.outages[-1] = (begin, time.monotonic())

    # The public

    async def client(self, number: int) -> None:
        chance = random.Random(number)
        while not self.done:
            if not await self.ask(f"user-{number}-{chance.randrange(5)}", chance):
                await asyncio.sleep(0.2)  # who is told to come back later does not ask again at once

    async def ask(self, user: str, chance: random.Random) -> bool:
        """One request; False when it was refused."""
        stream, vanish = chance.random() < 0.7, chance.random() < 0.15
        body = {
            "model": PERSONA if chance.random() < 0.8 else "base",
            "messages": [{"role": "user", "content": f"Tell me about a {chance.choice(TOPICS)}."}],
            "temperature": 0,
            "max_tokens": 60,
            "user": user,
            "stream": stream,
        }
        begin = time.monotonic()
        try:
            async with self.session.post(f"{self.system.gateway_url}/v1/chat/completions", json=body) as response:
                heard = time.monotonic()
                if response.status != 200:
                    self.refused(response.status, await response.text(), begin)
                    return False
                if vanish:
                    await response.content.readany()
                    self.report.counts["vanished"] += 1
                    return True
                text, names, broken = _read(await response.text(), stream)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.report.unexplained.append(f"{type(error).__name__}: {error}")
            return True
        if broken:
            self.refused(503, broken, begin)
            return False
        self.report.counts["answered"] += 1
        self.check(body["model"], response.headers["x-understudy-revision"], names, text, begin, heard)
        return True

    def refused(self, status: int, text: str, begin: float) -> None:
        explained = status == 503 and self.truth.out(begin, time.monotonic())
        self.report.counts[f"{status} during an outage" if explained else str(status)] += 1
        if not explained:
            self.report.unexplained.append(f"{status} {text[:200]}")

    def check(self, model: str, header: str, names: set[str], text: str, begin: float, heard: float) -> None:
        """Header, every chunk and the words themselves must agree on one revision, one that the name meant."""
        said = f"{model} -> {header}, chunks {names}: {text[:80]!r}"
        if names != {header}:
            self.report.wrong.append(f"an answer names {names}: {said}")
        elif model == "base":
            if header != "base" or colours_in(text):
                self.report.wrong.append(f"the base speaks with a persona's voice: {said}")
        elif header not in self.truth.possible(begin, heard):
            self.report.wrong.append(f"not what the name meant: {said}")
        elif colours_in(text) != {self.colour_of[header]}:
            self.report.wrong.append(f"the words are another revision's: {said}")


def _read(raw: str, stream: bool) -> tuple[str, set[str], str]:
    """Text, the revisions that chunks name, and the error event if the stream has one."""
    if not stream:
        body = json.loads(raw)
        return body["choices"][0]["message"]["content"], {body["system_fingerprint"]}, ""
    events = [line.removeprefix("data: ") for line in raw.split("\n") if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    errors = [chunk["error"]["message"] for chunk in chunks if "error" in chunk]
    chunks = [chunk for chunk in chunks if "error" not in chunk]
    text = "".join((c["delta"].get("content") or "") for chunk in chunks for c in chunk["choices"])
    if not errors and events[-1:] != ["[DONE]"]:
        errors = ["the stream has no end"]
    return text, {chunk["system_fingerprint"] for chunk in chunks}, "".join(errors)


@pytest.mark.timeout(SECONDS + 600)
def test_chaos_brings_no_wrong_revision_and_no_unexplained_failure(system: System, tmp_path: Path) -> None:
    revisions = train_signals(system, tmp_path)
    chaos = Chaos(system, revisions, seed=1)
    asyncio.run(chaos.run())
    report = chaos.report
    print(dict(sorted(report.counts.items())))
    assert report.wrong == []
    assert report.unexplained == []
    assert report.counts["answered"] > 50
    assert report.counts["kill"] >= 1
