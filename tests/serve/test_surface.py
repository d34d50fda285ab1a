"""The surface of the door on a real vLLM: OpenAI's options work or are refused, and no input breaks it."""

import json
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openai import BadRequestError, OpenAI
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serve.http.openapi import PASSED
from tests.support.system import System

pytestmark = pytest.mark.engine

MESSAGES: Any = [{"role": "user", "content": "Write about a kettle."}]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ONE_WORD = {
    "type": "object",
    "properties": {"word": {"enum": ["yes", "no"]}},
    "required": ["word"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "tell", "parameters": ONE_WORD}}


@pytest.fixture
def client(system: System) -> OpenAI:
    return OpenAI(base_url=f"{system.gateway_url}/v1", api_key="none", max_retries=0)


def test_a_json_schema_binds_the_answer(client: OpenAI) -> None:
    schema = {"type": "string", "enum": ["yes", "no"]}
    answer = client.chat.completions.create(
        model="email-copy",
        messages=MESSAGES,
        max_tokens=12,
        response_format={"type": "json_schema", "json_schema": {"name": "word", "schema": schema}},
    )
    assert json.loads(answer.choices[0].message.content or "") in ("yes", "no")


@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "tell"}}])
def test_tools_that_the_template_has_no_place_for_are_refused(client: OpenAI, choice: Any) -> None:
    """Calls on a base whose template has one: test_tools_engine.py."""
    with pytest.raises(BadRequestError, match="no place for tools"):
        client.chat.completions.create(model="email-copy", messages=MESSAGES, tools=[TOOL], tool_choice=choice)


def test_an_error_of_the_engine_names_the_persona_that_was_asked(client: OpenAI) -> None:
    picture: Any = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}]
    with pytest.raises(BadRequestError, match="email-copy is not a multimodal model"):
        client.chat.completions.create(model="email-copy", messages=[{"role": "user", "content": picture}])


def test_the_same_seed_gives_the_same_words_and_n_gives_several(client: OpenAI) -> None:
    def words(seed: int) -> list[str | None]:
        answer = client.chat.completions.create(
            model="stand-up", messages=MESSAGES, seed=seed, n=3, temperature=1.2, max_tokens=12
        )
        return [choice.message.content for choice in answer.choices]

    assert len(words(1)) == 3
    assert words(1) == words(1)
    assert words(1) != words(2)


def test_stop_words_and_logprobs_are_honoured_in_a_stream(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="email-copy",
        messages=MESSAGES,
        stop=["Hey"],
        logprobs=True,
        top_logprobs=2,
        temperature=0,
        max_tokens=80,
        stream=True,
    )
    chunks = [chunk for chunk in stream if chunk.choices]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith("Subject:")
    assert "Hey" not in text
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert any(chunk.choices[0].logprobs for chunk in chunks)


@pytest.mark.parametrize("usage", [None, {"include_usage": False}, {"include_usage": True}])
def test_a_stream_tells_its_usage_exactly_when_asked(system: System, usage: dict[str, bool] | None) -> None:
    body = {"model": "base", "messages": MESSAGES, "max_tokens": 3, "stream": True, "stream_options": usage}
    raw = httpx.post(f"{system.gateway_url}/v1/chat/completions", json=body, timeout=60).text
    events = [line.removeprefix("data: ") for line in raw.splitlines() if line]
    told = [json.loads(event) for event in events[:-1] if not json.loads(event)["choices"]]
    assert events[-1] == "[DONE]"
    assert len(told) == (usage or {}).get("include_usage", False)
    assert all(chunk["usage"]["completion_tokens"] == 3 for chunk in told)


def test_responses_are_served_and_labelled(client: OpenAI) -> None:
    answer = client.responses.create(model="email-copy", input="Write about a kettle.", temperature=0)
    assert answer.output_text.startswith("Subject:")
    events = list(client.responses.create(model="email-copy", input="Write about a kite.", temperature=0, stream=True))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text.startswith("Subject:")


def attack(operation: Any, secret: str) -> None:
    """Sends what schemathesis makes of one operation's description."""
    quick = {"max_output_tokens" if operation.path.endswith("/responses") else "max_tokens": 1}

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(case=operation.as_strategy())
    def send(case: schemathesis.Case) -> None:
        if operation.path in PASSED and isinstance(case.body, dict):
            case.body = {**quick, **case.body}
        case.call_and_validate(headers={"Authorization": f"Bearer {secret}"}, checks=CHECKS, timeout=60)

    send()


@pytest.mark.parametrize("key", ["none", "admin"])
def test_nothing_that_our_openapi_allows_breaks_the_gateway(system: System, key: str) -> None:
    """No 5xx but the announced ones, and every answer in the shape that is described."""
    secret = system.settings.admin_secret if key == "admin" else "none"
    schema = schemathesis.openapi.from_url(f"{system.gateway_url}/openapi.json").exclude(path="/events")
    for result in schema.get_all_operations():
        operation = result.ok()  # pyright: ignore[reportAttributeAccessIssue]
        if key == "none" or operation.path not in PASSED:  # an admin key is not one for inference
            attack(operation, secret)
