"""TRL's preference trainers, configured: they continue an adapter, with a frozen copy of it as the reference."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset, disable_progress_bars
from peft import PeftModel
from transformers import PreTrainedTokenizerBase, TrainerCallback, set_seed
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from train.model.load import keep_trainable, load_model, quiet
from train.model.precision import computed_in
from train.preference.dataset import Row, chat, check_made
from train.preference.reward_model import Judge, classifier, reward_config
from train.sft_trainer import CHECKPOINTS
from understudy.bases import Base
from understudy.config.preference import PreferenceTraining
from understudy.config.training import Training
from understudy.data.preferences import Label, PreferencePair
from understudy.errors import TrainingError

TRAINED, REFERENCE = "default", "ref"
"""PEFT's name for the adapter being trained, and TRL's for the frozen copy that it is compared with."""


def build(
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
    parent: Path,
    preference: PreferenceTraining,
    training: Training,
    rows: Sequence[Row],
    folder: Path,
    *,
    judge: Judge | None = None,
    max_tokens: int = 256,
    callbacks: Sequence[TrainerCallback] = (),
) -> transformers.Trainer:
    """Build a trainer that is about to start; `preference` is resolved, `training` is `preference.loading(...)`.

    Raises:
        BaseModelError: the base cannot be loaded.
        TrainingError: the reference is not the adapter in `parent`, or the trainer's rows are not the expected ones.
    """
    disable_progress_bars()
    quiet()
    set_seed(preference.seed)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    common = _common(preference, training, folder)
    given: dict[str, Any] = {"processing_class": tokenizer, "callbacks": list(callbacks)}
    if preference.method == "reward":
        trainer = _reward(base, preference, training, rows, common, given)
    else:
        model = continued(base, parent, training)
        kept = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        trainer = _METHODS[preference.method](model, preference, rows, common, given, judge, max_tokens)
        _in_float32(model, kept)
        if preference.method not in ("grpo", "rloo") or preference.beta:
            check_reference(model)
    if preference.method not in ("grpo", "rloo"):
        assert isinstance(trainer.train_dataset, Dataset)
        check_made(trainer.train_dataset, rows, tokenizer)  # pyright: ignore[reportArgumentType]
    for callback in ("PrinterCallback", "ProgressCallback"):
        for found in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == callback]:
            trainer.remove_callback(found)
    return trainer


def continued(base: Base, parent: Path, training: Training) -> PeftModel:
    """Load the base with the adapter in `parent`, ready to be trained further."""
    model = load_model(base, training)
    keep_trainable(model)
    adapted = PeftModel.from_pretrained(model, str(parent), is_trainable=True)
    adapted.peft_config[TRAINED].base_model_name_or_path = base.location  # PEFT reads it at every checkpoint
    return adapted


def check_reference(model: PeftModel) -> None:
    """Refuse a trainer whose reference is anything but the old adapter (the bare base, for instance).

    Raises:
        TrainingError: there is no frozen copy of the adapter, or it differs from it.
    """
    found = dict(model.named_parameters())
    learning = {name: value for name, value in found.items() if f".{TRAINED}." in name}
    for name, value in learning.items():
        copy = found.get(name.replace(f".{TRAINED}.", f".{REFERENCE}."))
        if copy is None or copy.requires_grad or not torch.equal(copy.float(), value.float()):
            raise TrainingError(
                f"the trainer's reference is not the adapter it starts from ({name}); please report this"
            )
    if not learning:
        raise TrainingError("the adapter it starts from has no weights that learn; start from another revision")


def _in_float32(model: PeftModel, kept: dict[str, torch.Tensor]) -> None:
    """Restore the adapter in float32: on a quantised base TRL rounds it to bfloat16, where small steps vanish."""
    found = dict(model.named_parameters())
    for name, value in kept.items():
        found[name].data = value.float()
        copy = found.get(name.replace(f".{TRAINED}.", f".{REFERENCE}."))
        if copy is not None:
            copy.data = value.float().clone()
            copy.requires_grad_(False)


def _dpo(model: Any, preference: Any, rows: Any, common: Any, given: Any, *_: object) -> DPOTrainer:
    arguments = DPOConfig(
        **common,
        beta=preference.beta,
        loss_type=[preference.loss],
        label_smoothing=preference.label_smoothing,
        max_length=preference.max_length,
    )
    return DPOTrainer(model=model, args=arguments, train_dataset=_pairs(rows), **given)


def _kto(model: Any, preference: Any, rows: Any, common: Any, given: Any, *_: object) -> KTOTrainer:
    good = sum(row.label for row in rows)
    bad = len(rows) - good
    if not good or not bad:
        raise TrainingError(f"KTO needs wanted and unwanted answers: found {good} and {bad}; collect more votes")
    arguments = KTOConfig(
        **common,
        beta=preference.beta,
        max_length=preference.max_length,
        desirable_weight=max(1.0, bad / good),
        undesirable_weight=max(1.0, good / bad),
    )
    # TRL keeps the order and compares neighbours, which must not answer the same prompt, so rows are shuffled.
    return KTOTrainer(model=model, args=arguments, train_dataset=_labels(rows).shuffle(seed=preference.seed), **given)


def _online(model: Any, preference: Any, rows: Any, common: Any, given: Any, judge: Any, max_tokens: int) -> Any:
    config, trainer = _sampling_trainer(preference.method)
    sampled = {"num_generations": preference.answers, "temperature": preference.temperature}
    at_once = preference.rows_at_once * preference.answers
    arguments = config(
        **{**common, "per_device_train_batch_size": at_once, "per_device_eval_batch_size": at_once},
        **sampled,
        beta=preference.beta,
        max_completion_length=max_tokens,
    )

    def reward(prompts: list[Any], completions: list[Any], **_: object) -> list[float]:
        return judge([[*prompt, *answer] for prompt, answer in zip(prompts, completions, strict=True)])

    return trainer(model=model, reward_funcs=[reward], args=arguments, train_dataset=_prompts(rows), **given)


def _sampling_trainer(method: str) -> tuple[Any, Any]:
    """Import GRPO's or RLOO's classes: it takes seconds, and they warn about the version of vLLM, which is not used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if method == "grpo":
            from trl.trainer.grpo_config import GRPOConfig
            from trl.trainer.grpo_trainer import GRPOTrainer

            return GRPOConfig, GRPOTrainer
        from trl.trainer.rloo_config import RLOOConfig
        from trl.trainer.rloo_trainer import RLOOTrainer

        return RLOOConfig, RLOOTrainer


_METHODS = {"dpo": _dpo, "kto": _kto, "grpo": _online, "rloo": _online}


def _reward(
    base: Base, preference: PreferenceTraining, training: Training, rows: Sequence[Row], common: Any, given: Any
) -> RewardTrainer:
    arguments = RewardConfig(**common, max_length=preference.max_length)
    model, adapter = classifier(base, training), reward_config(training)
    return RewardTrainer(model=model, args=arguments, train_dataset=_pairs(rows), peft_config=adapter, **given)


def _pairs(rows: Sequence[Row]) -> Dataset:
    return Dataset.from_list(
        [
            {"prompt": chat(row.prompt), "chosen": chat(row.chosen), "rejected": chat(row.rejected)}
            for row in rows
            if isinstance(row, PreferencePair)
        ]
    )


def _labels(rows: Sequence[Row]) -> Dataset:
    return Dataset.from_list(
        [
            {"prompt": chat(row.prompt), "completion": chat(row.completion), "label": row.label}
            for row in rows
            if isinstance(row, Label)
        ]
    )


def _prompts(rows: Sequence[Row]) -> Dataset:
    """Return each prompt once, in the order of the votes."""
    prompts = {row.prompt: chat(row.prompt) for row in rows}
    return Dataset.from_list([{"prompt": prompt} for prompt in prompts.values()])


def _common(preference: PreferenceTraining, training: Training, folder: Path) -> dict[str, Any]:
    """Return the options that all five of TRL's configurations share."""
    cuda = torch.cuda.is_available()
    checkpointing = cuda if training.gradient_checkpointing is None else training.gradient_checkpointing
    return {
        "output_dir": str(folder),
        "num_train_epochs": preference.epochs,
        "max_steps": preference.max_steps or -1,
        "per_device_train_batch_size": preference.rows_at_once,
        "per_device_eval_batch_size": preference.rows_at_once,
        "gradient_accumulation_steps": preference.batch_size // preference.rows_at_once,
        "learning_rate": preference.learning_rate,
        "lr_scheduler_type": preference.scheduler,
        "warmup_steps": preference.warmup,
        "weight_decay": preference.weight_decay,
        "seed": preference.seed,
        "bf16": computed_in(training) is torch.bfloat16,
        "fp16": computed_in(training) is torch.float16,
        "use_cpu": not cuda,
        "gradient_checkpointing": checkpointing,
        "dataloader_pin_memory": cuda,
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": 1 / CHECKPOINTS,
        "save_total_limit": 1,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }
