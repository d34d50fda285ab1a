"""The proof pack's words: what is observed of an adapter, and what a recipe asks of it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ContestantName = Literal["base", "few-shot", "adapter"]


COMPARED = 8
"""Held-out prompts whose greedy answers by vLLM are compared with those by transformers."""
COMPARED_TOKENS = 48
"""Tokens of such an answer."""


class CodeThresholds(BaseModel):
    """What the code in the answers must show (`proof: {code: ...}`), for recipes that teach code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parses: float = Field(default=0.9, ge=0, le=1)
    """Least share of answers with code that parses."""
    runs: float = Field(default=0.5, ge=0, le=1)
    """Least share of answers whose code runs to its end in the sandbox."""
    chrf: float = Field(default=0.0, ge=0, le=100)
    """Least likeness (chrF) of the code to the data's own."""


class Thresholds(BaseModel):
    """What an adapter must show on held-out prompts to pass (`proof:` in a recipe). Shares are from 0 to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_style: float = Field(default=0.8, ge=0, le=1)
    """Least share of answers that a classifier takes for the persona's."""
    stopped: float = Field(default=0.9, ge=0, le=1)
    """Least share of answers that end by themselves."""
    on_topic: float = Field(default=0.8, ge=0, le=1)
    """Least share of answers that name what was asked about, where the held-out rows say what that is."""
    copied: float = Field(default=0.1, ge=0, le=1)
    """Largest share of answers that are training answers to other prompts, whole or nearly."""
    echoes: float = Field(default=0.1, ge=0, le=1)
    """Largest share of answers that begin by repeating the prompt."""
    degenerate: float = Field(default=0.05, ge=0, le=1)
    """Largest share of answers that are empty, babble, a loop, or a template's marks."""
    forgetting: float = Field(default=1.0, ge=0)
    """Largest rise of the loss on the base's own plain text, in nats per token."""
    memorised: float = Field(default=0.5, ge=0, le=1)
    """Largest share of training rows whose answers it gives word for word when asked their prompts."""
    parity: float = Field(default=0.1, ge=0)
    """Largest rise of the held-out loss from the base as it was trained on (NF4, 8 bit) to the base as it is served."""
    acts: float = Field(default=0.1, ge=0, le=1)
    """Least share of answers through vLLM that are not the base's."""
    served: float = Field(default=0.5, ge=0, le=1)
    """Least share of tokens in which vLLM's answers are transformers', before they part."""
    code: CodeThresholds | None = None
    """What the code in the answers must show; none: the answers are not code, and none of it is run."""


class Asked(BaseModel):
    """One row: what is asked and how the data answer it."""

    model_config = ConfigDict(frozen=True)

    prompt: str
    """The whole conversation before the answer, its messages in lines of their own."""
    answer: str
    topic: str | None = None


class Said(BaseModel):
    """One answer of a contestant."""

    model_config = ConfigDict(frozen=True)

    text: str
    stopped: bool
    """It ended by itself, and was not cut off."""
    tokens: int
    ids: tuple[int, ...] = ()
    """Its tokens, without the one that ends it; empty where nobody kept them."""


class Heard(BaseModel):
    """What one contestant said to the held-out prompts, and how likely it finds the data's answers."""

    model_config = ConfigDict(frozen=True)

    answers: list[Said]
    losses: list[float]
    """Nats per token of the data's answer, by row."""
    shots: int = 0
    """Training prompts with their answers that it was shown before each prompt."""


class Served(BaseModel):
    """What an own vLLM said to the first held-out prompts, greedily."""

    model_config = ConfigDict(frozen=True)

    base: list[Said] = []
    """Empty for a full fine-tune, whose engine has no other base."""
    adapter: list[Said] = []
    problem: str = ""
    """Why it could not be asked; empty if it could."""


class Skill(BaseModel):
    """One question that the base can answer, and who still answers it rightly."""

    model_config = ConfigDict(frozen=True)

    prompt: str
    base: bool
    adapter: bool


class Testimony(BaseModel):
    """Everything observed of one adapter, from which the verdict follows; saved whole, so that it can be reread."""

    model_config = ConfigDict(frozen=True)

    recipe: str
    base: str
    revision: str
    """Of the adapter's content."""
    heldout: list[Asked]
    training: list[Asked]
    base_on_training: list[Said]
    """What the base says to the training prompts: the other side of the style classifier."""
    adapter_on_training: list[Said]
    """What the adapter says to them: what it knows by heart."""
    heard: dict[ContestantName, Heard]
    training_losses: list[float]
    """The adapter's on its own training rows, in nats per token of the answer."""
    plain_losses: dict[Literal["base", "adapter"], list[float]]
    """On plain text that the base wrote itself, in nats per token."""
    as_trained_losses: list[float] | None
    """The adapter's on held-out rows over the base as it was quantised in training; None where it was not."""
    skills: list[Skill]
    seconds: float
    method: str = ""
    """How the adapter was trained (`understudy.training.Method`); `full` is no adapter; empty where it is not known."""
    served: Served | None = None
    """None where vLLM was not asked."""
    greedy: dict[Literal["base", "adapter"], list[Said]] = {}
    """How greedy answers by transformers to the first held-out prompts begin: what vLLM's are compared with."""
