"""RMS norm on a CPU: what vLLM's kernels give for the rows that they take is what PyTorch's operations give."""

import importlib
import logging
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("vllm")

from vllm import ir  # noqa: E402

from serve.engine.cpu_lora import norms  # noqa: E402

EPSILON = 1e-5
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""bfloat16 has 8 bits; PyTorch's operations round before they multiply with the weight, the kernel does so once."""


@pytest.fixture(autouse=True)
def installed():
    norms.install()
    norms.install()  # vLLM may load a second model


def rows(dtype, *shape: int):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float32).to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(1, 64), (5, 64), (3, 4, 16)])
def test_a_norm_is_the_same(dtype, shape) -> None:
    x, weight = rows(dtype, *shape), rows(dtype, shape[-1])
    assert ir.ops.rms_norm.dispatch(x, weight, EPSILON, None).provider == norms.PROVIDER
    found, expected = (
        ir.ops.rms_norm.impls[name].impl_fn(x.clone(), weight, EPSILON) for name in (norms.PROVIDER, "native")
    )
    torch.testing.assert_close(found, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_norm_of_a_sum_is_the_same_and_so_is_the_sum(dtype) -> None:
    x, before, weight = rows(dtype, 5, 64), rows(dtype, 64, 5).T.contiguous(), rows(dtype, 64)
    found, expected = (
        ir.ops.fused_add_rms_norm.impls[name].impl_fn(x.clone(), before.clone(), weight, EPSILON)
        for name in (norms.PROVIDER, "native")
    )
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


ROWS, WEIGHT = rows(torch.bfloat16, 4, 64), rows(torch.bfloat16, 64)
HALVES = rows(torch.bfloat16, 4, 128)[:, :64]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((HALVES, WEIGHT, EPSILON, None), id="rows with something between them, as heads of q and k"),
        pytest.param((ROWS, None, EPSILON, None), id="no weight"),
        pytest.param((ROWS, WEIGHT.float(), EPSILON, None), id="a weight of another type"),
        pytest.param((ROWS, WEIGHT, EPSILON, 32), id="the variance of a part"),
        pytest.param((ROWS.half(), WEIGHT.half(), EPSILON, None), id="float16"),
    ],
)
def test_what_the_kernel_cannot_read_stays_with_pytorch(arguments) -> None:
    assert ir.ops.rms_norm.dispatch(*arguments).provider == "native"


def test_another_vllm_is_left_alone(monkeypatch, caplog) -> None:
    known = importlib.import_module
    stand_in = SimpleNamespace(ops=SimpleNamespace(rms_norm=ir.ops.rms_norm))
    monkeypatch.setattr(importlib, "import_module", lambda name: stand_in if name == "vllm.ir" else known(name))
    with caplog.at_level(logging.WARNING, logger=norms.logger.name):
        monkeypatch.setattr(norms.logger, "propagate", True)
        norms.install()
    assert "vLLM has no fused_add_rms_norm" in caplog.text
