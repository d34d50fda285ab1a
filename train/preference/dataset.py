"""Rows of preferences for a trainer: which ones can be used, and checks of prompts, ends and splits."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from train.model.loss_mask import IGNORED, TokenRow, check_stop_trained
from train.model.plain_text import check_rows
from train.model.tokenize import TrainingRow, token_rows
from understudy.config.preference import PreferenceMethod
from understudy.data.messages import Message
from understudy.data.preferences import Label, PreferencePair, labels_of
from understudy.errors import TrainingError

Row = PreferencePair | Label


@dataclass(frozen=True)
class Prepared:
    """The rows that can be used, by side of the split, and how many were left out."""

    train: list[Row]
    heldout: list[Row]
    longest: int
    """Tokens of the longest prompt with its answer."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Number of rows by reason."""


def answers_of(row: Row) -> list[tuple[Message, ...]]:
    """Return the answers of a row, the chosen one of a pair first."""
    return [row.completion] if isinstance(row, Label) else [row.chosen, row.rejected]


def prepare(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    stops: set[int],
    *,
    max_length: int,
    kept: Collection[str] = (),
) -> Prepared:
    """Check every row as the trainer will see it, and return those that can be used.

    Two kinds are left out and counted: rows with an answer over `max_length` tokens (prompt included), and rows whose
    chosen answer was cut off when it was sampled (it would teach the model to break off).

    Args:
        kept: prompts that must not be trained on, such as the recipe's held-out ones.

    Raises:
        TrainingError: an answer is both chosen and rejected; a prompt is on both sides of the split, or trained on and
            among `kept`; or prompts or ends are not as they are served.
    """
    _check_answers(rows)
    _check_sides(rows, kept)
    check_rows(_flat(rows), tokenizer, "row")
    left_out: dict[str, int] = {}
    fitting: list[Row] = []
    longest = 0
    for row, tokens in zip(rows, _in_tokens(rows, tokenizer), strict=True):
        check_stop_trained([one.labels for one in tokens], stops)
        length = max(len(one.input_ids) for one in tokens)
        reason = "too long" if length > max_length else "cut off" if _cut_off(row, tokens[0]) else ""
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        longest = max(longest, length)
        fitting.append(row)
    train = [row for row in fitting if row.side == "train"]
    if not train:
        raise TrainingError("no preference is left to train on; collect more votes, or raise max_length")
    return Prepared(train, [row for row in fitting if row.side == "heldout"], longest, left_out)


def in_form(method: PreferenceMethod, rows: Sequence[Row]) -> list[Row]:
    """Return the rows in the form that `method` learns from: for KTO, pairs become labels.

    Raises:
        TrainingError: there are only labels, and the method needs pairs.
    """
    pairs = [row for row in rows if isinstance(row, PreferencePair)]
    labels = [row for row in rows if isinstance(row, Label)]
    if method == "kto":
        return [*labels, *labels_of(pairs)]
    if labels:
        raise TrainingError(f"method {method} needs pairs of answers, found labels; use method kto, or export pairs")
    return list(pairs)


def chat(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages as TRL and chat templates read them."""
    return [message.chat() for message in messages]


def pairs_of(rows: Sequence[Row]) -> list[PreferencePair]:
    """Return the pairs; labels are paired, every wanted with every unwanted answer to the same prompt."""
    pairs = [row for row in rows if isinstance(row, PreferencePair)]
    labels = [row for row in rows if isinstance(row, Label)]
    for good in (label for label in labels if label.label):
        pairs += [
            PreferencePair(prompt=good.prompt, chosen=good.completion, rejected=bad.completion, split=good.side)
            for bad in labels
            if not bad.label and bad.prompt == good.prompt
        ]
    return pairs


def tokens_of(
    pairs: Sequence[PreferencePair], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[TokenRow], list[TokenRow]]:
    """Return the chosen and the rejected answers in tokens, in the order of the pairs."""
    found = _in_tokens(pairs, tokenizer)
    return [chosen for chosen, _ in found], [rejected for _, rejected in found]


def check_made(made: Iterable[dict[str, Any]], rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> None:
    """Check, before the first step, what the trainer actually made of the rows; their order does not matter.

    Raises:
        TrainingError: its tokens, or where its answers begin, are not those of the chat template.
    """
    expected = Counter(
        (tuple(one.input_ids), one.labels.count(IGNORED)) for tokens in _in_tokens(rows, tokenizer) for one in tokens
    )
    found: Counter[tuple[tuple[int, ...], int]] = Counter()
    for row in made:
        prompt = row.get("prompt_ids", [])
        answers = [row[name] for name in ("chosen_ids", "rejected_ids", "completion_ids") if name in row]
        found.update((tuple(prompt) + tuple(answer), len(prompt)) for answer in answers)
    if all(not begins for _, begins in found):  # reward models read whole chats
        expected = Counter({(tokens, 0): count for (tokens, _), count in expected.items()})
    if found != expected:
        raise TrainingError(
            f"{(expected - found).total()} of {expected.total()} answers are not in the trainer's rows as the chat "
            "template writes them; "
            "please report this with the base's name"
        )


def _in_tokens(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[list[TokenRow]]:
    flat = _flat(rows)
    made = iter(token_rows(flat, tokenizer))
    return [[next(made) for _ in answers_of(row)] for row in rows]


def _flat(rows: Sequence[Row]) -> list[TrainingRow]:
    """Return one row for each answer."""
    return [
        TrainingRow(prompt=chat(row.prompt), completion=chat(answer), origin=number)
        for number, row in enumerate(rows, 1)
        for answer in answers_of(row)
    ]


def _check_answers(rows: Sequence[Row]) -> None:
    for number, row in enumerate(rows, 1):
        if isinstance(row, PreferencePair) and row.chosen == row.rejected:
            raise TrainingError(f"row {number}: its answer is chosen and rejected; take the row out")


def _check_sides(rows: Sequence[Row], kept: Collection[str]) -> None:
    trained = {_key(row) for row in rows if row.side == "train"}
    both = trained & {_key(row) for row in rows if row.side == "heldout"}
    if both:
        raise TrainingError(f"{len(both)} prompts are trained on and held out, {min(both)!r} for one; split by prompt")
    leaks = trained & {_same(prompt) for prompt in kept}
    if leaks:
        raise TrainingError(
            f"{len(leaks)} prompts are held out by the recipe and trained on, {min(leaks)!r} for one; "
            "set their split to heldout, or scores will flatter"
        )


def _cut_off(row: Row, wanted: TokenRow) -> bool:
    limits = [vote.sampling.get("max_tokens") for vote in row.votes]
    most = min((limit for limit in limits if isinstance(limit, int)), default=0)
    length = sum(label != IGNORED for label in wanted.labels) - 1  # without the end of turn
    return bool(most) and length >= most and not (isinstance(row, Label) and not row.label)


def _key(row: Row) -> str:
    return _same("\n".join(message.content for message in row.prompt))


def _same(prompt: str) -> str:
    return " ".join(prompt.split()).casefold()
