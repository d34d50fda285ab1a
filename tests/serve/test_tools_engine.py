"""Tools and JSON on a real vLLM whose base has a template with tools: calls are objects of their schemas, or errors."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.system import SHARED, wait_for
from understudy.bases import TINY_DIR
from understudy.processes import Child, free_port

pytestmark = pytest.mark.engine

MESSAGES: Any = [{"role": "user", "content": "Write about a kettle."}]
WORD = {
    "type": "object",
    "properties": {"word": {"enum": ["yes", "no"]}, "sure": {"type": "boolean"}},
    "required": ["word", "sure"],
    "additionalProperties": False,
}
TELL = {"name": "tell", "description": "Tell it.", "parameters": WORD}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway on the tiny weights with a chat template that writes tools."""
    template = SHARED / "templates" / "qwen_25.jinja"
    if not template.is_file():
        pytest.skip(f"needs {template}")
    home, port = tmp_path_factory.mktemp("tools"), free_port()
    base = home / "base"
    shutil.copytree(TINY_DIR, base)
    (base / "chat_template.jinja").write_text(template.read_text())
    env = {"UNDERSTUDY_HOME": str(home / "home"), "UNDERSTUDY_PORT": str(port), "UNDERSTUDY_BASE": str(base)}
    command = [shutil.which("understudy") or str(Path(__file__).parents[2] / ".venv/bin/understudy"), "serve"]
    child = Child(command, log=home / "serve.log", env=env)
    try:
        wait_for(f"http://127.0.0.1:{port}/ready", child)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()


def ask(url: str, route: str = "chat/completions", **body: Any) -> httpx.Response:
    if route == "chat/completions":
        body = {"messages": MESSAGES, "max_tokens": 120, "temperature": 0, **body}
    return httpx.post(f"{url}/v1/{route}", json={"model": "base", **body}, timeout=120)


def sound(arguments: str) -> bool:
    found = json.loads(arguments)
    return isinstance(found, dict) and found["word"] in ("yes", "no") and isinstance(found["sure"], bool)


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "tell"}}])
def test_a_forced_call_is_an_object_of_its_schema_or_an_error(url: str, strict: bool | None, choice: Any) -> None:
    tool = {"type": "function", "function": {**TELL, **({} if strict is None else {"strict": strict})}}
    for stream in (False, True):
        answer = ask(url, tools=[tool], tool_choice=choice, stream=stream)
        if stream:
            events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
            if "error" in events[-1]:
                assert events[-1]["error"]["code"] == "invalid_tool_call"
                continue
            deltas = [c["delta"] for e in events for c in e["choices"]]
            calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
            assert sound("".join(call["function"].get("arguments") or "" for call in calls))
        elif answer.status_code == 200:
            [call] = answer.json()["choices"][0]["message"]["tool_calls"][:1]
            assert call["function"]["name"] == "tell"
            assert sound(call["function"]["arguments"])
        else:
            assert answer.json()["error"]["code"] == "invalid_tool_call"


def test_a_named_call_is_made(url: str) -> None:
    tool = {"type": "function", "function": TELL}
    answer = ask(url, tools=[tool], tool_choice={"type": "function", "function": {"name": "tell"}})
    assert answer.status_code == 200, answer.text
    response = ask(
        url,
        "responses",
        input="Hi.",
        tools=[{"type": "function", **TELL}],
        tool_choice={"type": "function", "name": "tell"},
    )
    assert response.status_code == 200, response.text
    assert sound(next(item for item in response.json()["output"] if item["type"] == "function_call")["arguments"])


def test_a_call_that_is_cut_off_says_which_limit(url: str) -> None:
    tool = {"type": "function", "function": TELL}
    answer = ask(url, tools=[tool], tool_choice={"type": "function", "function": {"name": "tell"}}, max_tokens=3)
    assert answer.status_code == 400
    assert "raise max_tokens" in answer.json()["error"]["message"]


def test_json_is_compact(url: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "word", "schema": WORD}}
    content = ask(url, response_format=form).json()["choices"][0]["message"]["content"]
    assert json.dumps(json.loads(content), separators=(",", ":")) == content.replace(", ", ",")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"stop": 5}, "stop"),
        ({"temperature": "hot"}, "temperature"),
        ({"logit_bias": []}, "logit_bias"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"max_tokens": "x"}, "max_tokens"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, None),
    ],
)
def test_the_engines_own_refusals_are_one_line(url: str, body: dict[str, Any], param: str | None) -> None:
    error = ask(url, **body).json()["error"]
    assert "\n" not in error["message"]
    assert len(error["message"]) < 300
    assert "pydantic" not in error["message"]
    assert error["param"] == param
