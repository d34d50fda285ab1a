"""Which tokens of a row carry loss: those of the answer, its end-of-turn token included, and no others."""

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.errors import TrainingError

IGNORED = -100
"""The label of a token that carries no loss (PyTorch's cross_entropy ignore_index)."""


@dataclass(frozen=True)
class TokenRow:
    """One row in tokens; `labels` is IGNORED outside the answer."""

    input_ids: list[int]
    labels: list[int]
    origin: int
    """Number of the example it comes from, counted from 1."""


def masked(prompt: list[int], full: list[int], origin: int) -> TokenRow:
    """Return the row `full`, whose first tokens are `prompt`, with the loss on everything after the prompt.

    Raises:
        TrainingError: `full` does not begin with `prompt`, so the model would be trained on prompts that it is never
            served.
    """
    if full[: len(prompt)] != prompt:
        raise TrainingError(
            f"example {origin}: the chat template writes the prompt differently when an answer follows; "
            "use a base whose template keeps prompts as they are"
        )
    return TokenRow(full, [IGNORED] * len(prompt) + full[len(prompt) :], origin)


def check_stop_trained(labels: Sequence[Sequence[int]], stops: set[int]) -> None:
    """Refuse rows in which no end-of-turn token carries loss: such a model never stops.

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
    """Refuse to train when the trainer's own rows and loss masks are not the expected ones.

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
