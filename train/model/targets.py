"""Modules that get an adapter, checked against those that the base has, without loading a weight."""

import difflib
import re
from collections.abc import Iterable

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from train.model.load import first_line
from understudy.bases import Base, pinned
from understudy.config.training import Training
from understudy.errors import BaseModelError, TrainingError

ALL_LINEAR = "all-linear"


def check_targets(base: Base, training: Training) -> str:
    """Refuse `targets` that the base does not have, or that can have no adapter; return what gets one, in words.

    A list names modules by the end of their names; a text is a regular expression for whole names (PEFT's meaning).

    Raises:
        TrainingError: naming what is wrong and the modules that there are.
        BaseModelError: the base's configuration cannot be read.
    """
    targets = training.targets
    if training.method == "full":
        return "none: every weight is trained"
    if targets == ALL_LINEAR:
        return "all linear modules"
    modules = module_types(base)
    able = sorted({name.rpartition(".")[2] for name, fits in modules.items() if fits})
    if isinstance(targets, str):
        return _check_pattern(targets, modules, able, base)
    if not targets:
        raise TrainingError(f"targets: the list is empty; name modules of {base.name}: {', '.join(able)}")
    counts = []
    for target in targets:
        matched = [name for name in modules if name == target or name.endswith(f".{target}")]
        if not matched:
            raise TrainingError(_not_there(target, able, base))
        _require_able(target, matched, modules, able, base)
        counts.append(f"{len(matched)} {target}")
    return ", ".join(counts)


def module_types(base: Base) -> dict[str, bool]:
    """The names of the base's modules, each with whether LoRA can adapt it. Raises BaseModelError."""
    try:
        config = AutoConfig.from_pretrained(base.location, **pinned(base))
        with init_empty_weights():
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"base {base.name}: its configuration cannot be read: {first_line(error)}") from error
    kinds = (torch.nn.Linear, torch.nn.Embedding, Conv1D)
    return {name: isinstance(module, kinds) for name, module in model.named_modules() if name}


def _check_pattern(pattern: str, modules: dict[str, bool], able: list[str], base: Base) -> str:
    try:
        matched = [name for name in modules if re.fullmatch(pattern, name)]
    except re.error as error:
        raise TrainingError(f"targets: {pattern!r} is no regular expression ({error}); write a list of names") from None
    if not matched:
        names = [part for part in re.split(r"[,\s]+", pattern) if part]
        if len(names) > 1 or pattern in able:
            raise TrainingError(
                f"targets: {pattern!r} is a text and fits no module of {base.name}; write a list: "
                f"[{', '.join(names)}] (modules there are: {', '.join(able)})"
            )
        raise TrainingError(_not_there(pattern, able, base))
    _require_able(pattern, matched, modules, able, base)
    return f"{len(matched)} modules"


def _require_able(target: str, matched: Iterable[str], modules: dict[str, bool], able: list[str], base: Base) -> None:
    unable = next((name for name in matched if not modules[name]), None)
    if unable:
        raise TrainingError(
            f"targets: {target!r} is {unable} of {base.name}, which can have no adapter of its own; "
            f"modules that can: {', '.join(able)}"
        )


def _not_there(target: str, able: list[str], base: Base) -> str:
    near = difflib.get_close_matches(target, [*able, ALL_LINEAR], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"targets: {base.name} has no module {target!r}; {hint}modules there are: {', '.join(able)}"
