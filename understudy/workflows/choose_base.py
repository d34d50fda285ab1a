"""Choose the base for a recipe: the one asked for, else the recipe's own if available, else that of the settings."""

import math
import shutil
from collections.abc import Callable

from understudy.bases import HUB_TIMEOUT, Base, require_base, resolve_base, weight_shapes
from understudy.config.recipe import Recipe
from understudy.config.settings import Settings
from understudy.errors import BaseModelError

MOST_WEIGHTS_ON_A_CPU = 1e9
"""Largest base that is chosen without a GPU unless somebody asks for it."""


def choose_base(settings: Settings, recipe: Recipe, asked: str | None, *, report: Callable[[str], None]) -> Base:
    """The base for `recipe`.

    `asked` (`--base`) and UNDERSTUDY_BASE are obeyed. Otherwise the recipe's own base is used if the Hub (or its cache)
    has it and this machine can work on it; if not, `report` gets the reason, and the base in the settings takes its
    place.

    Raises:
        BaseModelError: a base that was asked for is not available, or the recipe's own cannot be prepared.
    """
    if asked or "base" in settings.model_fields_set or recipe.base is None:
        return require_base(asked or settings.base)
    try:
        base = require_base(recipe.base)
        _require_room(recipe, base)
    except BaseModelError as error:
        instead = resolve_base(settings.base)
        report(f"{recipe.name} is made for {recipe.base}: {error.reason}. Working on the {instead.name} base instead.")
        return instead
    return _with_chat_template(settings, recipe, base, report) if recipe.chat_template else base


def _require_room(recipe: Recipe, base: Base) -> None:
    """Raise BaseModelError if the base's weights alone are too much for this machine."""
    weights = _weights(base)
    if weights is None:
        return  # not known yet; training asks again once the weights are here
    import torch

    from train.memory import WEIGHT_BYTES, available

    size = f"it has {weights / 1e9:.1f} billion weights"
    if not torch.cuda.is_available() and weights > MOST_WEIGHTS_ON_A_CPU:
        reason = f"{size} and there is no GPU here"
        raise BaseModelError(f"base {recipe.base}: {reason}", reason=reason)
    method = recipe.training.method
    needed, free = weights * WEIGHT_BYTES[method] / 2**20, available()
    if needed > free:
        reason = f"{size}, {needed:,.0f} MiB with {method}, and {free:,.0f} MiB are free"
        raise BaseModelError(f"base {recipe.base}: {reason}", reason=reason)


def _weights(base: Base) -> int | None:
    """The number of weights, from the base's files or from the Hub; None if neither knows it."""
    try:
        return sum(math.prod(shape) for shape in weight_shapes(base).values())
    except BaseModelError:
        return _weights_of_pickles(base)


def _weights_of_pickles(base: Base) -> int | None:
    """The same for a base on the Hub without safetensors, from the size of its files at two bytes a weight."""
    from huggingface_hub import HfApi

    files = HfApi().model_info(base.location, files_metadata=True, timeout=HUB_TIMEOUT).siblings or []
    return sum(file.size or 0 for file in files if file.rfilename.endswith(".bin")) // 2 or None


def _with_chat_template(settings: Settings, recipe: Recipe, base: Base, report: Callable[[str], None]) -> Base:
    """The base with the recipe's chat template, in a folder of its own that is made once."""
    folder = settings.home / "bases" / base.name.rpartition("/")[2]
    if not folder.is_dir():
        report(f"{base.name} has no chat template: preparing it in {folder}, once")
        from train.model.prepare import prepare_base

        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        prepare_base(base.location, unfinished, recipe.folder / (recipe.chat_template or ""))
        unfinished.rename(folder)
    return resolve_base(str(folder))
