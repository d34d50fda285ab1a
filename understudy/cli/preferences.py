"""`understudy preferences`, and `understudy train --method dpo|kto|reward|grpo|rloo`: from votes to a next revision."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.bases import require_base
from understudy.cli.console import console, prepare, status, steps
from understudy.cli.training import changed
from understudy.config.preference import PreferenceTraining
from understudy.config.recipe import Recipe, load_recipe, recipe_names
from understudy.config.settings import Settings
from understudy.data.preferences import Form, Label, PreferencePair, read_preferences, write_preferences
from understudy.data.recipe_rows import heldout_examples
from understudy.errors import NotFoundError, RecipeError
from understudy.registry.actor import actor
from understudy.registry.adapters import short
from understudy.registry.registry import Registry, Revision, open_registry
from understudy.workflows.recipe_card import card_of

if TYPE_CHECKING:
    from arena.preferences import PreferenceCounts, Preferences
    from train.preference.run import Agreement, Preferred

Rows = list[PreferencePair] | list[Label]


def export_preferences(settings: Settings, persona: str, out: Path | None, form: Form, *, json_output: bool) -> None:
    """Writes what votes say about a persona as rows to train on; to standard output where no file is named."""
    from arena.preferences import require_enough

    found = _from_votes(settings, open_registry(settings), persona)
    rows = found.rows(form)
    require_enough(rows, persona)
    if out is not None:
        write_preferences(rows, out)
    if json_output:
        shown = {} if out is not None else {"rows": [row.model_dump(mode="json") for row in rows]}
        print(json.dumps({"persona": persona, "format": form, **found.counted.model_dump(), **shown}))
        return
    if out is None:
        sys.stdout.writelines(row.model_dump_json() + "\n" for row in rows)
    console.print(_told(persona, found.counted, form))


def train_from_votes(
    settings: Settings,
    name: str,
    base: str | None,
    changes: dict[str, Any],
    *,
    preferences: Path | None,
    start: str,
    fresh: bool,
    alone: bool = True,
) -> None:
    """Continues a persona's live revision (or `start`) from votes, and registers what comes of it.

    Raises:
        TooFewVotesError, ExamplesError: there is too little to learn from, or the file cannot be read.
        RecipeError: a setting cannot be followed; learning from votes runs here, in one process (`alone`).
        NotFoundError, BaseModelError, TrainingError: as `train.preference.run.train_preferences`.
    """
    if not alone:
        raise RecipeError(
            "learning from votes runs here in one process: leave --on, --tracker, --processes and --json out"
        )
    preference = changed(PreferenceTraining(), changes)
    recipe, registry = load_recipe(name, settings.recipes_dir), open_registry(settings)
    parent = _parent(registry, recipe.name, start)
    chosen = require_base(base or parent.base or settings.base).name
    kept = _heldout_prompts(recipe, chosen)
    rows = _rows(settings, registry, recipe.name, preference.method, preferences)
    prepare(trains=True)
    console.print(
        f"{recipe.name}: {preference.method} on {chosen} from {short(parent.id)}, "
        f"{sum(row.side == 'train' for row in rows)} preferences, {sum(row.side == 'heldout' for row in rows)} held out"
    )
    with status("loading libraries and base"):
        from train.light import import_lightly

        import_lightly()
        from train.preference.run import train_preferences
    options = {"base": chosen, "parent": registry.path(parent), "preference": preference, "rows": rows, "kept": kept}
    with steps(f"training {recipe.name}") as on_step:
        trained = train_preferences(recipe, runs_dir=settings.runs_dir, **options, fresh=fresh, on_step=on_step)
    _print(trained)
    if preference.method == "reward":
        console.print(f"a reward model, never served: {trained.run.product}; use it with --method grpo or rloo")
        return
    revision = registry.push(recipe.name, trained.run.product, card=card_of(recipe), actor=actor())
    console.print(
        f"registered as {recipe.name}@{short(revision.id)}; prove it: understudy verify {recipe.name}; "
        f"try it: understudy publish {recipe.name} --canary 50%, understudy promote {recipe.name} --when-better"
    )


def _from_votes(settings: Settings, registry: Registry, persona: str) -> "Preferences":
    from arena.preferences import preferences, voted_battles

    registry.persona(persona)
    kept = ()
    if persona in recipe_names(settings.recipes_dir):
        recipe = load_recipe(persona, settings.recipes_dir)
        bases = [revision.base for revision in registry.revisions(persona)]
        kept = _heldout_prompts(recipe, next(filter(None, bases), settings.base))
    others = [known.name for known in registry.personas() if known.name != persona]
    return preferences(voted_battles(registry.engine, persona), persona, personas=others, kept=kept)


def _rows(settings: Settings, registry: Registry, persona: str, method: str, file: Path | None) -> Rows:
    """From the file, else from the votes. Raises TooFewVotesError, ExamplesError."""
    from arena.preferences import require_enough

    if file is not None:
        rows = read_preferences(file)
    else:
        rows = _from_votes(settings, registry, persona).rows("kto" if method == "kto" else "dpo")
    require_enough(rows, persona)
    return rows


def _parent(registry: Registry, persona: str, start: str) -> Revision:
    """The revision to go on from: `start`, else what is live. Raises NotFoundError."""
    live = registry.persona(persona).live
    if not start and not live:
        raise NotFoundError(
            f"{persona} has no live revision to go on from; publish one, or name a revision with --from"
        )
    return registry.revision(persona, start or live or "")


def _heldout_prompts(recipe: Recipe, base: str) -> list[str]:
    return ["\n".join(m["content"] for m in example.prompt) for example in heldout_examples(recipe, base)]


def _print(trained: "Preferred") -> None:
    left_out = ", ".join(f"{count} {reason}" for reason, count in trained.left_out.items())
    if left_out:
        console.print(f"left out: {left_out}", style="yellow")
    if trained.reused:
        console.print(f"already trained with these settings and preferences: {trained.run.folder} (--fresh: anew)")
    else:
        went_on = f", went on from step {trained.resumed_at}" if trained.resumed_at else ""
        loss = "" if trained.loss is None else f", last loss {trained.loss:.3f}"
        console.print(
            f"{trained.steps} steps ({trained.epochs:g} epochs) in {trained.seconds:.1f} s{went_on}{loss}, "
            f"at most {trained.peak_memory_mib:,.0f} MiB"
        )
    console.print(
        f"sides with people on {_share(trained.heldout)} of the held-out pairs "
        f"({_share(trained.trained)} of those it learnt from), mean margin {trained.heldout.margin:+.3f}"
    )


def _share(found: "Agreement") -> str:
    from understudy.statistics.intervals import rate

    if not found.of:
        return "none"
    estimate = rate(found.right, found.of)
    return f"{found.right} of {found.of} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f} %)"


def _told(persona: str, counted: "PreferenceCounts", form: str) -> str:
    rows, heldout = (
        (counted.labels, counted.labels_heldout) if form == "kto" else (counted.pairs, counted.pairs_heldout)
    )
    named = ("ties", "both_bad", "outvoted", "undecided", "identical", "empty", "others")
    rest = ", ".join(f"{getattr(counted, name)} {name.replace('_', ' ')}" for name in named if getattr(counted, name))
    return (
        f"{persona}: {counted.votes} votes, {rows} {'labels' if form == 'kto' else 'pairs'} ({heldout} held out) on "
        f"{counted.prompts} prompts ({counted.prompts_heldout} held out)" + (f"; {rest}" if rest else "")
    )
