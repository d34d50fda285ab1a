"""RMS norm on a CPU by vLLM's own kernels.

vLLM has kernels of RMS norm for CPUs but offers them to GPUs only (vllm 0.32, kernels/vllm_c.py). On a CPU, where
models are not compiled, it computes a norm in ten of PyTorch's operations, each a pass over memory. The kernels read
rows as if they lay one after the other, so that anything else stays with PyTorch.
"""

import importlib
import logging

import torch

PROVIDER = "understudy_cpu"
KERNELS = ("rms_norm", "fused_add_rms_norm")
"""Names of vLLM's operations and of their kernels."""
DTYPES = (torch.float32, torch.bfloat16)

logger = logging.getLogger("vllm.understudy_cpu_lora")


def install() -> None:
    """Makes vLLM use its kernels for both kinds of RMS norm; call it in the worker. May be called again."""
    importlib.import_module("vllm._custom_ops")  # loads them
    ops = importlib.import_module("vllm.ir").ops
    missing = [name for name in KERNELS if not (hasattr(ops, name) and hasattr(torch.ops._C, name))]
    if missing:
        logger.warning("Norms are slow on this CPU: vLLM has no %s.", " and no ".join(missing))
    elif PROVIDER not in ops.rms_norm.impls:
        ops.rms_norm.register_impl(PROVIDER, supports_args=_norm_fits)(_norm)
        ops.fused_add_rms_norm.register_impl(PROVIDER, supports_args=_sum_fits, inplace=True)(_norm_of_sum)
        for name in KERNELS:
            getattr(ops, name).set_default([PROVIDER, "native"])


def _fits(x: torch.Tensor, weight: torch.Tensor | None, variance_size: int | None) -> bool:
    plain = weight is not None and weight.dtype is x.dtype and x.dtype in DTYPES
    return plain and variance_size is None and x.is_contiguous()


def _norm_fits(x: torch.Tensor, weight: torch.Tensor | None, epsilon: float, variance_size: int | None = None) -> bool:
    return _fits(x, weight, variance_size)


def _sum_fits(
    x: torch.Tensor,
    x_residual: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> bool:
    return _fits(x, weight, variance_size) and x_residual.dtype is x.dtype and x_residual.is_contiguous()


def _norm(
    x: torch.Tensor, weight: torch.Tensor | None, epsilon: float, variance_size: int | None = None
) -> torch.Tensor:
    out = torch.empty_like(x)
    torch.ops._C.rms_norm(out, x, weight, epsilon)
    return out


def _norm_of_sum(
    x: torch.Tensor,
    x_residual: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    torch.ops._C.fused_add_rms_norm(x, x_residual, weight, epsilon)
    return x, x_residual
