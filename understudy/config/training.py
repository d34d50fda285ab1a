"""How a run trains: the settings that a recipe gives and the command line may change."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Method = Literal["qlora", "lora", "lora-8bit", "full"]
Precision = Literal["auto", "bf16", "fp16", "fp32"]


def _auto(value: object) -> object:
    return 0 if value == "auto" else value


AutoInt = Annotated[int, BeforeValidator(_auto)]
AutoFloat = Annotated[float, BeforeValidator(_auto)]
"""A number, or `auto`, which is kept as 0 until base and rows are known (`train.hyperparameters`)."""


class Training(BaseModel):
    """Settings of the training run. The defaults suit a few dozen rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = "qlora"
    """`qlora`: 4-bit NF4 base with double quantisation; `lora-8bit`: 8-bit base; `lora`: base as it is; `full`:
    no adapter, every weight of the base is trained."""
    epochs: Annotated[float, Field(gt=0, le=1000)] | Literal["auto", "cross-validated"] = "auto"
    """Passes over the rows. `auto`: by their number (6 up to 32 rows, 4 up to 100, else 3). `cross-validated`: up to
    12, where the held-out loss of fewer than 64 rows is smallest (`train.cross_validation`)."""
    stop_after: float = Field(default=0.0, ge=0)
    """Epochs after which the run ends although its schedule goes on to `epochs`; 0: at its end. Cross-validation sets
    it."""
    max_steps: int = Field(default=0, ge=0)
    """Optimiser steps after which the run ends whatever `epochs` says; 0 means that `epochs` decides."""
    learning_rate: AutoFloat = Field(default=0.0, ge=0, le=1)
    """`auto`: from the base's hidden size, the method and the number of steps."""
    batch_size: AutoInt = Field(default=0, ge=0)
    """Rows per optimiser step. `auto`: 4 up to 100 rows, else 8."""
    micro_batch_size: int = Field(default=0, ge=0)
    """Rows in memory at once, gradients being accumulated over the batch; 0 means the whole batch."""
    rank: AutoInt = Field(default=0, ge=0, le=512)
    """`auto`: 8 up to 100 rows, else 16."""
    alpha: AutoInt = Field(default=0, ge=0)
    """LoRA scale: updates are multiplied by alpha / rank, with `rslora` by alpha / sqrt(rank). `auto`:
    twice the rank."""
    rslora: bool = False
    """Rank-stabilised scale (arXiv:2312.03732): high ranks learn as fast as low ones."""
    loraplus: float = Field(default=0.0, ge=0)
    """LoRA+ (arXiv:2402.12354): how many times the learning rate of A the one of B is, 16 in the paper; 0: the same."""
    neftune: float = Field(default=0.0, ge=0)
    """NEFTune (arXiv:2310.05914): strength of the noise on embeddings while training, 5 in the paper; 0: none."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | list[str] = "all-linear"
    """Modules that get an adapter: `all-linear` or a list of names."""
    max_length: int = Field(default=1024, ge=16)
    """Longest row in tokens; longer ones are refused by name, never cut."""
    packing: bool = False
    """Whether short rows share a sequence of `max_length` tokens (first-fit, none is cut); for thousands of rows."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    scheduler: Literal["cosine", "linear", "constant", "polynomial", "inverse_sqrt"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    precision: Precision = "auto"
    """What is computed in. `auto`: bf16 where the processor has instructions for it, else fp16 on a GPU and fp32 on a
    CPU. Weights that are trained are kept in float32 either way."""
    gradient_checkpointing: bool | None = None
    """Trades time for memory by computing activations twice; unset: on a GPU."""
    seed: int = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.micro_batch_size and self.batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch_size {self.micro_batch_size}"
            )
        if self.method == "full" and (self.loraplus or self.rslora):
            raise ValueError("method full has no adapter: leave loraplus and rslora out")
        return self

    @property
    def rows_at_once(self) -> int:
        """Rows in one forward pass."""
        return self.micro_batch_size or self.batch_size
