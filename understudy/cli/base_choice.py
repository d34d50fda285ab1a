"""Which base a recipe is worked on: what was asked for, else its own where that can be had, else what is served."""

import math
import re
import shutil

from rich.console import Console

from understudy.bases import HUB_TIMEOUT, Base, require_base, resolve_base, weight_shapes
from understudy.config.recipe import Recipe
from understudy.config.settings import Settings
from understudy.errors import BaseModelError

console = Console(stderr=True, highlight=False, soft_wrap=True)

ON_A_CPU = 1e9
"""Weights up to which a base is worked on without a GPU when nobody asked for it."""


def choose_base(settings: Settings, recipe: Recipe, asked: str | None) -> Base:
    """The base for `recipe`.

    `asked` (`--base`) and UNDERSTUDY_BASE are obeyed. Otherwise the recipe's own base is used if the Hub (or its cache)
    has it and this machine can work on it; if not, the console says why, and the base in the settings takes its place.

    Raises:
        BaseModelError: a base that was asked for cannot be had, or the recipe's own cannot be prepared.
    """
    if asked or "base" in settings.model_fields_set or recipe.base is None:
        return require_base(asked or settings.base)
    try:
        base = require_base(recipe.base)
        _require_room(recipe, base)
    except BaseModelError as error:
        instead = resolve_base(settings.base)
        reason = re.sub(r"[;,]( or)? use --base .*", "", str(error).removeprefix(f"base {recipe.base}: "))
        console.print(
            f"{recipe.name} is made for {recipe.base}: {reason}. Working on the {instead.name} base instead.",
            style="yellow",
        )
        return instead
    return _prepared(settings, recipe, base) if recipe.chat_template else base


def _require_room(recipe: Recipe, base: Base) -> None:
    """Raises BaseModelError when its weights alone are too much for this machine."""
    weights = _weights(base)
    if weights is None:
        return  # nobody knows yet; training asks again once they are here
    import torch

    from train.memory import WEIGHT_BYTES, available

    size = f"it has {weights / 1e9:.1f} billion weights"
    if not torch.cuda.is_available() and weights > ON_A_CPU:
        raise BaseModelError(f"base {recipe.base}: {size} and there is no GPU here")
    method = recipe.training.method
    needed, there = weights * WEIGHT_BYTES[method] / 2**20, available()
    if needed > there:
        raise BaseModelError(
            f"base {recipe.base}: {size}, {needed:,.0f} MiB with {method}, and {there:,.0f} MiB are free"
        )


def _weights(base: Base) -> int | None:
    """How many weights the base has, as its files say, or the Hub."""
    try:
        return sum(math.prod(shape) for shape in weight_shapes(base).values())
    except BaseModelError:
        pass  # it has no safetensors
    from huggingface_hub import HfApi

    files = HfApi().model_info(base.location, files_metadata=True, timeout=HUB_TIMEOUT).siblings or []
    return sum(f.size or 0 for f in files if f.rfilename.endswith(".bin")) // 2 or None  # two bytes each, as usual


def _prepared(settings: Settings, recipe: Recipe, base: Base) -> Base:
    """The base with the recipe's chat template, in a folder of its own; made once."""
    folder = settings.home / "bases" / base.name.rpartition("/")[2]
    if not folder.is_dir():
        console.print(f"{base.name} has no chat template: preparing it in {folder}, once")
        from train.model.prepare import prepare_base

        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        prepare_base(base.location, unfinished, recipe.folder / (recipe.chat_template or ""))
        unfinished.rename(folder)
    return resolve_base(str(folder))
