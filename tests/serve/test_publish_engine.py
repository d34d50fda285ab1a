"""Publishing on a real engine: no request fails, no answer mixes revisions, and bad candidates change nothing."""

import asyncio
import json
import re
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI

from bench.gateway import vary
from serve.http.proxy import REVISION_HEADER
from tests.support.adapters import make_adapter, tensors
from tests.support.system import CHAT, System
from understudy.registry.registry import open_registry

pytestmark = pytest.mark.engine

STREAMS = 16


def live(system: System, persona: str) -> str:
    return httpx.get(f"{system.gateway_url}/v1/models/{persona}").json()["understudy"]["revision"]


async def stream_until(system: System, done: asyncio.Event, seen: list[set[str]], failures: list[str]) -> None:
    """Streams answer after answer, noting which revisions each one names."""
    client = AsyncOpenAI(base_url=f"{system.gateway_url}/v1", api_key="none", max_retries=0)
    while not done.is_set():
        try:
            stream = await client.chat.completions.create(
                model="email-copy",
                messages=[{"role": "user", "content": "Write about a kettle."}],
                max_tokens=80,
                temperature=0.7,
                stream=True,
            )
            chunks = [chunk async for chunk in stream]
            assert chunks[-1].choices[0].finish_reason in ("stop", "length")
            seen.append({chunk.system_fingerprint or "?" for chunk in chunks})
        except Exception as error:
            failures.append(repr(error))
    await client.close()


@pytest.mark.timeout(600)
def test_publishing_a_retrained_persona_under_16_streams_fails_none_of_them(system: System) -> None:
    old = live(system, "email-copy")
    system.cli("train", "email-copy", "--seed", "1")

    async def scenario() -> tuple[list[set[str]], list[str]]:
        done, seen, failures = asyncio.Event(), [], []
        streams = [asyncio.create_task(stream_until(system, done, seen, failures)) for _ in range(STREAMS)]
        await asyncio.sleep(2)
        await asyncio.to_thread(system.cli, "publish", "email-copy")
        before_flip = len(seen)
        while len(seen) < before_flip + 2 * STREAMS:
            await asyncio.sleep(0.1)
        done.set()
        await asyncio.gather(*streams)
        return seen, failures

    seen, failures = asyncio.run(scenario())
    new = live(system, "email-copy")
    assert new != old
    assert failures == []
    assert {frozenset(s) for s in seen} == {frozenset({old}), frozenset({new})}, "an answer named two revisions"
    history = system.cli("history", "email-copy").stdout
    assert new in history
    assert "publish" in history

    system.cli("rollback", "email-copy")
    assert live(system, "email-copy") == old


def another(system: System, persona: str) -> str:
    """A revision of the persona that is not live."""
    registry, now = open_registry(system.settings), live(system, persona)
    others = [r.id[:12] for r in registry.revisions(persona) if r.id[:12] != now]
    return others[0] if others else vary(registry, registry.revision(persona, now), 9).id[:12]


def test_the_revision_before_stays_loaded_and_the_one_before_that_is_unloaded(system: System) -> None:
    first, registry = live(system, "stand-up"), open_registry(system.settings)
    for number in (1, 2):
        vary(registry, registry.revision("stand-up", first), number)
        system.cli("publish", "stand-up")
        assert f"stand-up@{first}" in system.status()["loaded"] or number == 2
    deadline = time.monotonic() + 30
    while f"stand-up@{first}" in system.status()["loaded"]:
        assert time.monotonic() < deadline, "the old revision is still loaded"
        time.sleep(0.1)
    body = {"model": f"stand-up@{first}", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    assert httpx.post(f"{system.gateway_url}/v1/chat/completions", json=body).status_code == 404
    system.cli("rollback", "stand-up", first)
    assert live(system, "stand-up") == first


def test_a_trial_answers_its_share_of_the_users_and_ends_when_it_is_told_to(system: System) -> None:
    before = live(system, "email-copy")
    other = another(system, "email-copy")
    said = system.cli("publish", "email-copy", "--revision", other, "--canary", "40%").stdout
    assert f"on trial: email-copy@{other} for 40% of the users" in said

    def revision(user: str) -> str:
        body = {**CHAT, "max_tokens": 1, "user": user}
        return httpx.post(f"{system.gateway_url}/v1/chat/completions", json=body, timeout=60).headers[REVISION_HEADER]

    users = [f"user {number}" for number in range(30)]
    seen = [revision(user) for user in users]
    assert set(seen) == {before, other}
    assert [revision(user) for user in users] == seen
    assert f"40% {other}" in system.cli("personas").stdout
    system.cli("rollback", "email-copy")
    assert {revision(user) for user in users} == {before}
    assert "withdraw" in system.cli("history", "email-copy").stdout


def test_followers_of_the_news_hear_of_a_new_revision(system: System) -> None:
    with httpx.stream("GET", f"{system.gateway_url}/events", timeout=60) as news:
        assert news.headers["content-type"].startswith("text/event-stream")
        lines = news.iter_lines()
        next(lines)
        now = live(system, "email-copy")
        other = another(system, "email-copy")
        system.cli("publish", "email-copy", "--revision", other)
        item = json.loads(next(line for line in lines if line.startswith("data:")).removeprefix("data:"))
    assert (item["kind"], item["persona"], item["revision"], item["previous"]) == ("live", "email-copy", other, now)
    assert item["text"] == "A new revision of Email copywriter just went live."
    system.cli("rollback", "email-copy", now)
    assert re.search(r'understudy_publishes_total\{action="rollback",persona="email-copy"\} [1-9]', system.metrics())


def refused(system: System, adapter: Path) -> str:
    """Publishes a bad adapter; returns what the person reads, after checking that nothing changed."""
    before = live(system, "email-copy")
    answer = ask(system)
    done = system.cli("publish", "email-copy", str(adapter), check=False)
    assert done.returncode == 1, done.stdout
    assert live(system, "email-copy") == before
    assert ask(system) == answer
    assert open_registry(system.settings).history("email-copy")[0].action == "reject"
    return done.stderr


def ask(system: System) -> str:
    body = {"model": "email-copy", "messages": [{"role": "user", "content": "Write about a kite."}], "temperature": 0}
    response = httpx.post(f"{system.gateway_url}/v1/chat/completions", json=body, timeout=60)
    return response.json()["choices"][0]["message"]["content"]


def test_an_adapter_with_nan_never_reaches_the_engine(system: System, tmp_path: Path) -> None:
    weights = tensors()
    next(iter(weights.values()))[0, 0] = np.nan
    assert "refused by validation" in refused(system, make_adapter(tmp_path, weights))


def test_an_adapter_that_does_nothing_is_caught_by_the_probe(system: System, tmp_path: Path) -> None:
    weights = {n: v if "lora_A" in n else np.zeros_like(v) for n, v in tensors().items()}
    assert "the adapter has no effect" in refused(system, make_adapter(tmp_path, weights))


def test_an_adapter_that_babbles_is_caught_by_the_probe(system: System, tmp_path: Path) -> None:
    message = refused(system, make_adapter(tmp_path, tensors(scale=10.0, module="mlp.down_proj")))
    assert "refused by probe" in message


def test_publishing_what_is_live_changes_nothing(system: System) -> None:
    done = system.cli("publish", "email-copy", "--revision", live(system, "email-copy"))
    assert "is live already" in done.stdout


def test_an_unknown_persona_or_revision_is_one_clear_line(system: System) -> None:
    done = system.cli("publish", "poet", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: poet has no revision yet")
    done = system.cli("publish", "email-copy", "--revision", "0000", check=False)
    assert "email-copy has no revision 0000; revisions there are:" in done.stderr
