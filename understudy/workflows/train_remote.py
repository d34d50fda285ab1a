"""Train a recipe as a job on the Hub: `understudy train --on hf-jobs`. `understudy.hub_jobs.submit` sends it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.config.recipe import Recipe, load_recipe
from understudy.config.settings import Settings
from understudy.config.validation import overridden
from understudy.data.recipe_rows import SHIPPED, training_examples

if TYPE_CHECKING:
    from train.hub.hf_jobs import TrainingJobPlan
    from understudy.hub_jobs.plan import WrittenJob


@dataclass(frozen=True)
class RemoteJob:
    """A job on disk, ready to be submitted."""

    recipe: Recipe
    base: str
    plan: "TrainingJobPlan"
    written: "WrittenJob"


def write_remote_job(
    settings: Settings, name: str, base: str | None, changes: dict[str, Any], options: dict[str, str]
) -> RemoteJob:
    """Write the job's files, after everything has been checked that can be checked without paying.

    Args:
        changes: settings of training that replace the recipe's; None leaves the recipe's.
        options: those of the job.

    Raises:
        ConfigError, ExamplesError: the recipe, a change or the rows cannot be used.
        JobError: the job cannot be written, or the Hub would refuse the plan.
    """
    from train.hub.hf_jobs import TrainingJobPlan, write_job

    recipe = load_recipe(name, settings.recipes_dir)
    overridden(recipe.training, changes)
    chosen = _base(settings, recipe, base)
    if recipe.data is None or chosen in SHIPPED:
        training_examples(recipe, chosen)
    given = {name: value for name, value in changes.items() if value is not None}
    words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    plan = TrainingJobPlan.model_validate(options)
    return RemoteJob(recipe, chosen, plan, write_job(recipe, chosen, words, plan, settings.runs_dir))


def _base(settings: Settings, recipe: Recipe, asked: str | None) -> str:
    """Choose as `choose_base` does, but without asking what this machine can hold: the job's machine may hold more."""
    if asked or "base" in settings.model_fields_set or recipe.base is None:
        return asked or settings.base
    return recipe.base
