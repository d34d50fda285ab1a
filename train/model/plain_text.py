"""Rows are plain text: what a base reads as control tokens may stand in its template, never in a row."""

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from train.model.tokenize import TrainingRow
from understudy.data.control_tokens import FOREIGN, control_tokens, found_token
from understudy.data.messages import Example, Message
from understudy.errors import TrainingError


def tokenizer_controls(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    """The texts that this tokenizer, with its chat template, reads as control tokens."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    return control_tokens([*tokenizer.all_special_tokens, *added], template)


def check_plain_text(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, source: Path) -> str:
    """Refuse rows whose text holds the base's control tokens; return a remark on those of other templates.

    Such a text would end its turn and begin another, with loss on what the user says.

    Raises:
        TrainingError: naming the first row and its token.
    """
    controls = tokenizer_controls(tokenizer)
    for number, example in enumerate(examples, 1):
        for message in example.messages:
            require_plain(message, controls, f"{source}: example {number}")
        require_plain_text(str(example.tools) if example.tools else "", controls, f"{source}: example {number}, tools")
    foreign = [
        (number, found[0])
        for number, example in enumerate(examples, 1)
        if (found := FOREIGN.search("\n".join(message.text for message in example.messages)))
    ]
    if not foreign:
        return "none"
    number, token = foreign[0]
    return (
        f"none of this base's; {len(foreign)} rows hold those of other templates, which are learned as text "
        f"({token} in example {number}); take them out if they are leftovers"
    )


def check_rows(rows: Sequence[TrainingRow], tokenizer: PreTrainedTokenizerBase, what: str) -> None:
    """Refuse rows whose text holds the base's control tokens. Raises TrainingError as `check_plain_text` does."""
    controls = tokenizer_controls(tokenizer)
    for row in rows:
        for message in (*row.prompt, *row.completion):
            require_plain(Message.model_validate(message), controls, f"{what} {row.origin}")


def require_plain(message: Message, controls: frozenset[str], where: str) -> None:
    """Refuse a message that holds a control token. Raises TrainingError."""
    require_plain_text(message.text, controls, f"{where}, {message.role}")


def require_plain_text(text: str, controls: frozenset[str], where: str) -> None:
    """Refuse a text that holds a control token. Raises TrainingError."""
    token = found_token(text, controls)
    if token:
        raise TrainingError(
            f"{where}: the text holds {token}, which this base reads as a control token: it would end the turn and "
            "forge the next one; take it out of the row, or write it with a space inside"
        )
