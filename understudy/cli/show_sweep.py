"""What `understudy sweep` shows: the best trials, and which settings mattered."""

from rich.table import Table

from understudy.cli.console import console, out
from understudy.config.trial import Sweep
from understudy.workflows.sweep import SweptRecipe

TRIALS_SHOWN = 10
BAR_WIDTH = 40
"""Characters of a setting that decides everything."""


def show_sweep(swept: SweptRecipe, *, json_output: bool) -> None:
    """The best trials as a table, and where everything is; or everything as JSON."""
    if json_output:
        print(swept.found.model_dump_json())
    else:
        _show_found(swept.found)
        out.print(f"figures and all trials: {swept.page}")
        out.print(f"{swept.storage} (more trials go on from here)", style="dim")
    if swept.written is not None:
        console.print(f"the best settings are the recipe {swept.written.name}: {swept.written / 'recipe.yaml'}")


def _show_found(found: Sweep) -> None:
    best, done = found.best, found.done
    names = list(found.trials[0].settings)
    title = f"{found.recipe}: {len(done)} trials to the end"
    table = Table("trial", *names, "held-out loss", "best epoch", title=title)
    for trial in done[:TRIALS_SHOWN]:
        values = (trial.settings.get(name) for name in names)
        shown = [f"{value:.2g}" if isinstance(value, float) else str(value) for value in values]
        style = "green" if trial is best else None
        table.add_row(str(trial.number), *shown, f"{trial.loss:.3f}", str(trial.best_epoch), style=style)
    out.print(table)
    given_up = len(found.trials) - len(done)
    if given_up:
        out.print(f"{given_up} trials were given up after the first folds: worse than most")
    for name, share in found.importance.items():
        out.print(f"{name:>14} {'█' * round(BAR_WIDTH * share)} {share:.0%} of what decided")
    own = next((trial for trial in found.trials if trial.number == 0 and trial.loss is not None), None)
    if own is not None and best is not None and own is not best:
        out.print(f"the recipe's own settings: {own.loss:.3f}; the best: {best.loss:.3f} nats per token")
