"""Writes an Ollama Modelfile. Ollama renders chats by a Go template (https://docs.ollama.com/modelfile)."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from understudy.errors import AdapterError

CHATML = """\
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}
{{- range .Messages }}
{{- if ne .Role "system" }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}
{{- end }}<|im_start|>assistant
"""
"""ChatML in Go: every turn of a chat between its marks, then the start of the answer."""

SAMPLING = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "repetition_penalty": "repeat_penalty"}
"""Names in generation_config.json, and Ollama's."""

Render = Callable[[list[dict[str, str]]], str]
"""A chat template: messages to the text of the prompt, ready for an answer."""

PROBE = [{"role": "user", "content": "U1"}, {"role": "assistant", "content": "A1"}, {"role": "user", "content": "U2"}]


def modelfile(
    model: str, adapter: str | None, *, render: Render, generation: Mapping[str, Any], stop: str, context: int
) -> str:
    """The text of a Modelfile for a GGUF model and adapter that lie beside it.

    Args:
        render: the base's own chat template: messages to the prompt's text.
        generation: the base's generation_config.json.
        stop: the token that ends a turn.
        context: tokens that prompt and answer may have together.

    Raises:
        AdapterError: the base's chat template is not ChatML, the one form that is written here.
    """
    system = default_system(render)
    lines = [f"FROM ./{model}"]
    lines += [f"ADAPTER ./{adapter}"] if adapter else []
    lines += [f'TEMPLATE """{CHATML}"""', f"PARAMETER stop {json.dumps(stop)}", f"PARAMETER num_ctx {context}"]
    found = ((theirs, generation.get(ours)) for ours, theirs in SAMPLING.items())
    lines += [f"PARAMETER {name} {value}" for name, value in found if value is not None]
    lines += [f'SYSTEM """{system}"""'] if system else []
    return "\n".join(lines) + "\n"


def default_system(render: Render) -> str:
    """The system turn that a ChatML template adds where a chat has none; empty if it adds none.

    Raises:
        AdapterError: the template is not ChatML.
    """
    head, mark, _ = render(PROBE).partition("<|im_start|>user\nU1<|im_end|>\n")
    start, end = "<|im_start|>system\n", "<|im_end|>\n"
    system = head[len(start) : -len(end)] if head.startswith(start) and head.endswith(end) else ""
    if not mark or (head and not system) or chatml(PROBE, system) != render(PROBE):
        raise AdapterError("its chat template is not ChatML; Ollama and the browser page need ChatML here")
    return system


def chatml(messages: list[dict[str, str]], system: str = "") -> str:
    """A chat in ChatML as the Go template above renders it; `system` is used where the chat has no system turn."""
    own = next((turn["content"] for turn in messages if turn["role"] == "system"), system)
    turns = [{"role": "system", "content": own}] if own else []
    turns += [turn for turn in messages if turn["role"] != "system"]
    return "".join(f"<|im_start|>{t['role']}\n{t['content']}<|im_end|>\n" for t in turns) + "<|im_start|>assistant\n"
