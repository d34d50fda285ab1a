"""What a sweep found: trials, their settings and losses, and which settings decided."""

from pydantic import BaseModel, ConfigDict


class SweepTrial(BaseModel):
    """One trial."""

    model_config = ConfigDict(frozen=True)

    number: int
    settings: dict[str, float | int | str]
    loss: float | None
    """Mean held-out loss over folds after the last epoch, in nats per token of the answer; None when it was given
    up."""
    best_epoch: int | None
    seconds: float
    state: str
    """`complete`, `pruned` (worse than most after the first folds) or `fail`."""


class Sweep(BaseModel):
    """What a sweep found so far."""

    model_config = ConfigDict(frozen=True)

    recipe: str
    over: list[str]
    trials: list[SweepTrial]
    importance: dict[str, float]
    """How much each setting decides whether a trial is among the best, in shares of one (PED-ANOVA, Optuna's default:
    Watanabe et al. 2023, arXiv:2304.10255); empty for fewer than four complete trials."""

    @property
    def done(self) -> list[SweepTrial]:
        """The trials that came to their end, the best first."""
        return sorted((trial for trial in self.trials if trial.loss is not None), key=lambda trial: trial.loss or 0.0)

    @property
    def best(self) -> SweepTrial | None:
        """The trial with the smallest loss."""
        return next(iter(self.done), None)
