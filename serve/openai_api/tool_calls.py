"""Tools: which a request offers, and whether the engine's calls of them are objects of their schemas."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from serve.http.errors import HttpRefusalError
from serve.openai_api.fields import CHAT

UNCHECKED = ("pattern", "patternProperties")
"""Regular expressions of a client are run by the engine's grammar only: Python's `re` may never end."""


@dataclass(frozen=True)
class OfferedTool:
    """One function that the model may call."""

    name: str
    schema: Mapping[str, Any]
    strict: bool


def offered_tools(route: str, body: Mapping[str, Any]) -> list[OfferedTool]:
    """The tools that the model may call; none when `tool_choice` is none.

    Raises:
        HttpRefusalError: a tool is no function, or its parameters are no JSON schema.
    """
    tools = body.get("tools")
    if tools is None or (route != CHAT and tools == []):
        return []
    if not isinstance(tools, list) or not tools:
        raise HttpRefusalError(400, f"'tools' must be a list of functions, found {tools!r:.60}", param="tools")
    offered = [_tool(route, tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    return [] if body.get("tool_choice") == "none" else offered


class ToolCallCheck:
    """Checks the calls in one answer, whole or streamed."""

    def __init__(self, route: str, body: Mapping[str, Any], tools: list[OfferedTool]) -> None:
        self._chat, self._tools = route == CHAT, {tool.name: tool for tool in tools}
        choice = body.get("tool_choice")
        self._forced = choice == "required" or (isinstance(choice, dict) and choice.get("type") == "function")
        self._streamed: dict[int, dict[int, dict[str, str]]] = defaultdict(dict)
        self._ends: dict[int, str] = {}
        self._last: dict[str, Any] = {}

    def refusal(self, document: bytes) -> HttpRefusalError | None:
        """Why a whole answer cannot be passed on; None when it can."""
        answer = _parsed(document)
        return self._judge(list(self._calls_of(answer))) if answer else None

    def read(self, events: bytes) -> None:
        """Notes what whole events of a stream say."""
        for line in events.split(b"\n"):
            if not line.startswith(b"data: {"):
                continue
            event = _parsed(line.removeprefix(b"data: "))
            if not self._chat and event.get("type") in ("response.completed", "response.incomplete"):
                self._last = event.get("response") or {}
            for choice in event.get("choices") or () if self._chat else ():
                self._read_choice(choice)

    def stream_refusal(self) -> HttpRefusalError | None:
        """As `refusal`, of the stream that was read."""
        if not self._chat:
            return self._judge(list(self._calls_of(self._last))) if self._last else None
        choices = self._streamed.keys() | self._ends.keys()
        return self._judge([(list(self._streamed[n].values()), self._ends.get(n, "")) for n in sorted(choices)])

    def _read_choice(self, choice: dict[str, Any]) -> None:
        number = choice.get("index", 0)
        if choice.get("finish_reason"):
            self._ends[number] = choice["finish_reason"]
        for call in (choice.get("delta") or {}).get("tool_calls") or ():
            known = self._streamed[number].setdefault(call.get("index", 0), {"name": "", "arguments": ""})
            function = call.get("function") or {}
            known["name"] += function.get("name") or ""
            known["arguments"] += function.get("arguments") or ""

    def _calls_of(self, answer: dict[str, Any]) -> Iterator[tuple[list[dict[str, str]], str]]:
        """The calls of each choice, and how the choice ended (`length`: at the limit)."""
        if not self._chat:
            calls = [item for item in answer.get("output") or () if item.get("type") == "function_call"]
            incomplete = (answer.get("incomplete_details") or {}).get("reason") == "max_output_tokens"
            yield calls, "length" if incomplete else "stop"
            return
        for choice in answer.get("choices") or ():
            calls = [call["function"] for call in (choice.get("message") or {}).get("tool_calls") or ()]
            yield calls, choice.get("finish_reason") or ""

    def _judge(self, choices: list[tuple[list[dict[str, str]], str]]) -> HttpRefusalError | None:
        for calls, end in choices:
            problem = next(filter(None, map(self._wrong, calls)), "")
            if not calls and self._forced:
                problem = "the model called no tool, although 'tool_choice' requires one"
            if problem and end == "length":
                limit = "max_tokens" if self._chat else "max_output_tokens"
                text = f"{problem}: the answer reached its limit of tokens; raise {limit}"
                return HttpRefusalError(400, text, param=limit, code="invalid_tool_call")
            if problem:
                return HttpRefusalError(502, f"{problem}; ask again, or ask another model", code="invalid_tool_call")
        return None

    def _wrong(self, call: dict[str, str]) -> str:
        """What is wrong with one call; empty when nothing is."""
        name = call.get("name") or ""
        tool = self._tools.get(name)
        if tool is None:
            return f"the model called {name!r:.60}, which is none of the tools"
        arguments = _parsed((call.get("arguments") or "").encode(), none=None)
        if not isinstance(arguments, dict):
            return f"the model's call of {name!r} has arguments that are no JSON object"
        if not (self._forced or tool.strict):
            return ""
        error = next(_validator(tool.schema).iter_errors(arguments), None)
        return f"the model's call of {name!r} does not fit its schema ({error.message:.120})" if error else ""


def _tool(route: str, tool: object, where: str) -> OfferedTool:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or kind != "function":
        found = f"type {kind!r:.60}" if isinstance(tool, dict) else f"{tool!r:.60}"
        text = f"{where} has {found}; only functions can be called here, by you: there is no tool of our own"
        raise HttpRefusalError(400, text, param=where)
    function = tool.get("function") if route == CHAT else tool
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        place = f"{where}.function" if route == CHAT else where
        raise HttpRefusalError(400, f"{place} must be an object with a 'name'", param=place)
    schema = function.get("parameters")
    if schema is None:
        schema = {"type": "object"}
    if not isinstance(schema, dict):
        raise HttpRefusalError(400, f"{where}: 'parameters' must be a JSON schema, found {schema!r:.60}", param=where)
    try:
        Draft202012Validator.check_schema(schema)
        next(_validator(schema).iter_errors({}), None)
    except SchemaError as error:
        text = f"{where}: its parameters are no JSON schema: {error.message:.200}"
        raise HttpRefusalError(400, text, param=where) from None
    except (Unresolvable, RecursionError) as error:
        text = f"{where}: its parameters refer to what is not in them ({type(error).__name__})"
        raise HttpRefusalError(400, text, param=where) from None
    return OfferedTool(function["name"], schema, function.get("strict") is True)


def _validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """Never fetches what a schema refers to elsewhere."""
    return Draft202012Validator(_without_patterns(schema), registry=Registry())


def _without_patterns(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_patterns(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _without_patterns(value) for key, value in schema.items() if key not in UNCHECKED}
    if "patternProperties" in schema:  # what it allows cannot be told without it
        kept.pop("additionalProperties", None)
        kept.pop("unevaluatedProperties", None)
    return kept


def _parsed(data: bytes, none: Any = {}) -> Any:  # noqa: B006
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return none
    return found if isinstance(found, dict) else none
