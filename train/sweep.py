"""Searches for better settings: Optuna chooses trials, cross-validation judges each: `understudy sweep RECIPE`.

The recipe's held-out rows are never read, so they can still judge the result.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import optuna

from train.cross_validation import cross_validate
from train.hyperparameters import settled
from train.model.load import load_tokenizer, quiet
from understudy.bases import require_base
from understudy.config.recipe import Recipe
from understudy.config.training import Training
from understudy.config.trial import Sweep, SweepTrial
from understudy.data.messages import Example
from understudy.data.recipe_rows import training_examples
from understudy.errors import TrainingError

FOLDS = 3
MOST_ROWS = 512
"""Most rows that a trial uses."""

Choice = Callable[[optuna.Trial, Training], object]


def _learning_rate(trial: optuna.Trial, start: Training) -> float:
    return trial.suggest_float("learning_rate", start.learning_rate / 8, min(1.0, 4 * start.learning_rate), log=True)


CHOICES: dict[str, Choice] = {
    "learning_rate": _learning_rate,
    "epochs": lambda trial, _: trial.suggest_int("epochs", 2, 16, step=2),
    "batch_size": lambda trial, _: trial.suggest_categorical("batch_size", [1, 2, 4, 8]),
    "rank": lambda trial, _: trial.suggest_categorical("rank", [4, 8, 16, 32]),
    "scheduler": lambda trial, _: trial.suggest_categorical("scheduler", ["cosine", "linear", "constant"]),
    "method": lambda trial, _: trial.suggest_categorical("method", ["qlora", "lora"]),
    "rslora": lambda trial, _: trial.suggest_categorical("rslora", [False, True]),
    "loraplus": lambda trial, _: trial.suggest_categorical("loraplus", [0.0, 4.0, 16.0]),
    "neftune": lambda trial, _: trial.suggest_categorical("neftune", [0.0, 5.0]),
    "rows": lambda trial, _: trial.suggest_categorical("rows", [0.25, 0.5, 1.0]),
}
"""The settings that can be swept over. `rows` is the share of the rows to train on; the caller gives `base`."""

DEFAULT_OVER = ("learning_rate", "epochs", "batch_size", "rank", "scheduler")


def sweep(
    recipe: Recipe,
    training: Training,
    *,
    bases: Sequence[str],
    over: Sequence[str],
    trials: int,
    storage: Path,
    on_trial: Callable[[int, int, float | None], None],
) -> Sweep:
    """Continue the sweep in `storage` until it has `trials` trials, and return all that were tried.

    Args:
        on_trial: called with (trials done, trials in all, best loss so far).

    Raises:
        TrainingError: a setting cannot be swept over, or no trial could be finished.
    """
    unknown = [name for name in over if name not in CHOICES]
    if unknown:
        raise TrainingError(f"cannot sweep over {', '.join(unknown)}; use some of: {', '.join(CHOICES)}")
    quiet()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=_name(recipe, over, bases),
        storage=f"sqlite:///{storage}",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=training.seed, multivariate=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=0),
    )
    examples = training_examples(recipe, bases[0])[:MOST_ROWS]
    training = start_of(recipe, training, bases[0], len(examples))
    if not study.trials:
        for base in bases:
            study.enqueue_trial(_start(training, over, base if len(bases) > 1 else None))
    done = _finished(study)
    while done < trials:
        on_trial(done, trials, _best(study))
        study.optimize(lambda trial: _loss(trial, training, bases, over, examples), n_trials=1, catch=(TrainingError,))
        done = _finished(study)
    on_trial(done, trials, _best(study))
    found = _found(recipe, study, over)
    if found.best is None:
        raise TrainingError(f"no trial could be finished; see {storage}, and try the settings with `understudy train`")
    return found


def start_of(recipe: Recipe, training: Training, base: str, rows: int) -> Training:
    """Return the settings that the search starts from; `cross-validated` epochs would choose within each trial."""
    if training.epochs == "cross-validated":
        training = training.model_copy(update={"epochs": "auto"})
    return settled(training, require_base(base), rows)


def settings_of(found: SweepTrial, training: Training) -> Training:
    """Return the settings of a trial, ready to be written into a recipe."""
    known = {name: value for name, value in found.settings.items() if name not in ("rows", "base")}
    return training.model_copy(update=_whole(known))


def _loss(
    trial: optuna.Trial, training: Training, bases: Sequence[str], over: Sequence[str], examples: Sequence[Example]
) -> float:
    chosen = {name: CHOICES[name](trial, training) for name in over}
    base = require_base(str(trial.suggest_categorical("base", list(bases))) if len(bases) > 1 else bases[0])
    share = float(chosen.pop("rows", 1.0))  # pyright: ignore[reportArgumentType]
    settings = training.model_copy(update=_whole(chosen))
    assert isinstance(settings.epochs, float | int)
    epochs = round(settings.epochs)
    ends: list[float] = []

    def judge(number: int, losses: list[float]) -> None:
        ends.append(losses[-1])
        trial.report(fmean(ends), number)
        if trial.should_prune():
            raise optuna.TrialPruned

    found = cross_validate(
        base,
        load_tokenizer(base),
        settings,
        examples,
        epochs=epochs,
        folds=FOLDS,
        share=share,
        on_fold=lambda done, total: None,
        on_losses=judge,
    )
    trial.set_user_attr("best_epoch", min(range(epochs), key=found.means.__getitem__) + 1)
    return found.means[-1]


def _whole(chosen: dict) -> dict:
    """Add the settings that follow from the chosen ones: alpha is twice the rank."""
    return {**chosen, "alpha": 2 * chosen["rank"]} if "rank" in chosen else chosen


def _start(training: Training, over: Sequence[str], base: str | None) -> dict[str, object]:
    """Return the recipe's own settings as the first trial on a base, so that the sweep can only do better."""
    own = {**training.model_dump(), "rows": 1.0}
    first = {name: own[name] for name in over}
    return {**first, "base": base} if base else first


def _name(recipe: Recipe, over: Sequence[str], bases: Sequence[str]) -> str:
    return f"{recipe.name}: {', '.join(sorted(over))} on {', '.join(bases)}"


def _finished(study: optuna.Study) -> int:
    return sum(trial.state.is_finished() for trial in study.trials)


def _best(study: optuna.Study) -> float | None:
    done = [trial.value for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    return min((value for value in done if value is not None), default=None)


def _found(recipe: Recipe, study: optuna.Study, over: Sequence[str]) -> Sweep:
    complete = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    tried = [
        SweepTrial(
            number=trial.number,
            settings=trial.params,
            loss=trial.value if trial.state == optuna.trial.TrialState.COMPLETE else None,
            best_epoch=trial.user_attrs.get("best_epoch"),
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
            state=trial.state.name.lower(),
        )
        for trial in study.trials
        if trial.state.is_finished()
    ]
    importance = optuna.importance.get_param_importances(study) if len(complete) >= 4 else {}
    return Sweep(recipe=recipe.name, over=list(over), trials=tried, importance=dict(importance))
