"""Writes down when each optimiser step ends, in whatever program trains: Python imports this from PYTHONPATH.

The file that BENCH_STEPS names gets one line a step, the time in seconds of `time.monotonic`, which all processes of
a machine share. Nothing is imported that the program would not import, and nothing happens in one without torch.
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

OPTIMISERS = "torch.optim.optimizer"


class Watched(importlib.abc.Loader):
    """Loads the module as its own loader does, then asks it to call us after each step."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.register_optimizer_step_post_hook(_note)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the one module that we wait for, once."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != OPTIMISERS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = Watched(spec.loader)
        return spec


def _note(*_: object) -> None:
    torch = sys.modules["torch"]
    if torch.cuda.is_initialized():  # a GPU has only been told of the step
        torch.cuda.synchronize()
    with Path(os.environ["BENCH_STEPS"]).open("a") as file:
        file.write(f"{time.monotonic()}\n")


if "BENCH_STEPS" in os.environ:
    sys.meta_path.insert(0, Finder())
