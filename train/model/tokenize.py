"""Rows in tokens, exactly as the chat template writes them when the model is served."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from train.model.loss_mask import TokenRow, masked
from understudy.data.messages import Example
from understudy.errors import TrainingError


@dataclass(frozen=True)
class TrainingRow:
    """One row as TRL gets it: the chat messages before the answer, and the answer."""

    prompt: list[dict[str, Any]]
    completion: list[dict[str, Any]]
    origin: int
    """Number of the example it comes from, counted from 1."""
    tools: list[dict[Any, Any]] = field(default_factory=list)
    """Functions that the assistant may call, as JSON schemas."""

    @property
    def plain(self) -> bool:
        """Whether it has neither tools nor calls."""
        return not self.tools and all(m.keys() <= {"role", "content"} for m in (*self.prompt, *self.completion))


def training_rows(examples: Sequence[Example]) -> list[TrainingRow]:
    """Return one row for each assistant message that is to be learned, with everything before it as its prompt.

    So a chat of two turns teaches both answers, with any chat template, and loss never falls on a prompt.
    """
    rows = []
    for number, example in enumerate(examples, 1):
        messages = [m.chat() for m in example.messages]
        for i, message in enumerate(example.messages):
            if message.role == "assistant" and message.weight:
                rows.append(TrainingRow(messages[:i], [messages[i]], number, list(example.tools)))
    return rows


def token_rows(rows: Sequence[TrainingRow], tokenizer: PreTrainedTokenizerBase) -> list[TokenRow]:
    """Return the rows in tokens, with their loss masks.

    Raises:
        TrainingError: the tokenizer has no chat template, the template refuses a row or drops its tools, or it writes
            the prompt of a row differently once the answer follows (the model would be trained on prompts that it is
            never served).
    """
    if not tokenizer.chat_template:
        raise TrainingError(
            "the base's tokenizer has no chat template, so prompts would be continued instead of answered; "
            "use the base's instruct or chat version"
        )
    made = []
    for row in rows:
        if not row.plain:
            _require_tools_written(row, tokenizer)
        prompt = _render(tokenizer, row, row.prompt, add_generation_prompt=True)
        full = _render(tokenizer, row, row.prompt + row.completion, add_generation_prompt=False)
        made.append(masked(prompt, full, row.origin))
    return made


def _render(
    tokenizer: PreTrainedTokenizerBase,
    row: TrainingRow,
    messages: list[dict[str, Any]],
    *,
    add_generation_prompt: bool,
) -> list[int]:
    try:
        rendered = tokenizer.apply_chat_template(
            messages,
            tools=list(row.tools) or None,
            tokenize=True,
            return_dict=True,
            add_generation_prompt=add_generation_prompt,
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise _refused_by_template(row, error) from None
    assert not isinstance(rendered, (str, list))
    return list(rendered["input_ids"])


def _refused_by_template(row: TrainingRow, error: Exception) -> TrainingError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return TrainingError(
        f"example {row.origin}: the base's chat template refuses it ({reason}); change the row or the base"
    )


def _require_tools_written(row: TrainingRow, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a row whose tools, calls or results of tools the chat template leaves out. Raises TrainingError."""
    try:
        text = str(
            tokenizer.apply_chat_template(row.prompt + row.completion, tools=list(row.tools) or None, tokenize=False)
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise _refused_by_template(row, error) from None
    needed = [("tools", tool["function"]["name"]) for tool in row.tools]
    for message in (*row.prompt, *row.completion):
        for call in message.get("tool_calls", []):
            needed.append(("tool calls", call["function"]["name"]))
            needed += [("tool calls", name) for name in call["function"]["arguments"]]
        if message["role"] == "tool":
            needed.append(("results of tools", _as_json(message["content"])))
    plain = _as_json(text)
    missing = next((what for what, part in needed if _as_json(part) not in plain), None)
    if missing:
        raise TrainingError(
            f"example {row.origin}: the base's chat template has no place for its {missing}, so they would be lost; "
            "take them out of the row, or use a base whose template knows tools"
        )


def _as_json(text: str) -> str:
    """The text without what differs between a text and the same text quoted in JSON."""
    return "".join(text.replace("\\n", "").replace("\\", "").replace('"', "").split())


def check_lengths(rows: Sequence[TokenRow], max_length: int, source: Path, *, context: int = 0) -> None:
    """Refuse rows over `max_length` tokens: a cut row loses its end of turn and teaches endless answers.

    Args:
        context: tokens that the base reads at once; 0 when that is not known.

    Raises:
        TrainingError: naming the rows and the longest; or `max_length` is more than the base reads, and rows are, too.
    """
    limit = min(max_length, context) if context else max_length
    long = [row for row in rows if len(row.input_ids) > limit]
    if not long:
        return
    names = ", ".join(str(row.origin) for row in long[:5]) + (" …" if len(long) > 5 else "")
    longest = max(len(row.input_ids) for row in long)
    what = f"max_length {max_length}" if limit == max_length else f"the base's context of {context} tokens"
    remedy = f"or set training.max_length to {longest}"
    if 0 < context < longest:
        remedy = f"or use a base that reads more than {context} tokens"
    raise TrainingError(
        f"{source}: {len(long)} of {len(rows)} rows are longer than {what} "
        f"(example {names}; the longest has {longest} tokens); shorten them {remedy}"
    )
