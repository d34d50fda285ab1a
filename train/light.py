"""Imports transformers and bitsandbytes without what they load for work that is not ours."""

from typing import Any

import torch

UNUSED = ("is_sklearn_available", "is_scipy_available")
"""What transformers asks before it imports scikit-learn, for assisted generation, and scipy's optimisers, for losses of
object detection. We do neither."""


def import_lightly() -> None:
    """Call this before anything imports transformers; later it does no harm, and no good.

    bitsandbytes wraps four functions in `torch.compile` when it is imported, which imports the whole of Inductor. They
    serve devices that have no kernels of their own; a CPU and CUDA have, so here they stay as they are written
    (bitsandbytes 0.50, backends/default/ops.py).

    With scikit-learn, scipy and Inductor left out, importing `train.sft` takes 5.5 s of processor time instead of 7.2.
    """
    from transformers import utils
    from transformers.utils import import_utils

    for module in (utils, import_utils):
        for question in UNUSED:
            setattr(module, question, _no)
    compiler = torch.compile
    torch.compile = _as_written
    try:
        import bitsandbytes  # noqa: F401  # pyright: ignore[reportUnusedImport]
    finally:
        torch.compile = compiler


def _no() -> bool:
    return False


def _as_written(model: Any = None, **_: object) -> Any:
    """In the place of `torch.compile`, with or without arguments."""
    return model if model is not None else _as_written
