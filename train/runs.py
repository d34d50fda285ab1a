"""Runs: the folder of a training run (`runs/<recipe>/<id>/`), what identifies it, and where it stopped."""

import hashlib
import json
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from train.model.precision import resolved
from understudy.bases import Base, base_revision
from understudy.config.recipe import Recipe
from understudy.config.training import Method, Training
from understudy.registry.adapters import CONFIG


class RunSettings(BaseModel):
    """Everything that determines the result of a run, resolved; saved beside the adapter."""

    model_config = ConfigDict(frozen=True)

    recipe: str
    base: str
    base_revision: str | None
    training: Training
    rows: int
    examples_sha256: str
    versions: dict[str, str]
    """Versions of the libraries that trained it, by name."""

    @property
    def id(self) -> str:
        """12 hex digits; the same settings and data give the same id, so an interrupted run is found again."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


class Run:
    """The folder of one run."""

    def __init__(self, folder: Path, method: Method = "qlora") -> None:
        self.folder = folder
        self.product = folder / ("model" if method == "full" else "adapter")
        """Where the result goes: an adapter, or a whole model."""
        self.checkpoints = folder / "checkpoints"
        self.result = folder / "result.json"
        self.log = folder / "log.jsonl"

    @property
    def finished(self) -> bool:
        """Whether training ended and its result is complete."""
        return self.result.is_file() and any(self.product.glob("*.safetensors"))

    def last_checkpoint(self) -> Path | None:
        """Return the newest complete checkpoint; one that a kill cut short is skipped."""
        found = [p for p in self.checkpoints.glob("checkpoint-*") if _complete(p)]
        return max(found, key=lambda p: int(p.name.rpartition("-")[2]), default=None)

    def clear(self) -> None:
        """Remove everything that the run has written."""
        shutil.rmtree(self.folder, ignore_errors=True)


def run_settings(recipe: Recipe, training: Training, base: Base, *, rows: int, examples_sha256: str) -> RunSettings:
    """Return the resolved settings of a run about to start, with the versions of the libraries that will train it."""
    import bitsandbytes
    import peft
    import torch
    import transformers
    import trl

    modules = (torch, transformers, trl, peft, bitsandbytes)
    return RunSettings(
        recipe=recipe.name,
        base=base.name,
        base_revision=base_revision(base),
        training=resolved(training),
        rows=rows,
        examples_sha256=examples_sha256,
        versions={m.__name__: m.__version__ for m in modules},
    )


def name_base(adapter: Path, base: str, revision: str | None) -> None:
    """Write the base's public name and revision into a saved adapter (PEFT writes local paths)."""
    path = adapter / CONFIG
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base
    config["revision"] = revision
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def newest_adapter(recipe: str, runs_dir: Path) -> Path | None:
    """Return the adapter of the run of `recipe` that finished last, if any."""
    return _newest(recipe, runs_dir, "qlora")


def newest_product(recipe: str, runs_dir: Path) -> Path | None:
    """Return the adapter, or the model of a full fine-tune, of the run of `recipe` that finished last, if any."""
    made = [p for method in ("qlora", "full") if (p := _newest(recipe, runs_dir, method)) is not None]
    return max(made, key=lambda product: (product.parent / "result.json").stat().st_mtime, default=None)


def _newest(recipe: str, runs_dir: Path, method: Method) -> Path | None:
    runs = [Run(path, method) for path in (runs_dir / recipe).glob("*") if path.is_dir()]
    finished = [run for run in runs if run.finished]
    newest = max(finished, key=lambda run: run.result.stat().st_mtime, default=None)
    return newest.product if newest else None


def _complete(checkpoint: Path) -> bool:
    """Return whether trainer_state.json can be read: transformers writes it last into a checkpoint."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, json.JSONDecodeError):
        return False
    return True
