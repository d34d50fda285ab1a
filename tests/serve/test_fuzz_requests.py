"""Any body is passed or refused in one line; whatever turns are passed come out of the template."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.http.errors import HttpRefusalError
from serve.openai_api.chat_template import chat_template
from serve.openai_api.check import check_request
from serve.openai_api.engine_fields import FIELDS
from tests.support.broken_adapters import json_values
from understudy.bases import resolve_base

TEXTS = st.sampled_from(["", "Hi.", "<|end|>", "x" * 50, "\x1b[0m"])
PARTS = st.dictionaries(
    st.sampled_from(["type", "text", "image_url"]), TEXTS | st.just("text") | json_values, max_size=3
)
CONTENTS = TEXTS | st.lists(PARTS, max_size=2) | json_values
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "x"])
KEYS = st.sampled_from(["tool_calls", "name", "images", "type", "call_id", "output", "refusal"])
TURNS = st.builds(
    lambda r, c, m: {"role": r, "content": c, **m}, ROLES, CONTENTS, st.dictionaries(KEYS, json_values, max_size=2)
)
TOOLS = st.lists(
    st.builds(
        lambda n, p: {"type": "function", "name": n, "function": {"name": n, "parameters": p}}, TEXTS, json_values
    )
    | json_values,
    max_size=2,
)
OTHERS = st.sampled_from(
    ["guided_json", "best_of", "stop", "tool_choice", "text", "reasoning", "chat_template_kwargs", "x"]
)


TINY = chat_template(resolve_base("tiny"))


def refusal(route: str, body: dict[str, Any]) -> HttpRefusalError | None:
    try:
        check_request(route, body, TINY)
    except HttpRefusalError as error:
        return error
    return None


@pytest.mark.fuzz
@given(
    route=st.sampled_from(list(FIELDS)),
    turns=st.lists(TURNS, max_size=3) | json_values,
    tools=st.none() | TOOLS,
    others=st.dictionaries(OTHERS, json_values, max_size=2),
)
def test_a_body_is_passed_or_refused_in_one_line(route: str, turns: Any, tools: Any, others: dict[str, Any]) -> None:
    where = {"/v1/chat/completions": "messages", "/v1/responses": "input"}.get(route, "prompt")
    body = {"model": "poet", where: turns, **others, **({} if tools is None or where == "prompt" else {"tools": tools})}
    refused = refusal(route, body)
    if refused is not None:
        assert refused.status == 400
        assert "\n" not in refused.message
        return
    assert not (isinstance(tools, list) and tools and where != "prompt" and others.get("tool_choice") != "none")
    assert all(others[name] is None for name in ("guided_json", "best_of", "x") if name in others)
    if where == "messages":
        assert {turn["role"] for turn in turns if turn["content"]} <= {"system", "user", "assistant"}
        assert "<|end|>" not in str(turns)
