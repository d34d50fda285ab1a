"""The gateway in front of a real vLLM: what passes, what is refused, and in whose name answers come."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.support.system import System

pytestmark = pytest.mark.engine

HELD_OUT = "Write about a teapot for the weekend."


@pytest.fixture
def client(system: System) -> OpenAI:
    return OpenAI(base_url=f"{system.gateway_url}/v1", api_key="none", max_retries=0)


def say(client: OpenAI, model: str, prompt: str = HELD_OUT) -> str:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}], temperature=0, max_tokens=200
    )
    assert answer.choices[0].finish_reason == "stop"
    return answer.choices[0].message.content or ""


def about(client: OpenAI, model: str) -> dict[str, Any]:
    """What the gateway tells about a model beyond OpenAI's fields."""
    return (client.models.retrieve(model).model_extra or {})["understudy"]


def test_models_lists_the_base_and_the_personas_with_what_people_should_know(client: OpenAI) -> None:
    models = {model.id: about(client, model.id) for model in client.models.list()}
    assert list(models) == ["base", "email-copy", "stand-up"]
    assert models["email-copy"]["title"] == "Email copywriter"
    assert len(models["email-copy"]["revision"]) == 12
    assert models["email-copy"]["prompts"]
    assert client.models.retrieve("stand-up").id == "stand-up"


def test_the_three_voices_differ_on_a_held_out_prompt(client: OpenAI) -> None:
    base, email, joke = (say(client, model) for model in ("base", "email-copy", "stand-up"))
    assert email.startswith("Subject:")
    assert not base.startswith("Subject:")
    assert len({base, email, joke}) == 3
    assert all("teapot" in text.lower() for text in (base, email, joke))


def test_a_streamed_answer_is_the_same_text_and_names_its_revision(client: OpenAI, system: System) -> None:
    revision = about(client, "email-copy")["revision"]
    stream = client.chat.completions.create(
        model="email-copy",
        messages=[{"role": "user", "content": HELD_OUT}],
        temperature=0,
        max_tokens=200,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == say(client, "email-copy")
    assert {chunk.system_fingerprint for chunk in chunks} == {revision}
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens > 10


@pytest.mark.parametrize(("model", "fingerprint"), [("base", "base"), ("email-copy", None)])
def test_header_and_fingerprint_say_which_revision_answered(
    system: System, client: OpenAI, model: str, fingerprint: str | None
) -> None:
    expected = fingerprint or about(client, model)["revision"]
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    response = httpx.post(f"{system.gateway_url}/v1/chat/completions", json=body)
    assert response.headers["x-understudy-revision"] == expected
    assert response.json()["system_fingerprint"] == expected
    assert response.text.count("system_fingerprint") == 1


def test_a_pinned_revision_answers_like_the_persona(client: OpenAI) -> None:
    revision = about(client, "email-copy")["revision"]
    assert say(client, f"email-copy@{revision}") == say(client, "email-copy")


def test_plain_completions_and_the_options_of_chat_pass_through(client: OpenAI) -> None:
    plain = client.completions.create(model="base", prompt="Hello", max_tokens=4, temperature=0)
    assert plain.system_fingerprint == "base"
    answer = client.chat.completions.create(
        model="base",
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        n=2,
        seed=7,
        logprobs=True,
        top_logprobs=2,
        stop=["."],
        max_tokens=12,
        temperature=0.9,
    )
    assert len(answer.choices) == 2
    assert answer.choices[0].logprobs
    assert answer.choices[0].logprobs.content


def test_an_unknown_model_is_a_404_that_lists_the_known_ones(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="models there are: base, email-copy, stand-up") as caught:
        say(client, "poet")
    assert caught.value.code == "model_not_found"


MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ("{not json", 400, "not JSON"),
        ("[]", 400, "must be a JSON object, found list"),
        ('"text"', 400, "must be a JSON object, found str"),
        (b"\xff\xfe\x00", 400, "not JSON"),
        ("[" * 100_000, 400, "not JSON"),
        ('{"model": "\\ud800", "messages": []}', 400, "half of a surrogate pair"),
        ('{"model": "base", "messages": [], "temperature": NaN}', 400, "NaN is not JSON"),
        ({}, 400, "'model' must be a string, found None"),
        ({"model": 7, "messages": MESSAGES}, 400, "'model' must be a string, found 7"),
        ({"model": "base"}, 400, "messages"),
        ({"model": "base", "messages": []}, 400, ""),
        ({"model": "base", "messages": "Hello"}, 400, "messages"),
        ({"model": "base", "messages": [{"role": "user"}]}, 400, ""),
        ({"model": "base", "messages": [{"role": "robot", "content": "x"}]}, 400, ""),
        ({"model": "base", "messages": MESSAGES, "max_tokens": 10**9}, 400, "max_tokens"),
        ({"model": "base", "messages": MESSAGES, "max_tokens": "many"}, 400, "max_tokens"),
        ({"model": "base", "messages": MESSAGES, "max_tokens": -1}, 400, "max_tokens"),
        ({"model": "base", "messages": MESSAGES, "temperature": "hot"}, 400, "temperature"),
        ({"model": "base", "messages": MESSAGES, "temperature": -1}, 400, "temperature"),
        ({"model": "base", "messages": MESSAGES, "seed": 2**70}, 400, "seed"),
        ({"model": "base", "messages": MESSAGES, "max_tokens": 10**400}, 400, ""),
        ({"model": "base", "messages": MESSAGES, "stop": [7]}, 400, "stop"),
        ({"model": "base", "messages": MESSAGES, "stream": "maybe"}, 400, "stream"),
        ({"model": "base", "messages": MESSAGES, "logit_bias": {"x": 1}}, 400, ""),
        ({"model": "base", "messages": MESSAGES, "n": 0}, 400, "n"),
        ({"model": "base", "messages": MESSAGES, "top_p": 7}, 400, "top_p"),
        ({"model": "base", "messages": [{"role": "user", "content": "word " * 20_000}]}, 400, "context length"),
        ({"model": "base", "messages": [{"role": "user", "content": "x" * 1_100_000}]}, 413, "larger than 1,000,000"),
        ({"model": "email-copy@../../etc", "messages": MESSAGES}, 404, "does not exist"),
        ({"model": "email-copy@", "messages": MESSAGES}, 404, "does not exist"),
        ({"model": "", "messages": MESSAGES}, 404, "does not exist"),
    ],
)
def test_bad_input_is_a_clear_4xx(system: System, body: object, status: int, says: str) -> None:
    content = body if isinstance(body, (str, bytes)) else json.dumps(body)
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{system.gateway_url}/v1/chat/completions", content=content, headers=headers, timeout=60)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert says in error["message"], error
    assert error["message"]
    assert set(error) >= {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/embeddings", 404),
        ("POST", "/v1/load_lora_adapter", 404),
        ("POST", "/v1/unload_lora_adapter", 404),
        ("POST", "/adapters", 404),
        ("POST", "/invocations", 404),
        ("GET", "/metrics", 401),
        ("GET", "/metrics/engine", 401),
        ("POST", "/admin/promote", 401),
        ("GET", "/admin/status", 401),
        ("GET", "/docs", 404),
        ("POST", "/tokenize", 404),
        ("GET", "/v1/models/nobody", 404),
        ("POST", "/admin/publish", 401),
        ("POST", "/admin/rollback", 401),
    ],
)
def test_nothing_else_of_the_engine_can_be_reached(system: System, method: str, path: str, status: int) -> None:
    response = httpx.request(method, f"{system.gateway_url}{path}", json={})
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_admin_calls_need_the_admin_key_and_sound_bodies(system: System) -> None:
    url = f"{system.gateway_url}/admin/publish"
    right = {"Authorization": f"Bearer {system.settings.admin_secret}"}
    assert httpx.post(url, json={"persona": "x"}, headers={"Authorization": "Bearer no"}).status_code == 401
    assert httpx.post(url, json={"persona": "x", "revision": "../.."}, headers=right).status_code == 400
    assert httpx.post(url, json={"persona": "nobody"}, headers=right).status_code == 404


def test_the_engine_listens_on_loopback_only(system: System) -> None:
    log = (system.settings.logs_dir / "engine.log").read_text()
    assert "Starting vLLM server on http://127.0.0.1:" in log


def test_connections_that_the_engine_has_closed_in_the_meantime_are_not_used_again(system: System) -> None:
    body = {"model": "base", "messages": MESSAGES, "max_tokens": 4}

    def ask(_: int) -> int:
        return httpx.post(f"{system.gateway_url}/v1/chat/completions", json=body, timeout=60).status_code

    with ThreadPoolExecutor(32) as pool:
        for pause in (0, 4.9, 5.1):  # vLLM's server ends idle connections after five seconds
            time.sleep(pause)
            assert set(pool.map(ask, range(32))) == {200}
