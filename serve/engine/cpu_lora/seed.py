"""Keeps vLLM alive on a CPU when a request has a seed and its prompt is read in several pieces.

vLLM samples a token after each piece, drops all but the last, and rewinds the request's random generator by what the
dropped one used. A generator on a CPU cannot be rewound: `set_offset` raises, and the whole engine ends
(vllm 0.32, v1/worker/gpu_model_runner.py, `_bookkeeping_sync`). Any caller could cause that with `"seed": 1`. Here the
generators are not rewound: such an answer is as random as any other, and repeatable as long as its prompt is read in
as many pieces.
"""

import importlib
import logging
from typing import Any

RUNNER = "vllm.v1.worker.cpu_model_runner"
METHOD = "_bookkeeping_sync"

logger = logging.getLogger("vllm.understudy_cpu_lora")


def keep_generators() -> None:
    """Patches the CPU's model runner; call it in the worker. May be called again."""
    runner = importlib.import_module(RUNNER).CPUModelRunner
    original = getattr(runner, METHOD, None)
    if original is None:
        logger.warning("Requests with a seed may end the engine: %s has no %s.", runner.__name__, METHOD)
        return
    if hasattr(original, "_understudy"):
        return

    def bookkeeping(self: Any, *args: Any, **kwargs: Any) -> Any:
        batch = self.input_batch
        kept, batch.generators = batch.generators, {}
        try:
            return original(self, *args, **kwargs)
        finally:
            batch.generators = kept

    bookkeeping._understudy = True  # pyright: ignore[reportFunctionMemberAccess]
    setattr(runner, METHOD, bookkeeping)
