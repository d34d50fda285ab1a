"""Where a run's losses can be watched while it trains: TensorBoard or Trackio (`--tracker`)."""

import importlib.util
from typing import Literal

from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback, TrackioCallback

from train.distributed import main_process
from train.runs import Run
from understudy.errors import TrainingError

Tracker = Literal["tensorboard", "trackio", "none"]


def tracking(tracker: Tracker, run: Run) -> list[TrainerCallback]:
    """What logs the run: TensorBoard into its folder, Trackio where `trackio show` looks for it.

    Raises:
        TrainingError: the tracker is not installed.
    """
    if tracker == "none":
        return []
    if importlib.util.find_spec(tracker) is None:
        raise _missing(tracker)
    if not main_process():
        return []
    if tracker == "trackio":
        return [TrackioCallback()]
    from torch.utils.tensorboard.writer import SummaryWriter

    return [TensorBoardCallback(SummaryWriter(log_dir=str(run.folder / "tensorboard")))]


def _missing(tracker: str) -> TrainingError:
    return TrainingError(f"{tracker} is not installed; install it with `pip install {tracker}`, or leave --tracker out")
