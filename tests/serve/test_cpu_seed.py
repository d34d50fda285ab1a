"""A request with a seed, whose prompt is read in pieces, does not end the engine on a CPU."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from serve.engine.cpu_lora import seed


class Runner:
    """As vLLM's model runner after each step: it turns back the generators of requests that are not read to the end."""

    def __init__(self) -> None:
        self.input_batch = SimpleNamespace(generators={0: torch.Generator().manual_seed(1)})

    def _bookkeeping_sync(self, tokens: str) -> str:
        for generator in self.input_batch.generators.values():
            generator.set_offset(generator.get_offset() - 4)
        return tokens


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> type[Runner]:
    class CPUModelRunner(Runner):
        pass

    module: Any = ModuleType("runner")
    module.CPUModelRunner = CPUModelRunner
    monkeypatch.setitem(sys.modules, seed.RUNNER, module)
    return CPUModelRunner


def test_generators_on_a_cpu_cannot_be_turned_back(runner: type[Runner]) -> None:
    with pytest.raises(RuntimeError, match="does not use offset"):
        runner()._bookkeeping_sync("tokens")


def test_they_are_left_as_they_are_and_stay_with_their_requests(runner: type[Runner]) -> None:
    seed.keep_generators()
    seed.keep_generators()
    there = runner()
    kept = dict(there.input_batch.generators)
    assert there._bookkeeping_sync("tokens") == "tokens"
    assert there.input_batch.generators == kept


def test_another_vllm_is_left_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    module: Any = ModuleType("runner")
    module.CPUModelRunner = type("CPUModelRunner", (), {})
    monkeypatch.setitem(sys.modules, seed.RUNNER, module)
    seed.keep_generators()
    assert "may end the engine" in caplog.text
