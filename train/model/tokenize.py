"""Rows in tokens, exactly as the chat template writes them when the model is served."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from train.model.loss_mask import TokenRow, masked
from understudy.data.messages import Example
from understudy.errors import TrainingError


@dataclass(frozen=True)
class TrainingRow:
    """One row as TRL gets it: the chat messages before the answer, and the answer."""

    prompt: list[dict[str, str]]
    completion: list[dict[str, str]]
    origin: int
    """Number of the example it comes from, counted from 1."""


def training_rows(examples: Sequence[Example]) -> list[TrainingRow]:
    """Return one row for each assistant message, with everything before it as its prompt.

    So a chat of two turns teaches both answers, with any chat template, and loss never falls on a prompt.
    """
    rows = []
    for number, example in enumerate(examples, 1):
        messages = [m.model_dump() for m in example.messages]
        for i, message in enumerate(messages):
            if message["role"] == "assistant":
                rows.append(TrainingRow(prompt=messages[:i], completion=[message], origin=number))
    return rows


def token_rows(rows: Sequence[TrainingRow], tokenizer: PreTrainedTokenizerBase) -> list[TokenRow]:
    """Return the rows in tokens, with their loss masks.

    Raises:
        TrainingError: the tokenizer has no chat template, or the template writes the prompt of a row
            differently once the answer follows (the model would be trained on prompts that it is never served).
    """
    if not tokenizer.chat_template:
        raise TrainingError(
            "the base's tokenizer has no chat template, so prompts would be continued instead of answered; "
            "use the base's instruct or chat version"
        )
    return [
        masked(
            _render(tokenizer, row.prompt, add_generation_prompt=True),
            _render(tokenizer, row.prompt + row.completion, add_generation_prompt=False),
            row.origin,
        )
        for row in rows
    ]


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], *, add_generation_prompt: bool
) -> list[int]:
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, add_generation_prompt=add_generation_prompt
    )
    assert not isinstance(rendered, (str, list))
    return list(rendered["input_ids"])


def check_lengths(rows: Sequence[TokenRow], max_length: int, source: Path) -> None:
    """Refuse rows over `max_length` tokens: a cut row loses its end of turn and teaches endless answers.

    Raises:
        TrainingError: naming the rows and the longest.
    """
    long = [row for row in rows if len(row.input_ids) > max_length]
    if long:
        names = ", ".join(str(row.origin) for row in long[:5]) + (" …" if len(long) > 5 else "")
        longest = max(len(row.input_ids) for row in long)
        raise TrainingError(
            f"{source}: {len(long)} of {len(rows)} rows are longer than max_length {max_length} "
            f"(example {names}; the longest has {longest} tokens); "
            f"shorten them or set training.max_length to {longest}"
        )
