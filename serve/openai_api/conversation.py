"""Reads the turns of a request, of /v1/chat/completions or /v1/responses, and refuses what never reaches the model."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serve.http.errors import HttpRefusalError
from serve.openai_api.chat_template import ChatTemplate, TurnShape
from understudy.data.control_tokens import found_token

ROLES = ("system", "developer", "user", "assistant", "tool")
ITEMS = ("message", "function_call", "function_call_output", "reasoning")
TEXTS = ("text", "input_text", "output_text", "refusal")
MEDIA = (
    *("image_url", "input_image", "image_embeds", "image_pil", "input_audio", "audio_url", "audio_embeds"),
    *("video_url", "file", "input_file"),
)
"""Parts that vLLM reads where the base does; for a text model it refuses them."""

MESSAGE_FIELDS = frozenset(
    {
        *("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "annotations", "reasoning"),
        *("reasoning_content", "id", "type", "status", "phase"),
    }
)
PART_FIELDS = frozenset(["type", "annotations", "logprobs", "cache_control"])
"""Of a part that is text; what is there beside the text changes no answer."""
INSTEAD = {
    "function_call": "use tool_calls",
    "images": "use content parts of the type image_url",
    "prefix": "use continue_final_message",
    "partial": "use continue_final_message",
}


@dataclass(frozen=True)
class RequestTurn:
    """One turn and where in the request it stands."""

    where: str
    shape: TurnShape
    texts: tuple[str, ...]


def chat_turns(messages: object) -> list[RequestTurn]:
    """Reads `messages`. Raises HttpRefusalError naming the message that is none."""
    if not isinstance(messages, list) or not messages:
        raise HttpRefusalError(400, "'messages' must be a list with at least one message", param="messages")
    return [_message(message, f"messages[{number}]") for number, message in enumerate(messages)]


def response_turns(body: Mapping[str, Any]) -> list[RequestTurn]:
    """Reads `instructions` and `input` of /v1/responses. Raises HttpRefusalError naming the item that is none."""
    turns, asked = [], body.get("input")
    if isinstance(instructions := body.get("instructions"), str) and instructions:
        turns.append(RequestTurn("instructions", TurnShape("system"), (instructions,)))
    if isinstance(asked, str):
        return [*turns, RequestTurn("input", TurnShape("user"), (asked,))]
    if not isinstance(asked, list) or not asked:
        raise HttpRefusalError(400, f"'input' must be a text or a list of items, found {_found(asked)}", param="input")
    return turns + [turn for number, item in enumerate(asked) for turn in _item(item, f"input[{number}]")]


def check_reaches_model(turns: list[RequestTurn], tools: bool, template: ChatTemplate) -> None:
    """Refuses turns that the chat template has no place for, and texts that would become control tokens.

    Raises:
        HttpRefusalError: naming the turn, or `tools`.
    """
    for turn in turns:
        for text in turn.texts:
            if token := found_token(text, template.controls):
                raise HttpRefusalError(
                    400,
                    f"{turn.where} holds {token!r}, which the base reads as a control token: it would end the turn; "
                    "write it otherwise, or ask /v1/completions",
                    param=turn.where,
                )
    missing = template.missing(tuple(turn.shape for turn in turns), tools)
    if not missing:
        return
    if missing[0] == "tools":
        raise HttpRefusalError(
            400,
            "the base's chat template has no place for tools, so they would not reach the model; leave 'tools' out, "
            "describe them in a message, or ask a base whose template has them",
            param="tools",
        )
    number, _, part = missing[0].partition(".")
    turn = turns[int(number)]
    what = {"content": f"the role {turn.shape.role!r} there", "calls": "tool_calls", "name": "a 'name'"}[part]
    raise HttpRefusalError(
        400,
        f"{turn.where}: the base's chat template has no place for {what}, so it would not reach the model; "
        f"{'leave it out or write it into the text' if part == 'name' else 'write it as a user message'}",
        param=turn.where if part == "content" else f"{turn.where}.{'tool_calls' if part == 'calls' else 'name'}",
    )


def _message(message: object, where: str) -> RequestTurn:
    if isinstance(message, dict) and message.get("role") == "function":
        raise HttpRefusalError(400, f"{where}: the role 'function' is no longer read; use 'tool'", param=where)
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise HttpRefusalError(400, f"{where} must be an object with a role of {', '.join(ROLES)}", param=where)
    role, calls, name = message["role"], message.get("tool_calls"), message.get("name")
    for key, value in message.items():
        if key not in MESSAGE_FIELDS and value not in (None, [], {}, False):
            instead = INSTEAD.get(key, "leave it out")
            text = f"{where}.{key[:80]} is not read here and would have no effect; {instead}"
            raise HttpRefusalError(400, text, param=f"{where}.{key[:80]}")
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        text = f"{where}.refusal does not reach the model; write what was said into 'content'"
        raise HttpRefusalError(400, text, param=f"{where}.refusal")
    texts = _texts(message.get("content"), where)
    if not texts and (role != "assistant" or (not calls and message.get("content") is None)):
        raise HttpRefusalError(400, f"{where} ({role}) has no content", param=where)
    named = bool(name) and role not in ("tool",)
    shape = TurnShape(role, content=any(texts), calls=bool(_calls(calls, where)), name=named)
    said = [json.dumps(calls, ensure_ascii=False)] if calls else []
    return RequestTurn(where, shape, (*texts, *said, *((name,) if isinstance(name, str) else ())))


def _item(item: object, where: str) -> Iterator[RequestTurn]:
    kind = (item.get("type") or ("message" if "role" in item else None)) if isinstance(item, dict) else None
    if not isinstance(item, dict) or kind not in ITEMS:
        found = f"an item of the type {kind!r:.60}" if isinstance(kind, str) else _found(item)
        raise HttpRefusalError(400, f"{where} is {found}; it must be one of {', '.join(ITEMS)}", param=where)
    if kind == "message":
        turn = _message(item, where)
        parts = item.get("content")
        if turn.shape.role == "assistant" and isinstance(parts, list) and len(parts) > 1:
            text = f"{where}: only the first part of an earlier answer is read; join its {len(parts)} parts into one"
            raise HttpRefusalError(400, text, param=f"{where}.content")
        yield turn
    elif kind == "function_call":
        said = json.dumps(item, ensure_ascii=False)
        yield RequestTurn(where, TurnShape("assistant", content=False, calls=True), (said,))
    elif kind == "function_call_output":
        output = item.get("output")
        texts = _texts(output, where)
        if not isinstance(output, str):
            raise HttpRefusalError(400, f"{where}.output must be a text, found {_found(output)}", param=where)
        yield RequestTurn(where, TurnShape("tool", content=bool(output)), texts)


def _texts(content: object, where: str) -> tuple[str, ...]:
    """The texts of a content, which is a text or a list of parts. Raises HttpRefusalError."""
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (content,)
    if not isinstance(content, list):
        found = f"{where}.content must be a text or a list of parts, found {_found(content)}"
        raise HttpRefusalError(400, found, param=f"{where}.content")
    texts = []
    for number, part in enumerate(content):
        place = f"{where}.content[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, dict) and kind in TEXTS:
            key = "refusal" if kind == "refusal" else "text"
            if not isinstance(part.get(key), str):
                text = f"{place}.{key} must be a text, found {_found(part.get(key))}"
                raise HttpRefusalError(400, text, param=f"{place}.{key}")
            unread = [name for name, value in part.items() if name not in PART_FIELDS | {key} and value is not None]
            if unread:
                text = f"{place}.{unread[0][:80]} is not read here and would have no effect; leave it out"
                raise HttpRefusalError(400, text, param=f"{place}.{unread[0][:80]}")
            texts.append(part[key])
        elif kind not in MEDIA:
            found = f"the type {kind!r:.60}" if isinstance(part, dict) else _found(part)
            text = f'{place} must be an object such as {{"type": "text", "text": "…"}}, found {found}'
            raise HttpRefusalError(400, text, param=place)
        else:
            texts.append("")
    return tuple(texts)


def _calls(calls: object, where: str) -> list[Any]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        text = f"{where}.tool_calls must be a list, found {_found(calls)}"
        raise HttpRefusalError(400, text, param=f"{where}.tool_calls")
    return calls


def _found(value: object) -> str:
    """What was sent, in short."""
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, list(value)[:3])) or 'nothing'}"[:100]
    return f"a list of {len(value)}" if isinstance(value, list) else f"{value!r:.60}"
