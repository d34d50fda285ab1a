"""Refuses fields of a request that the engine would ignore although they mean something, and says today's form."""

import difflib
from collections.abc import Mapping
from typing import Any

from serve.http.errors import HttpRefusalError
from serve.openai_api.engine_fields import FIELDS, STRUCTURED_OUTPUTS

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"

WITHOUT_EFFECT = frozenset(
    {
        *("safety_identifier", "user", "metadata", "store", "service_tier"),
        *("prompt_cache_key", "prompt_cache_retention", "prediction"),
    }
)
"""Fields that OpenAI's clients send and that change no answer: who asks, storage, billing, caches."""

STRUCTURED = 'use structured_outputs ({{"{0}": …}}), or response_format'
TODAY = {
    "guided_json": STRUCTURED.format("json"),
    "guided_regex": STRUCTURED.format("regex"),
    "guided_choice": STRUCTURED.format("choice"),
    "guided_grammar": STRUCTURED.format("grammar"),
    "guided_decoding_backend": "use structured_outputs; the backend is the operator's",
    "guided_whitespace_pattern": "use structured_outputs; its output is compact",
    "grammar": STRUCTURED.format("grammar"),
    "json_schema": 'use response_format ({"type": "json_schema", …})',
    "format": "use response_format",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "best_of": "use n and choose among the answers",
    "max_new_tokens": "use max_tokens",
    "max_length": "use max_tokens",
    "num_predict": "use max_tokens",
    "stop_sequences": "use stop",
    "system": "write it as the first message, with the role system",
    "web_search": "there is no web search here",
    "web_search_options": "there is no web search here",
    "plugins": "there are none here",
    "audio": "answers are text only",
    "extra_body": "its fields belong at the top of the body",
    "options": "its fields belong at the top of the body",
    "enable_thinking": 'use chat_template_kwargs ({"enable_thinking": …})',
    "verbosity": "say in a message how long the answer should be",
    "conversation": "conversations are not kept here; send the earlier turns as input",
}
"""What to send instead of fields that are known, but not read."""

BY_ROUTE = {
    CHAT: {
        "max_output_tokens": "use max_tokens",
        "input": "use messages",
        "prompt": "use messages",
        "instructions": "write it as the first message, with the role system",
        "text": "use response_format",
        "reasoning": "use reasoning_effort",
    },
    "/v1/completions": {
        "messages": "ask /v1/chat/completions",
        "tools": "ask /v1/chat/completions",
        "tool_choice": "ask /v1/chat/completions",
        "max_completion_tokens": "use max_tokens",
    },
    RESPONSES: {
        "messages": "use input",
        "max_tokens": "use max_output_tokens",
        "max_completion_tokens": "use max_output_tokens",
        "response_format": 'use text ({"format": …})',
        "reasoning_effort": 'use reasoning ({"effort": …})',
        "n": "ask several times",
    },
}

NESTED = {
    "stream_options": frozenset({"include_usage", "continuous_usage_stats", "include_obfuscation"}),
    "structured_outputs": STRUCTURED_OUTPUTS,
    "text": frozenset({"format"}),
    "reasoning": frozenset({"effort", "summary", "generate_summary"}),
}
"""What is read within a field."""


def check_fields(route: str, body: Mapping[str, Any]) -> None:
    """Refuses a field that means something and would have no effect; one that is null counts as absent.

    Raises:
        HttpRefusalError: naming the field and what to send instead.
    """
    known = FIELDS[route]
    for name, value in body.items():
        if value is None or name in known or name in WITHOUT_EFFECT:
            continue
        if name == "modalities" and value == ["text"]:
            continue
        instead = BY_ROUTE[route].get(name) or TODAY.get(name) or _nearest(name, known)
        raise _unread(name, instead)
    for name, read in NESTED.items():
        value = body.get(name)
        for key, inner in value.items() if isinstance(value, dict) and name in known else ():
            if key not in read and inner is not None and (name, key, inner) != ("text", "verbosity", "medium"):
                raise _unread(f"{name}.{key}", TODAY.get(key) or _nearest(key, read))


def _unread(name: str, instead: str) -> HttpRefusalError:
    shown = f"{name!r:.80}"
    return HttpRefusalError(400, f"{shown} is not read here and would have no effect; {instead}", param=name[:80])


def _nearest(name: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(name[:80], known, 1, cutoff=0.75)
    return f"did you mean {close[0]!r}?" if close else "leave it out"
