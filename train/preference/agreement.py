"""How often a model that was trained on preferences agrees with the people who voted."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from train.model.loss_mask import IGNORED, TokenRow
from train.preference.dataset import Prepared, pairs_of, tokens_of
from train.preference.reward_model import RewardModel, judged
from train.scoring import Scorer
from understudy.bases import Base
from understudy.config.preference import PreferenceTraining
from understudy.config.training import Training
from understudy.data.preferences import PreferencePair


class Agreement(BaseModel):
    """On how many pairs the chosen answer is rewarded more than the rejected one, and by how much on average.

    The reward is the reward model's score, or an adapter's implicit reward: beta times the rise of the answer's
    log-likelihood over the adapter that was continued (arXiv:2305.18290, equation 5).
    """

    model_config = ConfigDict(frozen=True)

    right: int
    of: int
    margin: float


def measure(
    base: Base, parent: Path, product: Path, preference: PreferenceTraining, training: Training, ready: Prepared
) -> dict[str, Agreement]:
    """Measure how often `product` agrees with people on the pairs it was `trained` on, and on those `heldout`."""
    sides = {"trained": pairs_of(ready.train), "heldout": pairs_of(ready.heldout)}
    everything = [pair for pairs in sides.values() for pair in pairs]
    if preference.method == "reward":
        margins = judged(RewardModel(base, product, training), everything)
    else:
        margins = [(preference.beta or 1.0) * rise for rise in _rises(base, parent, product, everything)]
    first = len(sides["trained"])
    return {"trained": _agreement(margins[:first]), "heldout": _agreement(margins[first:])}


def _rises(base: Base, old: Path, new: Path, pairs: Sequence[PreferencePair]) -> list[float]:
    """Return by how much the log-odds of each chosen answer rose, with both adapters as they are served."""
    log_odds = []
    for adapter in (old, new):
        scorer = Scorer(base, adapter)
        chosen, rejected = (_log_likelihoods(scorer, rows) for rows in tokens_of(pairs, scorer.tokenizer))
        log_odds.append([good - bad for good, bad in zip(chosen, rejected, strict=True)])
    return [after - before for before, after in zip(*log_odds, strict=True)]


def _log_likelihoods(scorer: Scorer, rows: Sequence[TokenRow]) -> list[float]:
    """Return the log-likelihood of each whole answer, in nats."""
    lengths = [sum(label != IGNORED for label in row.labels[1:]) for row in rows]
    return [-loss * length for loss, length in zip(scorer.losses(rows), lengths, strict=True)]


def _agreement(margins: Sequence[float]) -> Agreement:
    mean = sum(margins) / len(margins) if margins else 0.0
    return Agreement(right=sum(margin > 0 for margin in margins), of=len(margins), margin=round(mean, 4))
