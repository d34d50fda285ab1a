"""Memory of a run: an estimate before it starts, and what it used when it is over."""

import math
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from train.model.precision import computed_in
from understudy.bases import Base, read_model_config, weight_shapes
from understudy.config.training import Training
from understudy.errors import BaseModelError, TrainingError

WEIGHT_BYTES = {"qlora": 0.6, "lora-8bit": 1.05, "lora": 2.0, "full": 4.0}
"""Bytes per weight of the base's linear layers: NF4 with doubly quantised scales (4.127 bits, arXiv:2305.14314,
rounded up), LLM.int8() with its row scales, bfloat16, float32."""

MOST_UNPACKED = 2**28
"""Most weights of an NF4 model that is unpacked on a CPU (`train.model.load.unpack_small`): 1 GiB in float32."""

TRAINED_BYTES = 16
"""Bytes per trained parameter: float32 weight, gradient and AdamW's two moments."""

ACTIVATIONS = 34
"""Bytes per token, hidden unit and layer that a transformer keeps for the backward pass in 16 bits
(Korthikanti et al., arXiv:2205.05198, equation 1, without attention scores)."""

LIBRARIES = 1100
"""MiB that Python, torch and the trainer take before a model is loaded."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory that a run is going to need, in MiB, by purpose."""

    libraries: float
    weights: float
    trained: float
    activations: float

    @property
    def total(self) -> float:
        return self.libraries + self.weights + self.trained + self.activations

    def __str__(self) -> str:
        parts = f"weights {self.weights:,.0f}, trained parameters {self.trained:,.0f}"
        return f"{self.total:,.0f} MiB ({parts}, activations {self.activations:,.0f}, libraries {self.libraries:,.0f})"


def need(base: Base, training: Training, longest: int) -> MemoryEstimate | None:
    """Estimate the memory of a run; None if the base's weight shapes are not known yet.

    Args:
        longest: number of tokens of the longest row.
    """
    try:
        shapes = weight_shapes(base)
    except BaseModelError:
        return None
    linear = {n: s for n, s in shapes.items() if len(s) == 2 and not n.startswith(("lm_head", "model.embed"))}
    rest = sum(map(math.prod, shapes.values())) - sum(map(math.prod, linear.values()))
    wide = 4.0 if training.method == "full" or computed_in(training) is torch.float32 else 2.0
    packed = sum(map(math.prod, linear.values()))
    unpacked = training.method == "qlora" and not torch.cuda.is_available() and packed <= MOST_UNPACKED
    weights = packed * (wide if unpacked else WEIGHT_BYTES[training.method]) + rest * wide
    if training.method == "full":
        trained = sum(map(math.prod, shapes.values())) * (TRAINED_BYTES - 4)
    else:
        trained = sum(training.rank * sum(shape) for shape in linear.values()) * TRAINED_BYTES
    length = training.max_length if training.packing else longest
    on_gpu = torch.cuda.is_available()
    return MemoryEstimate(
        libraries=0 if on_gpu else LIBRARIES,
        weights=weights / 2**20,
        trained=trained / 2**20,
        activations=_activations(base, shapes, training, length, on_gpu) / 2**20,
    )


def check_memory(base: Base, training: Training, longest: int, *, processes: int = 1) -> MemoryEstimate | None:
    """Refuse a run that needs more memory than is free, else return the estimate.

    Args:
        processes: processes that train together; each has a GPU of its own, or they share this machine's memory.

    Raises:
        TrainingError: with the numbers.
    """
    needed, there = need(base, training, longest), available()
    sharing = 1 if torch.cuda.is_available() else processes
    if needed is not None and sharing * needed.total > there:
        where = "on the GPU" if torch.cuda.is_available() else "here"
        each = f"{sharing} times " if sharing > 1 else ""
        raise TrainingError(
            f"this run needs {each}about {needed} and {there:,.0f} MiB are free {where}; "
            "use method qlora, a smaller micro_batch_size or max_length, gradient_checkpointing, or a smaller base"
        )
    return needed


def available() -> float:
    """Return the free memory, in MiB, on the device that will train."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / 2**20
    import psutil

    return psutil.virtual_memory().available / 2**20


def peak_memory() -> float:
    """Return the most memory, in MiB, that this process has used: on the GPU, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def tokens_seen(lengths: Sequence[int], rows_trained: float) -> float:
    """Return the number of tokens, without padding, in `rows_trained` rows of these lengths on average."""
    return sum(lengths) / max(len(lengths), 1) * rows_trained


def _activations(
    base: Base, shapes: dict[str, tuple[int, ...]], training: Training, length: int, on_gpu: bool
) -> float:
    config = read_model_config(base)
    hidden = config.get("hidden_size") or max(min(s) for s in shapes.values() if len(s) == 2)
    layers = config.get("num_hidden_layers") or len(
        {n.split("layers.")[1].split(".")[0] for n in shapes if "layers." in n}
    )
    vocabulary = config.get("vocab_size") or max(s[0] for s in shapes.values())
    tokens = training.rows_at_once * length
    wide = 2 if computed_in(training) is torch.float32 else 1
    checkpointing = on_gpu if training.gradient_checkpointing is None else training.gradient_checkpointing
    kept = 2 * layers + ACTIVATIONS if checkpointing else ACTIVATIONS * layers
    logits = 3 * 4 * vocabulary  # of all tokens, their float32 copy and its gradient
    return tokens * (hidden * kept * wide + logits)
