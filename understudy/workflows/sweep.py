"""Find better settings for a recipe by trials, and write the best as a new recipe: `understudy sweep`."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from understudy.config.recipe import Recipe, load_recipe
from understudy.config.settings import Settings
from understudy.config.training import Training
from understudy.config.trial import Sweep
from understudy.errors import ConfigError
from understudy.workflows.choose_base import choose_base


@dataclass(frozen=True)
class SweptRecipe:
    """What a sweep found, and where it is kept."""

    found: Sweep
    page: Path
    """Page with all trials and figures."""
    storage: Path
    """Database of trials; a later sweep continues from it."""
    written: Path | None
    """Folder of the new recipe, if one was asked for."""


def sweep_recipe(
    settings: Settings,
    name: str,
    *,
    bases: Sequence[str],
    trials: int,
    over: Sequence[str],
    write: str | None,
    say: Callable[[str], None],
    report: Callable[[str], None],
    on_trial: Callable[[int, int, float | None], None],
) -> SweptRecipe:
    """Try settings until there are `trials` trials.

    Args:
        bases: bases to try; empty means the one that training would choose.
        over: names of the settings to vary; empty means the usual ones.
        write: name of a new recipe with the best settings.
        say: gets what is being done, and an empty text before the first trial.
        report: gets the reason if another base than the recipe's is used.
        on_trial: called with trials done, trials in all, and the best loss so far.

    Raises:
        ConfigError: there is no such recipe, or `write` exists already.
        TrainingError: a setting cannot be swept over, or no trial finished.
    """
    recipe = load_recipe(name, settings.recipes_dir)
    bases = bases or [choose_base(settings, recipe, None, report=report).name]
    folder = settings.recipes_dir / write if write else None
    if folder is not None and folder.exists():
        raise ConfigError(f"{folder}: there is something already; choose another name with --write")
    say("loading libraries")
    from evaluate.reports.sweep import write_sweep
    from train.sweep import DEFAULT_OVER, settings_of, sweep

    say("")
    storage = settings.home / "sweeps" / f"{recipe.name}.db"
    found = sweep(
        recipe,
        recipe.training,
        bases=bases,
        over=over or DEFAULT_OVER,
        trials=trials,
        storage=storage,
        on_trial=on_trial,
    )
    assert found.best is not None
    page = write_sweep(found, settings.runs_dir / recipe.name / "sweep")
    if folder is not None:
        base = str(found.best.settings.get("base", bases[0])) if len(bases) > 1 else None
        _write_recipe(recipe, settings_of(found.best, recipe.training), base, folder)
    return SweptRecipe(found=found, page=page, storage=storage, written=folder)


def _write_recipe(recipe: Recipe, training: Training, base: str | None, folder: Path) -> None:
    """Copy the recipe's folder with other settings of training, and another base if one is given."""
    shutil.copytree(recipe.folder, folder)
    path = folder / "recipe.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    defaults = Training().model_dump()
    data["training"] = {name: value for name, value in training.model_dump().items() if value != defaults[name]}
    if base is not None:
        data["base"] = base
    head = f"# {recipe.title}, with the settings that `understudy sweep {recipe.name}` found best.\n"
    path.write_text(head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
    load_recipe(str(folder), folder.parent)
