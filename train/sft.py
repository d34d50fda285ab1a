"""Teaches a base a persona with TRL's SFTTrainer: `understudy train RECIPE`."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging as transformers_logging
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from train.card import adapter_card
from train.preflight import (
    TokenRow,
    check_lengths,
    check_masks,
    check_stop_trained,
    token_rows,
    training_rows,
)
from train.runs import Run, RunSettings, run_settings
from understudy.adapters import CONFIG
from understudy.bases import Base, base_revision, resolve_base
from understudy.errors import BaseModelError, TrainingError
from understudy.recipes import Recipe, Training

Progress = Callable[[int, int, float | None], None]
"""Called with (steps done, steps in all, last loss)."""

CHECKPOINTS = 10
"""Checkpoints in the course of a run."""


@dataclass(frozen=True)
class Trained:
    """What a run left behind."""

    run: Run
    settings: RunSettings
    steps: int
    loss: float | None
    seconds: float
    reused: bool
    """True when this very run had finished before and nothing was trained."""
    resumed_at: int
    """Step from which an interrupted run went on; 0 for a run from the start."""


def train(
    recipe: Recipe, *, base: str, training: Training, runs_dir: Path, fresh: bool = False, on_step: Progress
) -> Trained:
    """Trains `recipe` on `base` and writes `runs/<recipe>/<id>/adapter/`, ready to be pushed.

    The same settings and data are the same run: finished, it is returned as it is; interrupted, it goes on
    from its last checkpoint. `fresh` forgets what is there.

    Raises:
        ExamplesError, BaseModelError: the data or the base cannot be used.
        TrainingError: preflight refused the run, or the loss is not a number any more.
    """
    resolved = resolve_base(base)
    examples = recipe.load_examples()
    settings = run_settings(recipe, training, examples, resolved.name, base_revision(resolved))
    run = Run(runs_dir / recipe.name / settings.id)
    if fresh:
        run.clear()
    if run.finished:
        done = json.loads(run.result.read_text())
        return Trained(run, settings, done["steps"], done["loss"], done["seconds"], True, 0)
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "settings.json").write_text(settings.model_dump_json(indent=2))

    tokenizer = _load_tokenizer(resolved)
    rows = token_rows(training_rows(examples), tokenizer)
    check_lengths(rows, training.max_length, recipe.folder / recipe.examples)
    trainer = _build_trainer(resolved, tokenizer, training, examples, run, on_step)
    _check_trainer(trainer, rows, tokenizer)
    return _run(trainer, run, settings, recipe, resolved)


def _run(trainer: SFTTrainer, run: Run, settings: RunSettings, recipe: Recipe, base: Base) -> Trained:
    checkpoint = run.last_checkpoint()
    resumed_at = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if losses and not all(map(_finite, losses)):
        raise TrainingError("the loss is not a number any more; lower training.learning_rate and train again")
    _save_adapter(trainer.model, run, settings, recipe, base)  # pyright: ignore[reportArgumentType]
    run.log.write_text("".join(json.dumps(entry) + "\n" for entry in trainer.state.log_history))
    steps, loss = trainer.state.global_step, losses[-1] if losses else None
    run.result.write_text(json.dumps({"steps": steps, "loss": loss, "seconds": round(seconds, 2)}))
    return Trained(run, settings, steps, loss, seconds, False, resumed_at)


def _load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(base.location)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"base {base.name}: its tokenizer cannot be loaded: {_first_line(error)}") from error


def _load_model(base: Base, method: str) -> PreTrainedModel:
    dtype = torch.bfloat16
    quantization = {
        "qlora": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
        "lora-8bit": BitsAndBytesConfig(load_in_8bit=True),
        "lora": None,
    }[method]
    device = {"": "cuda:0" if torch.cuda.is_available() else "cpu"}
    try:
        return AutoModelForCausalLM.from_pretrained(
            base.location, dtype=dtype, quantization_config=quantization, device_map=device
        )
    except (OSError, ValueError) as error:
        raise BaseModelError(f"base {base.name} cannot be loaded: {_first_line(error)}") from error


def _build_trainer(
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
    training: Training,
    examples: list,
    run: Run,
    on_step: Progress,
) -> SFTTrainer:
    disable_progress_bars()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    set_seed(training.seed)
    rows = [{"prompt": r.prompt, "completion": r.completion} for r in training_rows(examples)]
    cuda = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(run.checkpoints),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.scheduler,
        warmup_steps=training.warmup,
        weight_decay=0.0,
        max_length=training.max_length,
        completion_only_loss=True,
        seed=training.seed,
        bf16=True,
        use_cpu=not cuda,
        gradient_checkpointing=cuda,
        dataloader_pin_memory=cuda,
        save_strategy="steps",
        save_steps=1 / CHECKPOINTS,
        save_total_limit=1,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )
    lora = LoraConfig(
        r=training.rank,
        lora_alpha=training.alpha,
        lora_dropout=training.dropout,
        target_modules=training.targets,
        task_type="CAUSAL_LM",
    )
    trainer = SFTTrainer(
        model=_load_model(base, training.method),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[_Report(on_step)],
    )
    for callback in ("PrinterCallback", "ProgressCallback"):
        for found in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == callback]:
            trainer.remove_callback(found)
    return trainer


def _check_trainer(trainer: SFTTrainer, rows: list[TokenRow], tokenizer: PreTrainedTokenizerBase) -> None:
    """The last look before training: not at what was asked for but at what the trainer made of it."""
    dataset = trainer.train_dataset
    assert isinstance(dataset, Dataset)
    check_masks(dataset, rows)
    configured = trainer.model.generation_config.eos_token_id  # pyright: ignore
    stops = [tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])]
    check_stop_trained(dataset["labels"], {stop for stop in stops if isinstance(stop, int)})


def _save_adapter(model: PeftModel, run: Run, settings: RunSettings, recipe: Recipe, base: Base) -> None:
    """Writes the adapter under names that mean the same on every machine (PEFT writes local paths)."""
    model.save_pretrained(str(run.adapter), safe_serialization=True)
    path = run.adapter / CONFIG
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base.name
    config["revision"] = settings.base_revision
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True))
    (run.adapter / "training.json").write_text(settings.model_dump_json(indent=2))
    (run.adapter / "README.md").write_text(adapter_card(recipe, settings))


class _Report(TrainerCallback):
    """Passes the trainer's progress on."""

    def __init__(self, on_step: Progress) -> None:
        self.on_step = on_step

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **_: object
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None:
            self.on_step(state.global_step, state.max_steps, loss)


def _finite(loss: float) -> bool:
    return bool(torch.isfinite(torch.tensor(loss)))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
