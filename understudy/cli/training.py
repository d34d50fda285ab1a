"""`understudy train` and `understudy base`: what people see while a model learns."""

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from understudy.bases import TINY_DIR, resolve_base
from understudy.cli.base_choice import choose_base
from understudy.cli.console import console, prepare, status, steps
from understudy.cli.json_lines import Report, silent
from understudy.config.recipe import FEW_ROWS, Recipe, load_recipe
from understudy.config.settings import Settings
from understudy.config.training import Training
from understudy.data.recipe_rows import source_split, training_examples
from understudy.errors import RecipeError, UnderstudyError
from understudy.registry.actor import actor
from understudy.registry.adapters import short
from understudy.registry.registry import open_registry
from understudy.workflows.recipe_card import card_of

if TYPE_CHECKING:
    from train.sft import Trained
    from train.tracking import Tracker

Settable = TypeVar("Settable", bound=BaseModel)
FIGURES = ("steps", "epochs", "loss", "seconds", "tokens_per_second", "peak_memory_mib")
"""Of a run, told by `--json`."""


def train_recipe(
    settings: Settings,
    name: str,
    base: str | None,
    changes: dict[str, Any],
    *,
    fresh: bool,
    tracker: "Tracker",
    processes: int | None,
    report: Report = silent,
) -> None:
    """Trains a recipe and registers the adapter as its persona's newest revision.

    `report` is told each step, and at the end the outcome.
    """
    prepare(trains=True)
    recipe = load_recipe(name, settings.recipes_dir)
    base = choose_base(settings, recipe, base).name
    training = changed(recipe.training, changes)
    examples = training_examples(recipe, base)
    from train.hyperparameters import settled

    training = settled(training, resolve_base(base), len(examples))
    if _in_several_processes(base, training, processes):
        return
    _print_plan(recipe, base, training, changes, len(examples))
    with status("loading libraries and base"):
        import torch

        from train.light import import_lightly

        import_lightly()
        from train.distributed import main_process
        from train.sft import train
    if not torch.cuda.is_available():
        console.print("no GPU here: training on the CPU", style="dim")
    options = {"base": base, "training": training, "runs_dir": settings.runs_dir, "fresh": fresh, "tracker": tracker}
    with steps(f"training {recipe.name}") as show:

        def on_step(done: int, total: int, loss: float | None) -> None:
            show(done, total, loss)
            report(step=done, of=total, loss=loss)

        trained = train(
            recipe,
            **options,
            examples=examples,
            checkpoint_seconds=settings.checkpoint_seconds,
            on_step=on_step,
            on_fold=_fold,
        )
    _print_outcome(trained)
    if not main_process():
        return
    revision = None if training.method == "full" else _register(settings, recipe, trained, base)
    outcome = "reused" if trained.reused else "trained"
    figures = {name: getattr(trained, name) for name in FIGURES}
    report(outcome=outcome, persona=recipe.name, revision=revision, base=base, run=str(trained.run.folder), **figures)


def _register(settings: Settings, recipe: Recipe, trained: "Trained", base: str) -> str:
    """Makes the adapter its persona's newest revision; returns that revision."""
    card = card_of(recipe, trained.settings.rows)
    revision = open_registry(settings).push(recipe.name, trained.run.product, card=card, actor=actor())
    console.print(
        f"registered as {recipe.name}@{short(revision.id)}; put it on stage: understudy publish {recipe.name}"
    )
    if resolve_base(settings.base).name != base:
        console.print(f"its stage needs the base that it was trained on: UNDERSTUDY_BASE={base} understudy serve")
    return revision.id


def _in_several_processes(base: str, training: Training, wanted: int | None) -> bool:
    """Whether the run was left to processes of its own, one a GPU, and is over; in those it goes on here.

    Raises:
        TrainingError: the batch cannot be divided among them, or one failed.
    """
    from train.distributed import launch, launched, main_process, shared, usual

    if launched():
        console.quiet = not main_process()
        return False
    processes = wanted or usual(training)
    if processes == 1:
        return False
    shared(training, processes)
    console.print(f"{processes} processes, {training.batch_size // processes} rows of each batch to each")
    code = launch([*sys.argv[1:], "--base", base], processes)
    if code:
        sys.exit(code)
    return True


def _print_plan(recipe: Recipe, base: str, training: Training, changes: dict[str, Any], rows: int) -> None:
    if rows < FEW_ROWS:
        console.print(f"warning: {recipe.name} has only {rows} examples; expect it to repeat them", style="yellow")
    console.print(f"{recipe.name}: {training.method} on {base}, {rows} examples, {_epochs(training)}", end="")
    console.print(_inherited(recipe, training, changes))
    split = source_split(recipe, base)
    if split:
        console.print(f"  data from {split}")


def _print_outcome(trained: "Trained") -> None:
    if trained.reused:
        console.print(f"already trained with these settings and examples: {trained.run.folder} (--fresh trains anew)")
    else:
        went_on = f", went on from step {trained.resumed_at}" if trained.resumed_at else ""
        console.print(
            f"{trained.steps} steps ({trained.epochs:g} epochs) in {trained.seconds:.1f} s{went_on}, "
            f"last loss {trained.loss:.3f}, "
            f"{trained.tokens_per_second:,.0f} tokens/s, at most {trained.peak_memory_mib:,.0f} MiB"
        )
    if trained.settings.training.method == "full":
        console.print(f"a whole model, no adapter: {trained.run.product}; serve it with UNDERSTUDY_BASE set to that")


def said(settings: list[str]) -> dict[str, Any]:
    """The settings of `--set NAME=VALUE`. Raises RecipeError when one has another form."""
    import yaml

    changes = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals and value):
            raise RecipeError(f"--set {setting!r}: use NAME=VALUE, such as --set neftune=5")
        changes[name.strip().replace("-", "_")] = yaml.safe_load(value)
    return changes


def build_base(settings: Settings, out: Path | None, *, quick: bool, seed: int, fresh: bool) -> None:
    """Trains `tiny`, the base of the tests."""
    prepare()
    target = out or TINY_DIR
    with status("loading libraries"):
        from tools.tiny_base.pretrain import build
    work = settings.home / "base-build" / f"{'quick' if quick else 'full'}-{seed}"
    with steps("training the base") as on_step:
        result = build(target, quick=quick, seed=seed, resume=not fresh, work=work, on_progress=on_step)
    console.print(
        f"{result.parameters / 1e6:.1f}M parameters, {result.steps} steps, {result.seconds:.0f} s, "
        f"held-out loss {result.heldout_loss:.3f}: {result.out}"
    )


def evaluate_base(path: Path | None, limit: int | None, *, json_output: bool) -> None:
    """Prints how a base does on the held-out requests."""
    prepare()
    folder = path or TINY_DIR
    if not (folder / "config.json").is_file():
        raise UnderstudyError(f"{folder}: no model there; build one with `understudy base build`")
    with status("loading libraries"):
        from tools.tiny_base.evaluate import evaluate
    with steps("asking") as on_step:
        report = evaluate(folder, limit=limit, on_progress=lambda done, total: on_step(done, total, None))
    print(report.to_json() if json_output else report)


def changed(training: Settable, changes: dict[str, Any]) -> Settable:
    """The settings with the ones that the command line gives. Raises RecipeError."""
    wanted = {key: value for key, value in changes.items() if value is not None}
    try:
        return type(training).model_validate({**training.model_dump(), **wanted})
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise RecipeError(first["msg"].removeprefix("Value error, ")) from None
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            known = type(training).model_fields
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"settings there are: {', '.join(known)}"
            raise RecipeError(f"--set {name}: there is no such setting of training; {hint}") from None
        option = "--" + name.replace("_", "-")
        raise RecipeError(f"{option}: {first['msg']}, found {first['input']!r}") from None


def _epochs(training: Training) -> str:
    return f"epochs: {training.epochs}" if isinstance(training.epochs, str) else f"{training.epochs:g} epochs"


def _inherited(recipe: Recipe, training: Training, changes: dict[str, Any]) -> str:
    """Which settings were said on the command line, and which the recipe or the defaults say."""
    said = [k for k, v in changes.items() if v is not None]
    rest = {k: v for k, v in training.model_dump().items() if k not in said}
    shown = ", ".join(f"{k} {v}" for k, v in rest.items() if k in ("learning_rate", "rank", "batch_size", "seed"))
    over = f"; overridden: {', '.join(f'{k} {getattr(training, k)}' for k in said)}" if said else ""
    return f"\n  from {recipe.folder / 'recipe.yaml'}: {shown}{over}"


def _fold(done: int, total: int) -> None:
    if done < total:
        console.print(f"choosing the number of epochs: fold {done + 1} of {total}", style="dim")
