"""Finds out what of a conversation the base's chat template writes: what it has no place for never reaches the model.

A conversation of the same shape, with marks in the place of texts, is rendered as transformers would; a mark that does
not come out has no place. Shapes are few, so each is rendered once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from understudy.bases import Base, pinned
from understudy.data.control_tokens import control_tokens

FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json", "tokenizer.json")
MAX_SHAPES = 1024


@dataclass(frozen=True)
class TurnShape:
    """What one message is made of, without its texts."""

    role: str
    content: bool = True
    calls: bool = False
    """Whether it calls tools."""
    name: bool = False


class ChatTemplate:
    """The base's chat template, and the texts that its tokenizer reads as control tokens."""

    def __init__(self, source: str, *, tool_source: str = "", special: Sequence[str] = ()) -> None:
        """`tool_source` is the one for requests with tools, where the base has two."""
        self.controls = control_tokens(special, source)
        self._source, self._tool_source = source, tool_source or source
        self.variables = _variables(self._source) | _variables(self._tool_source)
        """Names that a request can set by `chat_template_kwargs`."""
        self.missing = lru_cache(MAX_SHAPES)(self._missing)
        """See `_missing`."""

    def _missing(self, turns: tuple[TurnShape, ...], tools: bool) -> tuple[str, ...]:
        """What has no place: `tools`, and `N.content`, `N.calls` or `N.name` of turn N. Empty where all has, or where
        the template cannot be rendered here: vLLM then says why."""
        messages = [_marked(number, turn) for number, turn in enumerate(turns)]
        offered = [_marked_tool()] if tools else None
        written = _render(self._tool_source if tools else self._source, messages, offered)
        if written is None:
            return ()
        missing = ["tools"] if tools and not ("zqtoolname" in written and "zqtoolfield" in written) else []
        for number, turn in enumerate(turns):
            parts = (("content", turn.content), ("calls", turn.calls), ("name", turn.name))
            missing += [f"{number}.{part}" for part, there in parts if there and f"zq{part}{number}z" not in written]
        return tuple(missing)


def chat_template(base: Base) -> ChatTemplate | None:
    """Reads the base's template from its folder or the Hub's cache; None where there is none to read."""
    found = {name: text for name in FILES if (text := _read(base, name))}
    config = _object(found.get("tokenizer_config.json", ""))
    source: Any = found.get(FILES[0]) or _object(found.get(FILES[1], "")).get("chat_template")
    source = source or config.get("chat_template")
    tool_source = ""
    if isinstance(source, list):  # several by name: vLLM takes `tool_use` for requests with tools
        named = {one.get("name"): one.get("template") for one in source if isinstance(one, dict)}
        source, tool_source = named.get("default"), named.get("tool_use") or ""
    if not isinstance(source, str) or not isinstance(tool_source, str):
        return None
    added = _object(found.get("tokenizer.json", "")).get("added_tokens")
    rows = [row for row in added if isinstance(row, dict)] if isinstance(added, list) else []
    special = [str(row.get("content", "")) for row in rows if row.get("special")]
    return ChatTemplate(source, tool_source=tool_source, special=special)


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}`, by which training marks the answer; it writes nothing itself."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """As transformers has it (`utils/chat_template_utils.py`)."""
    extensions = [GenerationTag, jinja2.ext.loopcontrols]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: "1 January 2026"}
    return environment


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _render(source: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str | None:
    """Returns what the template writes; None where it refuses or needs what is not known here."""
    try:
        template = _environment().from_string(source)
        values = {"messages": messages, "tools": tools, "add_generation_prompt": True, "bos_token": "", "eos_token": ""}
        return template.render(**values)
    except Exception:  # the template is code of the base's author; vLLM renders it, too, and refuses by its own words
        return None


def _variables(source: str) -> frozenset[str]:
    try:
        return frozenset(jinja2.meta.find_undeclared_variables(_environment().parse(source)))
    except jinja2.TemplateError:
        return frozenset()


def _marked(number: int, turn: TurnShape) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": f"zqcontent{number}z" if turn.content else ""}
    if turn.calls:
        function = {"name": f"zqcalls{number}z", "arguments": {"zqargument": "zq"}}
        message["tool_calls"] = [{"id": "call000000", "type": "function", "function": function}]
    if turn.name:
        message["name"] = f"zqname{number}z"
    if turn.role == "tool":
        message["tool_call_id"] = "call000000"
    return message


def _marked_tool() -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"zqtoolfield": {"type": "string", "description": "zq"}}}
    function = {"name": "zqtoolname", "description": "zqtooldescription", "parameters": parameters}
    return {"type": "function", "function": function}


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read(base: Base, name: str) -> str:
    try:
        return _place(base, name).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _place(base: Base, name: str) -> Path:
    """The file in the base's folder, or in the Hub's cache, where the engine has put it. Raises OSError."""
    if base.local:
        return Path(base.location) / name
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(base.location, name, revision=pinned(base).get("revision"))
    if not isinstance(found, str):
        raise FileNotFoundError(name)
    return Path(found)
