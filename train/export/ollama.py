"""Writes an Ollama Modelfile. Ollama renders chats by a Go template (https://docs.ollama.com/modelfile)."""

import re
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

SAMPLING: Mapping[str, tuple[str, float]] = {
    "temperature": ("temperature", 1.0),
    "top_p": ("top_p", 1.0),
    "top_k": ("top_k", 0),
    "min_p": ("min_p", 0.0),
    "repetition_penalty": ("repeat_penalty", 1.0),
}
"""Ollama's name of each of vLLM's sampling parameters, and what switches it off. That is what vLLM does with what
nobody says; Ollama would sample by defaults of its own (temperature 0.8, top_k 40, top_p 0.9, repeat_penalty 1.1)."""

Render = Callable[[list[dict[str, str]]], str]
"""A chat template: messages to the text of the prompt, ready for an answer."""

TEXT_END = re.compile(r'"""\s*[\r\n]')

PROBE = [{"role": "user", "content": "U1"}, {"role": "assistant", "content": "A1"}, {"role": "user", "content": "U2"}]


def modelfile(
    model: str,
    adapter: str | None,
    *,
    render: Render,
    generation: Mapping[str, Any],
    stop: str,
    context: int,
    persona: Mapping[str, Any] | None = None,
) -> str:
    """The text of a Modelfile for a GGUF model and adapter that lie beside it.

    Args:
        render: the base's own chat template: messages to the prompt's text.
        generation: the base's generation_config.json.
        stop: the token that ends a turn.
        context: tokens that prompt and answer may have together.
        persona: the sampling that the persona's card says; it goes before the base's.

    Raises:
        AdapterError: the base's chat template is not ChatML, the one form that is written here, or a Modelfile cannot
            hold its system turn.
    """
    system = default_system(render)
    lines = [f"FROM ./{model}"]
    lines += [f"ADAPTER ./{adapter}"] if adapter else []
    lines += [f'TEMPLATE """{CHATML}"""', f'PARAMETER stop "{_readable("end of turn", stop)}"']
    said = {name: value for one in (generation, persona or {}) for name, value in one.items() if value is not None}
    lines += [f"PARAMETER {name} {value}" for name, value in parameters(said, context).items()]
    lines += [f'SYSTEM """{_readable("system turn", system)}"""'] if system else []
    return "\n".join(lines) + "\n"


def parameters(said: Mapping[str, Any], context: int) -> dict[str, float]:
    """Ollama's parameters, by its names, for what a persona and its base say of sampling."""
    found: dict[str, float] = {"num_ctx": context}
    found |= {theirs: said.get(ours, off) for ours, (theirs, off) in SAMPLING.items()}
    found["top_k"] = max(0, int(found["top_k"]))  # vLLM also says -1 for none
    found["repeat_last_n"] = context  # vLLM looks back over the whole chat, Ollama over 64 tokens
    return found | ({"num_predict": int(said["max_tokens"])} if "max_tokens" in said else {})


def _readable(what: str, text: str) -> str:
    """The text, if Ollama reads it from quotes as it is.

    Its parser (parser/parser.go) knows no escapes: a value ends at quotes that end a line, and characters that Go does
    not print are left out.

    Raises:
        AdapterError: it would read another text.
    """
    if TEXT_END.search(text):
        raise AdapterError(f'its {what} has """ at the end of a line, where a Modelfile ends a text; export it as gguf')
    lost = next((one for one in text if not one.isprintable() and one not in "\n\r\t"), "")
    if lost:
        raise AdapterError(f"its {what} has U+{ord(lost):04X}, which Ollama leaves out of a text; export it as gguf")
    return text


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
