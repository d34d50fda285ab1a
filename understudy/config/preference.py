"""How an adapter goes on learning from preferences: the settings of `understudy train --method dpo` and its like."""

from typing import Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from understudy.config.training import Precision, Training

PreferenceMethod = Literal["dpo", "kto", "reward", "grpo", "rloo"]
PREFERENCE_METHODS: tuple[str, ...] = get_args(PreferenceMethod)


class Start(NamedTuple):
    """Where a method starts when nothing was said: its share of the base's rate for LoRA, beta, epochs."""

    share: float
    beta: float
    epochs: float


STARTS: dict[str, Start] = {
    "dpo": Start(0.08, 0.1, 3),
    "kto": Start(0.08, 0.1, 3),
    "reward": Start(0.4, 0.0, 4),
    "grpo": Start(0.08, 0.04, 3),
    "rloo": Start(0.08, 0.05, 3),
}
"""0.08 of an 8B model's rate for LoRA is 2e-5, about ten times TRL's defaults for full fine-tunes."""


class PreferenceTraining(BaseModel):
    """Settings of learning from preferences. The defaults suit a few dozen pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: PreferenceMethod = "dpo"
    """`dpo`: pairs; `kto`: labels; `reward`: a reward model from pairs; `grpo`, `rloo`: answers of its own,
    judged by that reward model."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Unset: the method's share (`STARTS`) of the base's rate for LoRA."""
    beta: float | None = Field(default=None, ge=0)
    """How strongly the new adapter is held to the one it starts from; unset: by method."""
    epochs: float | None = Field(default=None, gt=0, le=1000)
    """Passes over the pairs, labels or prompts; unset: by method."""
    max_steps: int = Field(default=0, ge=0)
    """Optimiser steps after which the run ends whatever `epochs` says; 0 means that `epochs` decides."""
    batch_size: int = Field(default=4, ge=1)
    """Pairs, labels or prompts per optimiser step."""
    micro_batch_size: int = Field(default=0, ge=0)
    """Of these in memory at once; 0 means the whole batch."""
    loss: Literal["sigmoid", "ipo", "hinge", "robust", "apo_zero"] = "sigmoid"
    """DPO's loss (TRL's names)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """DPO: share of the votes that are taken to be slips (cDPO, robust DPO)."""
    answers: int = Field(default=8, ge=2)
    """GRPO, RLOO: answers sampled to each prompt."""
    temperature: float = Field(default=1.0, gt=0, le=2)
    """GRPO, RLOO: of these answers."""
    reward: str = ""
    """GRPO, RLOO: what judges answers: the folder of a reward model, or `module:function` of (prompt, answer) -> float;
    empty: the reward model of the same preferences, trained first where there is none."""
    base_as: Literal["qlora", "lora", "lora-8bit"] | None = None
    """How the base is loaded; unset: as for the adapter that is continued."""
    precision: Precision | None = None
    """What is computed in; unset: as for the adapter that is continued."""
    max_length: int = Field(default=1024, ge=16)
    """Longest prompt + answer in tokens; rows with longer ones are left out, never cut."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    gradient_checkpointing: bool | None = None
    """Trades time for memory by computing activations twice; unset: on a GPU."""
    seed: int = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch_size {self.micro_batch_size}"
            )
        if self.method == "kto" and self.rows_at_once < 2:
            raise ValueError("method kto compares answers within a batch: it needs 2 rows or more at once")
        if self.reward and self.method not in ("grpo", "rloo"):
            raise ValueError(f"method {self.method} is not judged by a reward: leave reward out")
        return self

    @property
    def rows_at_once(self) -> int:
        """Rows in one forward pass."""
        return self.micro_batch_size or self.batch_size

    def resolved(self, lora_rate: float, parent: Training) -> "PreferenceTraining":
        """The settings with nothing left open, for continuing an adapter that was trained as `parent` on a base whose
        learning rate for LoRA is `lora_rate`."""
        start = STARTS[self.method]
        known = {
            "learning_rate": float(f"{start.share * lora_rate:.1e}"),
            "beta": start.beta,
            "epochs": start.epochs,
            "base_as": "lora" if parent.method == "full" else parent.method,
            "precision": parent.precision,
        }
        return self.model_copy(update={name: value for name, value in known.items() if getattr(self, name) is None})

    def loading(self, parent: Training) -> Training:
        """Resolved settings in the words of `Training`: how the base is loaded and what a run needs in memory."""
        return Training.model_validate(
            {
                **parent.model_dump(),
                "method": self.base_as,
                "precision": self.precision,
                "epochs": self.epochs,
                "stop_after": 0.0,
                "max_steps": self.max_steps,
                "learning_rate": self.learning_rate,
                "batch_size": self.batch_size,
                "micro_batch_size": self.micro_batch_size,
                "max_length": self.max_length,
                "packing": False,
                "warmup": self.warmup,
                "scheduler": self.scheduler,
                "weight_decay": self.weight_decay,
                "gradient_checkpointing": self.gradient_checkpointing,
                "neftune": 0.0,
                "loraplus": 0.0,
                "seed": self.seed,
            }
        )
