"""Checks a request before it goes to the engine: its fields, turns and tools, and their places in the chat template."""

import json
from collections.abc import Mapping
from typing import Any

from serve.http.errors import HttpRefusalError
from serve.openai_api.chat_template import ChatTemplate
from serve.openai_api.conversation import chat_turns, check_reaches_model, response_turns
from serve.openai_api.fields import CHAT, RESPONSES, check_fields
from serve.openai_api.tool_calls import ToolCallCheck, offered_tools
from understudy.data.control_tokens import found_token


def check_request(route: str, body: Mapping[str, Any], template: ChatTemplate | None) -> ToolCallCheck | None:
    """Refuses what the engine would ignore or misread; returns how its calls of tools are checked, if it may call any.

    `template` is the base's; None where it is not here: places in it are then not checked.

    Raises:
        HttpRefusalError: 400, naming the field or the turn.
    """
    check_fields(route, body)
    if route not in (CHAT, RESPONSES):
        return None
    tools = offered_tools(route, body)
    turns = chat_turns(body.get("messages")) if route == CHAT else response_turns(body)
    if template is not None:
        if tools and (token := found_token(json.dumps(body["tools"], ensure_ascii=False), template.controls)):
            raise HttpRefusalError(400, f"tools hold {token!r}, which the base reads as a control token", param="tools")
        _check_template_values(body, template)
        check_reaches_model(turns, bool(tools), template)
    return ToolCallCheck(route, body, tools) if tools else None


def _check_template_values(body: Mapping[str, Any], template: ChatTemplate) -> None:
    """Refuses values for the chat template that it does not use."""
    values = body.get("chat_template_kwargs")
    wanted = {f"chat_template_kwargs.{name}": name for name in values} if isinstance(values, dict) else {}
    if body.get("documents"):
        wanted["documents"] = "documents"
    reasoning = body.get("reasoning")
    efforts = {
        "reasoning_effort": body.get("reasoning_effort"),
        "reasoning.effort": reasoning.get("effort") if isinstance(reasoning, dict) else None,
    }
    wanted |= {field: "reasoning_effort" for field, effort in efforts.items() if effort not in (None, "none")}
    for field, name in wanted.items():
        if name not in template.variables:
            text = f"{field[:80]!r}: the base's chat template does not use it, so it would have no effect; leave it out"
            raise HttpRefusalError(400, text, param=field[:80])
