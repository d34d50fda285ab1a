"""Train a recipe on this machine and register the adapter as its persona's newest revision: `understudy train`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from understudy.bases import resolve_base
from understudy.config.recipe import Recipe, load_recipe
from understudy.config.settings import Settings
from understudy.config.training import Training
from understudy.config.validation import overridden
from understudy.data.messages import Example
from understudy.data.recipe_rows import source_split, training_examples
from understudy.data.split import SplitData
from understudy.registry.events import actor
from understudy.registry.registry import open_registry
from understudy.workflows.choose_base import choose_base
from understudy.workflows.personas import card_of

if TYPE_CHECKING:
    from train.sft import Trained
    from train.sft_trainer import Tracker

Report = Callable[[str], None]
"""Called with a line for people, which stays."""


@dataclass(frozen=True)
class TrainingPlan:
    """A run before it starts."""

    recipe: Recipe
    base: str
    training: Training
    """With a number for everything that was `auto`, except cross-validated epochs."""
    overrides: dict[str, Any]
    """The settings that the caller gave instead of the recipe's, by name."""
    examples: list[Example]
    split: SplitData | None
    """What became of the rows of the recipe's `data:`; None if the rows are the recipe's own files."""


@dataclass(frozen=True)
class TrainingOutcome:
    """A finished run and what was registered."""

    plan: TrainingPlan
    trained: "Trained"
    revision: str | None
    """None for a full fine-tune: it makes a base, and only adapters are registered."""


def plan_training(
    settings: Settings, name: str, base: str | None, changes: dict[str, Any], *, report: Report
) -> TrainingPlan:
    """Read the recipe and its rows, choose the base, and settle all settings.

    Args:
        changes: settings of training that replace the recipe's, by name; None leaves the recipe's.
        report: gets the reason if another base than the recipe's is used.

    Raises:
        ConfigError: there is no such recipe, or it or a change cannot be followed.
        ExamplesError, BaseModelError: the rows or the base cannot be used.
    """
    from train.hyperparameters import settled

    recipe = load_recipe(name, settings.recipes_dir)
    chosen = choose_base(settings, recipe, base, report=report).name
    training = overridden(recipe.training, changes)
    examples = training_examples(recipe, chosen)
    return TrainingPlan(
        recipe=recipe,
        base=chosen,
        training=settled(training, resolve_base(chosen), len(examples)),
        overrides={name: value for name, value in changes.items() if value is not None},
        examples=examples,
        split=source_split(recipe, chosen),
    )


def process_count(plan: TrainingPlan, wanted: int | None) -> int:
    """The number of processes to start for a run, by default one for each GPU; 1 if it runs in this process.

    Raises:
        TrainingError: the batch cannot be divided among them.
    """
    from train.distributed import default_processes, launched, shared

    if launched():
        return 1
    count = wanted or default_processes(plan.training)
    shared(plan.training, count)
    return count


def launch_training(plan: TrainingPlan, processes: int, arguments: Sequence[str]) -> int:
    """Run `understudy ARGUMENTS` on the plan's base in several processes; return the main process's exit code.

    Raises:
        TrainingError: a process failed, and the main one has not said why.
    """
    from train.distributed import launch

    return launch([*arguments, "--base", plan.base], processes)


def is_main_process() -> bool:
    """Whether this process of the run writes files and reports."""
    from train.distributed import main_process

    return main_process()


def run_training(
    settings: Settings,
    plan: TrainingPlan,
    *,
    fresh: bool,
    tracker: "Tracker",
    say: Report,
    report: Report,
    on_step: Callable[[int, int, float | None], None],
    on_fold: Callable[[int, int], None],
) -> TrainingOutcome:
    """Train and register the adapter; a process that is not the main one registers nothing.

    Args:
        say: gets what is being done, and an empty text before the first step.
        on_step: called with steps done, steps in all, and the loss.
        on_fold: called with folds done and folds in all during cross-validation.

    Raises:
        BaseModelError, TrainingError: as `train.sft.train`.
    """
    say("loading libraries and base")
    import torch

    from train.sft import train

    if not torch.cuda.is_available():
        report("no GPU here: training on the CPU")
    say("")
    trained = train(
        plan.recipe,
        base=plan.base,
        training=plan.training,
        runs_dir=settings.runs_dir,
        examples=plan.examples,
        fresh=fresh,
        tracker=tracker,
        checkpoint_seconds=settings.checkpoint_seconds,
        on_step=on_step,
        on_fold=on_fold,
    )
    registered = is_main_process() and plan.training.method != "full"
    return TrainingOutcome(plan, trained, _register(settings, plan, trained) if registered else None)


def _register(settings: Settings, plan: TrainingPlan, trained: "Trained") -> str:
    """Make the adapter its persona's newest revision; return the revision's id."""
    card = card_of(plan.recipe, trained.settings.rows)
    return open_registry(settings).push(plan.recipe.name, trained.run.product, card=card, actor=actor()).id
