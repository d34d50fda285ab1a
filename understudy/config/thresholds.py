"""What an adapter must show to pass `understudy verify` (`proof:` in a recipe)."""

from pydantic import BaseModel, ConfigDict, Field


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
    """What an adapter must show on held-out prompts. Shares are from 0 to 1, losses in nats per token.

    The defaults come from planted failures (docs/training.md, `python -m bench.training.planted_failures`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_style: float = Field(default=0.8, ge=0, le=1)
    """Least share of answers that a classifier takes for the persona's."""
    stopped: float = Field(default=0.9, ge=0, le=1)
    """Least share of answers that end by themselves."""
    on_topic: float = Field(default=0.5, ge=0, le=1)
    """Least share of answers that name what was asked about, where the held-out rows say what that is."""
    surprise: float = Field(default=0.5, ge=0)
    """Largest excess of the base's surprise at the answers over its surprise at the data's own."""
    made_up: float = Field(default=0.02, ge=0, le=1)
    """Largest share of words that are in no word list, training answer or prompt."""
    accuracy: float = Field(default=0.7, ge=0, le=1)
    """Least mean share of the other rows' references that an answer is less like than its own reference; 0.5 is
    chance."""
    details: float = Field(default=0.6, ge=0, le=1)
    """The same with the prompt's words masked: what is said of the topic, not that it is named. Refused only where it
    is also clearly below the base's: references that differ in their topics only leave nothing to tell apart."""
    helpful: float = Field(default=0.5, ge=0, le=1)
    """Share of comparisons with the base that it must not clearly fall below, where a judge or people compared."""
    copied: float = Field(default=0.1, ge=0, le=1)
    """Largest share of answers that are training answers to other prompts, whole or nearly."""
    echoes: float = Field(default=0.1, ge=0, le=1)
    """Largest share of answers that begin by repeating the prompt."""
    degenerate: float = Field(default=0.05, ge=0, le=1)
    """Largest share of answers that are empty, babble, a loop, or a template's marks."""
    forgetting: float = Field(default=1.0, ge=0)
    """Largest rise of the loss on neutral text."""
    general: float = Field(default=0.15, ge=0, le=1)
    """Least share of the general questions that the base has right which the adapter still has right."""
    memorised: float = Field(default=0.5, ge=0, le=1)
    """Largest share of training rows whose answers it gives word for word when asked their prompts."""
    parity: float = Field(default=0.1, ge=0)
    """Largest rise of the held-out loss from the base as it was trained on (NF4, 8 bit) to the base as it is served."""
    acts: float = Field(default=0.1, ge=0, le=1)
    """Least share of the data's answers that it finds more or less likely than the base does."""
    code: CodeThresholds | None = None
    """What the code in the answers must show; None: the answers are not code, and none of it is run."""
