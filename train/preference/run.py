"""Trains an adapter further on people's votes, with TRL: `understudy train PERSONA --method dpo`."""

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from train.hub.model_card import adapter_card
from train.hyperparameters import settled
from train.learned import NoIdleStep, check_changed
from train.learning_rate import LORA, base_rate
from train.memory import check_memory, peak_memory
from train.model.load import load_tokenizer, stop_tokens
from train.preference.agreement import Agreement, measure
from train.preference.dataset import Prepared, Row, in_form, prepare
from train.preference.reward_model import Judge, RewardModel, RewardRun, own_function
from train.preference.trainers import TRAINED, build
from train.runs import Run, RunSettings, name_base, run_settings
from train.sft_trainer import Progress, StepCallback
from understudy.bases import Base, adapter_pin, base_revision, resolve_base
from understudy.config.preference import PreferenceTraining
from understudy.config.recipe import Recipe
from understudy.config.training import Training
from understudy.data.messages import fingerprint as data_fingerprint
from understudy.data.preferences import fingerprint
from understudy.data.recipe_rows import training_examples
from understudy.errors import TrainingError
from understudy.registry.adapters import CONFIG, content_revision, short

SETTINGS = "training.json"


class PreferenceSettings(RunSettings):
    """Everything that determines the result of a run on preferences; `training` is how the base was loaded."""

    preference: PreferenceTraining
    parent: str
    """The revision that was continued."""
    preferences_sha256: str
    preferences: int
    """Rows that were trained on."""
    judge: str = ""
    """For GRPO and RLOO: the run that made the reward model, its folder, or the function."""


@dataclass(frozen=True)
class Preferred:
    """The result of a run on preferences."""

    run: Run
    settings: PreferenceSettings
    steps: int
    epochs: float
    loss: float | None
    seconds: float
    peak_memory_mib: float
    trained: Agreement
    """On the rows that it was trained on; an adapter is compared with the one that it continued."""
    heldout: Agreement
    left_out: dict[str, int]
    reused: bool
    resumed_at: int


def train_preferences(
    recipe: Recipe,
    *,
    base: str,
    parent: Path,
    preference: PreferenceTraining,
    rows: Sequence[Row],
    runs_dir: Path,
    kept: Collection[str] = (),
    fresh: bool = False,
    on_step: Progress,
) -> Preferred:
    """Continue the adapter in `parent` and write `runs/<recipe>/<id>/adapter/`; method reward writes `reward/`.

    The same adapter, settings and rows are the same run, as in `train.sft.train`.

    Args:
        kept: prompts that must not be trained on, such as the recipe's held-out ones.

    Raises:
        BaseModelError, TrainingError: as `train.sft.train`; also if the adapter was made for another base.
    """
    resolved = resolve_base(base)
    made = _made_with(parent, recipe, resolved)
    preference = preference.resolved(LORA * base_rate(resolved), made.training)
    if preference.method == "reward":
        preference = preference.model_copy(update={"base_as": "lora"})
    training = preference.loading(made.training)
    tokenizer = load_tokenizer(resolved)
    stops = stop_tokens(tokenizer, resolved)
    fitting = in_form(preference.method, rows)
    ready = prepare(fitting, tokenizer, stops, max_length=preference.max_length, kept=kept)
    judge, judge_name = _judge(recipe, resolved, parent, preference, rows, runs_dir, kept, on_step)
    settings = _settings(recipe, resolved, training, preference, made, parent, ready, judge_name)
    folder = runs_dir / recipe.name / settings.id
    run = RewardRun(folder) if preference.method == "reward" else Run(folder)
    if fresh:
        run.clear()
    if run.finished:
        return _finished(run, settings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(settings.model_dump_json(indent=2))
    check_memory(resolved, _as_needed(preference, training), ready.longest)
    trainer = build(
        resolved,
        tokenizer,
        parent,
        preference,
        training,
        ready.train,
        run.checkpoints,
        judge=judge,
        max_tokens=recipe.sampling.max_tokens,
        callbacks=[StepCallback(on_step), NoIdleStep()],
    )
    facts = _run(trainer, run)
    _save(trainer, run, settings, recipe, resolved)
    del trainer
    if preference.method != "reward":
        check_changed(run.product, parent)
    measured = measure(resolved, parent, run.product, preference, training, ready)
    result = {**facts, "left_out": ready.left_out, **{side: one.model_dump() for side, one in measured.items()}}
    run.result.write_text(json.dumps(result))
    return _finished(run, settings, reused=False)


def _run(trainer: transformers.Trainer, run: Run) -> dict[str, object]:
    """Train from the last checkpoint on, and write the log into the run's folder."""
    checkpoint = run.last_checkpoint()
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    state = trainer.state
    run.log.write_text("".join(json.dumps(entry) + "\n" for entry in state.log_history))
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    if not all(bool(torch.isfinite(torch.tensor(loss))) for loss in losses):
        raise TrainingError("the loss is no longer a number; lower learning_rate and train again")
    return {
        "steps": state.global_step,
        "epochs": round(state.epoch or 0, 2),
        "loss": losses[-1] if losses else None,
        "seconds": round(time.monotonic() - started, 2),
        "peak_memory_mib": round(peak_memory()),
        "resumed_at": int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0,
    }


def _save(trainer: transformers.Trainer, run: Run, settings: PreferenceSettings, recipe: Recipe, base: Base) -> None:
    """Write what was trained (never the frozen copy), under names that mean the same on every machine."""
    assert isinstance(trainer.model, torch.nn.Module)
    trainer.model.save_pretrained(str(run.product), selected_adapters=[TRAINED])  # pyright: ignore
    (run.product / SETTINGS).write_text(settings.model_dump_json(indent=2))
    (run.product / "README.md").write_text(adapter_card(recipe, settings) + _card(settings))
    name_base(run.product, base.public_name, adapter_pin(base))


def _judge(
    recipe: Recipe,
    base: Base,
    parent: Path,
    preference: PreferenceTraining,
    rows: Sequence[Row],
    runs_dir: Path,
    kept: Collection[str],
    on_step: Progress,
) -> tuple[Judge | None, str]:
    """Return the judge of sampled answers and its name; train a reward model if none is named."""
    if preference.method not in ("grpo", "rloo"):
        return None, ""
    training = preference.model_copy(update={"base_as": "lora"}).loading(_made_with(parent, recipe, base).training)
    if ":" in preference.reward:
        return own_function(preference.reward), preference.reward
    if preference.reward:
        return RewardModel(base, Path(preference.reward), training), preference.reward
    wanted = PreferenceTraining(method="reward", seed=preference.seed, max_length=preference.max_length)
    options = {"base": base.name, "parent": parent, "preference": wanted, "rows": rows, "runs_dir": runs_dir}
    trained = train_preferences(recipe, **options, kept=kept, on_step=on_step)
    loaded = trained.settings.training
    return RewardModel(base, trained.run.product, loaded), trained.settings.id


def _settings(
    recipe: Recipe,
    base: Base,
    training: Training,
    preference: PreferenceTraining,
    made: "_Made",
    parent: Path,
    ready: Prepared,
    judge: str,
) -> PreferenceSettings:
    known = run_settings(recipe, training, base, rows=made.rows, examples_sha256=made.examples_sha256)
    return PreferenceSettings(
        **known.model_dump(),
        preference=preference,
        parent=content_revision(parent),
        preferences_sha256=fingerprint([*ready.train, *ready.heldout]),
        preferences=len(ready.train),
        judge=judge,
    )


@dataclass(frozen=True)
class _Made:
    """How the adapter that is continued was made: its settings, and the rows that it was trained on."""

    training: Training
    rows: int
    examples_sha256: str


def _made_with(parent: Path, recipe: Recipe, base: Base) -> _Made:
    """Read the adapter's `training.json`; what it does not say is taken from the recipe as it is now.

    Raises:
        TrainingError: the adapter was made for another base.
    """
    try:
        known = json.loads((parent / SETTINGS).read_text())
    except (OSError, json.JSONDecodeError):
        known = {}
    made_for = known.get("base_revision") or json.loads((parent / CONFIG).read_text()).get("revision")
    here = base_revision(base)
    if made_for and here and made_for != here:
        raise TrainingError(
            f"{parent.name[:12]} was trained on {known.get('base', 'another base')} at {made_for}, "
            f"{base.name} here is at {here}; name the base it was made for with --base"
        )
    if {"training", "rows", "examples_sha256"} <= known.keys():
        return _Made(Training.model_validate(known["training"]), known["rows"], known["examples_sha256"])
    examples = training_examples(recipe, base.name)
    training = known.get("training")
    return _Made(
        settled(recipe.training, base, len(examples)) if training is None else Training.model_validate(training),
        known.get("rows", len(examples)),
        known.get("examples_sha256", data_fingerprint(examples)),
    )


def _as_needed(preference: PreferenceTraining, training: Training) -> Training:
    """Return the settings for the estimate of memory: a pair counts as two rows, a prompt as its answers."""
    rows = {"dpo": 2, "reward": 2, "kto": 2}.get(preference.method, preference.answers) * preference.rows_at_once
    return training.model_copy(update={"batch_size": rows, "micro_batch_size": rows})


def _finished(run: Run, settings: PreferenceSettings, *, reused: bool = True) -> Preferred:
    known = json.loads(run.result.read_text())
    sides = {side: Agreement.model_validate(known.pop(side)) for side in ("trained", "heldout")}
    return Preferred(run, settings, **{**known, **sides}, reused=reused)


def _card(settings: PreferenceSettings) -> str:
    made = settings.preference
    judged_by = f", judged by `{settings.judge}`" if settings.judge else ""
    return (
        f"\nIt continues revision `{short(settings.parent)}` with {made.method.upper()} on {settings.preferences} "
        f"preferences from blind votes{judged_by} (learning rate {made.learning_rate:g}, beta {made.beta:g}, "
        f"{made.epochs:g} epochs; SHA-256 of the preferences `{settings.preferences_sha256[:16]}`).\n"
    )
