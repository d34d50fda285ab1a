"""What is collected about an adapter: a report card is computed from it, and can be computed again."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

ContestantName = Literal["base", "described", "few-shot", "adapter"]
"""`described` is the base with the persona's description as its system prompt, `few-shot` the base with training rows
before the prompt."""


class EvalExample(BaseModel):
    """One row: a prompt and the data's own answer."""

    model_config = ConfigDict(frozen=True)

    prompt: str
    """The whole conversation before the answer, one message per line."""
    answer: str
    topic: str | None = None


class Generation(BaseModel):
    """One answer of a model."""

    model_config = ConfigDict(frozen=True)

    text: str
    stopped: bool
    """Whether it ended by itself rather than at a limit."""
    tokens: int
    ids: tuple[int, ...] = ()
    """Its tokens without the end token."""


class ModelOutputs(BaseModel):
    """One contestant's answers to the held-out prompts, and its losses on the data's answers."""

    model_config = ConfigDict(frozen=True)

    answers: list[Generation]
    losses: list[float] = []
    """Nats per token of the data's answer, by row; measured for base and adapter only."""
    surprise: list[float | None] = []
    """Nats per token of each answer according to the base; None for an empty answer. Measured for base and adapter
    only: what the base itself samples, with any prompt, never surprises it much."""
    shots: int = 0
    """Training rows before each prompt."""


class GeneralAnswer(BaseModel):
    """One general question, and whether base and adapter answer it correctly."""

    model_config = ConfigDict(frozen=True)

    prompt: str
    base: bool
    """When a plain answer is asked for, in the system prompt."""
    adapter: bool
    base_voiced: bool
    """As people ask the persona: without a system prompt."""
    adapter_voiced: bool


class Helpfulness(BaseModel):
    """Comparisons of the adapter's answers with the base's by readers."""

    model_config = ConfigDict(frozen=True)

    source: str
    """Who compared: `judge NAME` or `people's votes`."""
    outcomes: list[float]
    """By comparison: 1 for the adapter, 0 for the base, 0.5 for a tie."""


class RivalOutputs(BaseModel):
    """Outputs that do not depend on the adapter: collected once and kept beside the runs of a recipe."""

    model_config = ConfigDict(frozen=True)

    key: str
    """`evaluate.collect.Task.key` of what was asked."""
    outputs: dict[ContestantName, ModelOutputs]
    on_training: list[Generation]
    """The base's answers to the training prompts."""
    neutral_losses: list[float]
    """The base's, in nats per token."""
    general: list[bool]
    """Which general questions the base answers correctly."""
    general_voiced: list[bool]
    """The same without a system prompt."""


class EvalRecord(BaseModel):
    """Everything collected about one adapter; saved as a whole, so that a verdict can be computed again."""

    model_config = ConfigDict(frozen=True)

    recipe: str
    base: str
    revision: str
    """Of the adapter's content."""
    heldout: list[EvalExample]
    training: list[EvalExample]
    """The training rows that were asked: all, or a sample of them."""
    rest: list[EvalExample] = []
    """The other training rows."""
    rows: int = 0
    """Training rows in all; 0 in a record of before this was kept."""
    base_on_training: list[Generation]
    """The base's answers to the training prompts: the other class of the style classifier."""
    adapter_on_training: list[Generation]
    """The adapter's answers to the training prompts: what it knows by heart."""
    outputs: dict[ContestantName, ModelOutputs]
    training_losses: list[float]
    """The adapter's on its own training rows, in nats per token of the answer."""
    neutral_losses: dict[Literal["base", "adapter"], list[float]]
    """On neutral texts that no model wrote, in nats per token."""
    as_trained_losses: list[float] | None
    """The adapter's losses on held-out rows over the base as quantised in training; None if it was not quantised."""
    general: list[GeneralAnswer]
    seconds: float
    method: str = ""
    """How the adapter was trained (`understudy.config.training.Method`); `full`: no adapter; empty if unknown."""
    engine: str = ""
    """Where it was asked: `own engine` or `gateway`."""
    helpfulness: Helpfulness | None = None
    """None without comparisons."""
