"""Turn votes into preferences, and continue a persona's revision from them: `understudy train --method dpo`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.bases import require_base
from understudy.config.preference import PreferenceTraining
from understudy.config.recipe import Recipe, load_recipe, recipe_names
from understudy.config.settings import Settings
from understudy.config.validation import overridden
from understudy.data.preferences import Form, Label, PreferencePair, read_preferences, write_preferences
from understudy.data.recipe_rows import heldout_examples
from understudy.errors import NotFoundError
from understudy.registry.events import actor
from understudy.registry.records import Revision
from understudy.registry.registry import Registry, open_registry
from understudy.workflows.personas import card_of

if TYPE_CHECKING:
    from arena.preferences import PreferenceCounts, Preferences
    from train.preference.run import Preferred

PreferenceRows = list[PreferencePair] | list[Label]


@dataclass(frozen=True)
class ExportedPreferences:
    """Rows to train on, and what became of the votes behind them."""

    persona: str
    form: Form
    rows: PreferenceRows
    counted: "PreferenceCounts"


@dataclass(frozen=True)
class PreferencePlan:
    """A run on preferences before it starts."""

    recipe: Recipe
    base: str
    parent: Revision
    """The revision that is continued."""
    preference: PreferenceTraining
    rows: PreferenceRows
    kept: list[str]
    """The recipe's held-out prompts, which must not be trained on."""


@dataclass(frozen=True)
class PreferenceOutcome:
    """A finished run on preferences and what was registered."""

    plan: PreferencePlan
    trained: "Preferred"
    revision: str | None
    """None for a reward model: it is never served."""


def export_preferences(settings: Settings, persona: str, out: Path | None, form: Form) -> ExportedPreferences:
    """Turn a persona's votes into rows, and write them to `out` if that is given.

    Raises:
        MeasurementError: there are too few votes.
        NotFoundError: there is no such persona.
    """
    from arena.preferences import require_enough

    found = _from_votes(settings, open_registry(settings), persona)
    rows = found.rows(form)
    require_enough(rows, persona)
    if out is not None:
        write_preferences(rows, out)
    return ExportedPreferences(persona, form, rows, found.counted)


def plan_preference_training(
    settings: Settings,
    name: str,
    base: str | None,
    changes: dict[str, Any],
    *,
    preferences: Path | None,
    start: str,
) -> PreferencePlan:
    """Find the revision to continue and the rows to continue it from.

    Args:
        changes: settings of `PreferenceTraining`, by name; None leaves the default.
        preferences: file of rows; None means the arena's votes.
        start: the revision to continue; empty means the live one.

    Raises:
        ConfigError: there is no such recipe, or a setting cannot be used.
        MeasurementError, ExamplesError: there is too little to learn from, or the file cannot be read.
        NotFoundError, BaseModelError: there is no such revision or base.
    """
    preference = overridden(PreferenceTraining(), changes)
    recipe, registry = load_recipe(name, settings.recipes_dir), open_registry(settings)
    parent = _parent(registry, recipe.name, start)
    chosen = require_base(base or parent.base or settings.base).name
    return PreferencePlan(
        recipe=recipe,
        base=chosen,
        parent=parent,
        preference=preference,
        rows=_rows(settings, registry, recipe.name, preference.method, preferences),
        kept=_heldout_prompts(recipe, chosen),
    )


def train_from_votes(
    settings: Settings,
    plan: PreferencePlan,
    *,
    fresh: bool,
    say: Callable[[str], None],
    on_step: Callable[[int, int, float | None], None],
) -> PreferenceOutcome:
    """Continue the plan's revision, and register what comes of it.

    Args:
        say: gets what is being done, and an empty text before the first step.
        on_step: called with steps done, steps in all, and the loss.

    Raises:
        BaseModelError, TrainingError: as `train.preference.run.train_preferences`.
    """
    say("loading libraries and base")
    from train.preference.run import train_preferences

    say("")
    registry = open_registry(settings)
    trained = train_preferences(
        plan.recipe,
        base=plan.base,
        parent=registry.path(plan.parent),
        preference=plan.preference,
        rows=plan.rows,
        runs_dir=settings.runs_dir,
        kept=plan.kept,
        fresh=fresh,
        on_step=on_step,
    )
    if plan.preference.method == "reward":
        return PreferenceOutcome(plan, trained, None)
    name = plan.recipe.name
    revision = registry.push(name, trained.run.product, card=card_of(plan.recipe), actor=actor())
    return PreferenceOutcome(plan, trained, revision.id)


def _from_votes(settings: Settings, registry: Registry, persona: str) -> "Preferences":
    from arena.preferences import preferences
    from arena.votes.votes import votes_about

    registry.persona(persona)
    kept = ()
    if persona in recipe_names(settings.recipes_dir):
        recipe = load_recipe(persona, settings.recipes_dir)
        bases = [revision.base for revision in registry.revisions(persona)]
        kept = _heldout_prompts(recipe, next(filter(None, bases), settings.base))
    others = [known.name for known in registry.personas() if known.name != persona]
    return preferences(votes_about(registry.engine, persona), persona, personas=others, kept=kept)


def _rows(settings: Settings, registry: Registry, persona: str, method: str, file: Path | None) -> PreferenceRows:
    """The rows of the file, else those of the votes. Raises MeasurementError, ExamplesError."""
    from arena.preferences import require_enough

    if file is not None:
        rows = read_preferences(file)
    else:
        rows = _from_votes(settings, registry, persona).rows("kto" if method == "kto" else "dpo")
    require_enough(rows, persona)
    return rows


def _parent(registry: Registry, persona: str, start: str) -> Revision:
    """The revision to continue: `start`, else the live one. Raises NotFoundError."""
    live = registry.persona(persona).live
    if not start and not live:
        raise NotFoundError(f"{persona} has no live revision to continue; publish one, or name a revision with --from")
    return registry.revision(persona, start or live or "")


def _heldout_prompts(recipe: Recipe, base: str) -> list[str]:
    return ["\n".join(m["content"] for m in example.prompt) for example in heldout_examples(recipe, base)]
