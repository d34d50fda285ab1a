"""Publishing on a real engine: no request fails, no answer mixes revisions, and bad candidates change nothing."""

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI

from tests.adapters_made_here import make_adapter, tensors
from tests.conftest import Stage
from understudy.registry import open_registry

pytestmark = pytest.mark.engine

STREAMS = 16


def live(stage: Stage, persona: str) -> str:
    return httpx.get(f"{stage.gateway_url}/v1/models/{persona}").json()["understudy"]["revision"]


async def stream_until(stage: Stage, done: asyncio.Event, seen: list[set[str]], failures: list[str]) -> None:
    """Streams answer after answer, noting which revisions each one names."""
    client = AsyncOpenAI(base_url=f"{stage.gateway_url}/v1", api_key="none", max_retries=0)
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
def test_publishing_a_retrained_persona_under_16_streams_fails_none_of_them(stage: Stage) -> None:
    old = live(stage, "email-copy")
    stage.cli("train", "email-copy", "--seed", "1")

    async def scenario() -> tuple[list[set[str]], list[str]]:
        done, seen, failures = asyncio.Event(), [], []
        streams = [asyncio.create_task(stream_until(stage, done, seen, failures)) for _ in range(STREAMS)]
        await asyncio.sleep(2)
        await asyncio.to_thread(stage.cli, "publish", "email-copy")
        before_flip = len(seen)
        while len(seen) < before_flip + 2 * STREAMS:
            await asyncio.sleep(0.1)
        done.set()
        await asyncio.gather(*streams)
        return seen, failures

    seen, failures = asyncio.run(scenario())
    new = live(stage, "email-copy")
    assert new != old
    assert failures == []
    assert {frozenset(s) for s in seen} == {frozenset({old}), frozenset({new})}, "an answer named two revisions"
    history = stage.cli("history", "email-copy").stdout
    assert new in history
    assert "publish" in history

    stage.cli("rollback", "email-copy")
    assert live(stage, "email-copy") == old


def test_the_old_revision_is_unloaded_after_its_last_answer(stage: Stage) -> None:
    first = live(stage, "stand-up")
    stage.cli("train", "stand-up", "--seed", "1")
    stage.cli("publish", "stand-up")
    body = {"model": f"stand-up@{first}", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    for _ in range(50):
        if httpx.post(f"{stage.gateway_url}/v1/chat/completions", json=body).status_code == 404:
            break
    else:
        raise AssertionError("the old revision can still be called")
    stage.cli("rollback", "stand-up", first)
    assert live(stage, "stand-up") == first


def refused(stage: Stage, adapter: Path) -> str:
    """Publishes a bad adapter; returns what the person reads, after checking that nothing changed."""
    before = live(stage, "email-copy")
    answer = ask(stage)
    done = stage.cli("publish", "email-copy", str(adapter), check=False)
    assert done.returncode == 1, done.stdout
    assert live(stage, "email-copy") == before
    assert ask(stage) == answer
    assert open_registry(stage.settings).history("email-copy")[0].action == "reject"
    return done.stderr


def ask(stage: Stage) -> str:
    body = {"model": "email-copy", "messages": [{"role": "user", "content": "Write about a kite."}], "temperature": 0}
    response = httpx.post(f"{stage.gateway_url}/v1/chat/completions", json=body, timeout=60)
    return response.json()["choices"][0]["message"]["content"]


def test_an_adapter_with_nan_never_reaches_the_engine(stage: Stage, tmp_path: Path) -> None:
    weights = tensors()
    next(iter(weights.values()))[0, 0] = np.nan
    assert "refused by validation" in refused(stage, make_adapter(tmp_path, weights))


def test_an_adapter_that_does_nothing_is_caught_by_the_probe(stage: Stage, tmp_path: Path) -> None:
    weights = {n: v if "lora_A" in n else np.zeros_like(v) for n, v in tensors().items()}
    assert "the adapter does not act" in refused(stage, make_adapter(tmp_path, weights))


def test_an_adapter_that_babbles_is_caught_by_the_probe(stage: Stage, tmp_path: Path) -> None:
    message = refused(stage, make_adapter(tmp_path, tensors(scale=10.0, module="mlp.down_proj")))
    assert "refused by probe" in message


def test_publishing_what_is_live_changes_nothing(stage: Stage) -> None:
    done = stage.cli("publish", "email-copy", "--revision", live(stage, "email-copy"))
    assert "is live already" in done.stdout


def test_an_unknown_persona_or_revision_is_one_clear_line(stage: Stage) -> None:
    done = stage.cli("publish", "poet", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: poet has no revision yet")
    done = stage.cli("publish", "email-copy", "--revision", "0000", check=False)
    assert "email-copy has no revision 0000; revisions there are:" in done.stderr
