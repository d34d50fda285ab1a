"""`understudy sweep`: trials with a progress bar, a table of what mattered, and the best settings as a recipe."""

import shutil
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from understudy.cli.base_choice import choose_base
from understudy.cli.console import console, prepare, status, steps
from understudy.config.recipe import Recipe, load_recipe
from understudy.config.settings import Settings
from understudy.config.training import Training
from understudy.config.trial import Sweep
from understudy.errors import RecipeError

out = Console(highlight=False, soft_wrap=True)
SHOWN = 10


def sweep_recipe(
    settings: Settings,
    name: str,
    bases: list[str],
    *,
    trials: int,
    over: list[str],
    write: str | None,
    json_output: bool,
) -> None:
    """Tries settings until there are `trials` trials, prints what was found, and writes the best as a recipe."""
    prepare()
    recipe = load_recipe(name, settings.recipes_dir)
    bases = bases or [choose_base(settings, recipe, None).name]
    folder = settings.recipes_dir / write if write else None
    if folder is not None and folder.exists():
        raise RecipeError(f"{folder}: there is something already; choose another name with --write")
    with status("loading libraries"):
        from evaluate.reports.sweep_page import write_sweep
        from train.light import import_lightly

        import_lightly()
        from train.sweep import USUAL, settings_of, sweep
    training = recipe.training
    storage = settings.home / "sweeps" / f"{recipe.name}.db"
    wanted = over or list(USUAL)
    with steps(f"sweeping {recipe.name}") as on_trial:
        found = sweep(recipe, training, bases=bases, over=wanted, trials=trials, storage=storage, on_trial=on_trial)
    assert found.best is not None
    page = write_sweep(found, settings.runs_dir / recipe.name / "sweep")
    if json_output:
        print(found.model_dump_json())
    else:
        _print(found)
        out.print(f"figures and all trials: {page}")
        out.print(f"{storage} (more trials go on from here)", style="dim")
    if folder is not None:
        base = str(found.best.settings.get("base", bases[0]))
        _write(recipe, settings_of(found.best, training), base, folder, several=len(bases) > 1)
        console.print(f"the best settings are the recipe {folder.name}: {folder / 'recipe.yaml'}")


def _print(found: Sweep) -> None:
    best, done = found.best, found.done
    names = list(found.trials[0].settings)
    table = Table(
        "trial", *names, "held-out loss", "best epoch", title=f"{found.recipe}: {len(done)} trials to the end"
    )
    for trial in done[:SHOWN]:
        values = (trial.settings.get(name) for name in names)
        shown = [f"{value:.2g}" if isinstance(value, float) else str(value) for value in values]
        style = "green" if trial is best else None
        table.add_row(str(trial.number), *shown, f"{trial.loss:.3f}", str(trial.best_epoch), style=style)
    out.print(table)
    given_up = len(found.trials) - len(done)
    if given_up:
        out.print(f"{given_up} trials were given up after the first folds: worse than most")
    for name, share in found.importance.items():
        out.print(f"{name:>14} {'█' * round(40 * share)} {share:.0%} of what decided")
    own = next((trial for trial in found.trials if trial.number == 0 and trial.loss is not None), None)
    if own is not None and best is not None and own is not best:
        out.print(f"the recipe's own settings: {own.loss:.3f}; the best: {best.loss:.3f} nats per token")


def _write(recipe: Recipe, training: Training, base: str, folder: Path, *, several: bool) -> None:
    """The recipe's folder again, with other settings of training; with its base, where there were several to try."""
    shutil.copytree(recipe.folder, folder)
    path = folder / "recipe.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    changed = {name: value for name, value in training.model_dump().items() if value != Training().model_dump()[name]}
    data["training"] = changed
    data |= {"base": base} if several else {}
    head = f"# {recipe.title}, with the settings that `understudy sweep {recipe.name}` found best.\n"
    path.write_text(head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
    load_recipe(str(folder), folder.parent)
