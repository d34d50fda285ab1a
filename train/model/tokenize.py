"""Before training: what the model will see, which tokens carry the loss, and whether it learns to stop."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from understudy.data.examples import Example
from understudy.errors import TrainingError

IGNORED = -100
"""The label of a token that carries no loss (PyTorch's cross_entropy ignore_index)."""


@dataclass(frozen=True)
class TrainingRow:
    """One row as TRL gets it: chat messages before the answer, and the answer."""

    prompt: list[dict[str, str]]
    completion: list[dict[str, str]]
    origin: int
    """Number of the example it comes from, counted from 1."""


@dataclass(frozen=True)
class TokenRow:
    """One row in tokens; `labels` is IGNORED outside the answer."""

    input_ids: list[int]
    labels: list[int]
    origin: int


def training_rows(examples: Sequence[Example]) -> list[TrainingRow]:
    """One row for each assistant message, with everything before it as its prompt.

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
    """The rows as the chat template writes them, exactly as the served model will be prompted.

    Raises:
        TrainingError: the tokenizer has no chat template, or the template writes the prompt of a row
            differently once the answer follows (the model would be trained on prompts it never meets).
    """
    if not tokenizer.chat_template:
        raise TrainingError(
            "the base's tokenizer has no chat template, so prompts would be continued instead of answered; "
            "use the base's instruct or chat version"
        )
    return [_tokens(row, tokenizer) for row in rows]


def _tokens(row: TrainingRow, tokenizer: PreTrainedTokenizerBase) -> TokenRow:
    prompt = _render(tokenizer, row.prompt, add_generation_prompt=True)
    full = _render(tokenizer, row.prompt + row.completion, add_generation_prompt=False)
    if full[: len(prompt)] != prompt:
        raise TrainingError(
            f"example {row.origin}: the chat template writes the prompt differently when an answer follows; "
            "use a base whose template keeps prompts as they are"
        )
    return TokenRow(full, [IGNORED] * len(prompt) + full[len(prompt) :], row.origin)


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], *, add_generation_prompt: bool
) -> list[int]:
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, add_generation_prompt=add_generation_prompt
    )
    assert not isinstance(rendered, (str, list))
    return list(rendered["input_ids"])


def check_lengths(rows: Sequence[TokenRow], max_length: int, source: Path) -> None:
    """Refuses rows over `max_length` tokens: a cut row loses its end of turn and teaches endless answers.

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


def check_stop_trained(labels: Sequence[Sequence[int]], stops: set[int]) -> None:
    """Refuses rows in which no end-of-turn token carries loss; such a model never stops.

    Args:
        labels: what the trainer will use, one sequence a row.
        stops: ids of the tokens that end an answer when it is served.

    Raises:
        TrainingError: naming the first such row.
    """
    for number, row in enumerate(labels, 1):
        trained = [label for label in row if label != IGNORED]
        if not trained:
            raise TrainingError(f"row {number}: no token of its answer carries loss; check the row and max_length")
        if not stops.intersection(trained[-3:]):
            raise TrainingError(
                f"row {number}: the end-of-turn token (one of {sorted(stops)}) is not trained, "
                "so the answers would never stop; "
                "use a base whose chat template ends an answer with its eos token"
            )


def check_masks(made: Sequence[TokenRow], expected: Sequence[TokenRow]) -> None:
    """Refuses when the trainer's own rows and loss masks are not the expected ones.

    Raises:
        TrainingError: naming the first row that differs.
    """
    if len(made) != len(expected):
        raise TrainingError(f"the trainer made {len(made)} rows of {len(expected)}; please report this")
    for number, (row, wanted) in enumerate(zip(made, expected, strict=True), 1):
        if row.input_ids != wanted.input_ids or row.labels != wanted.labels:
            raise TrainingError(
                f"row {number}: the trainer's tokens or loss mask are not those of the chat template; "
                "please report this with the base's name"
            )
