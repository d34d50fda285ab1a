"""The rows of a recipe: its own files, or the source that its `data:` names."""

from pathlib import Path

from understudy.config.recipe import Recipe
from understudy.config.settings import SMOLLM2, TINY
from understudy.data.load import load_examples
from understudy.data.messages import Example
from understudy.data.split import SplitData, read_source

SHIPPED = (SMOLLM2, TINY)
"""Bases on which a recipe's own rows are used, never those that `data:` names."""


def training_examples(recipe: Recipe, base: str = SMOLLM2) -> list[Example]:
    """The training rows on `base`. Raises ExamplesError as `load_examples` and `read_source` do."""
    split = source_split(recipe, base)
    return list(split.examples) if split else load_examples(recipe.folder / recipe.examples)


def heldout_examples(recipe: Recipe, base: str = SMOLLM2) -> list[Example]:
    """The held-out rows on `base`; empty when the recipe has none. Raises ExamplesError as `load_examples`."""
    split = source_split(recipe, base)
    if split:
        return list(split.heldout)
    path = recipe.folder / recipe.heldout
    return load_examples(path) if path.exists() else []


def training_path(recipe: Recipe, base: str) -> Path:
    """Where the training rows are, for messages."""
    return _path(recipe, recipe.examples, base)


def heldout_path(recipe: Recipe, base: str) -> Path:
    """Where the held-out rows are, for messages."""
    return _path(recipe, recipe.heldout, base)


def source_split(recipe: Recipe, base: str) -> SplitData | None:
    """Both sides of `data`, and what was left out; None where the files in the recipe's folder are used.

    Raises:
        ExamplesError: as `read_source`.
    """
    return read_source(recipe.data, recipe.folder) if recipe.data and base not in SHIPPED else None


def _path(recipe: Recipe, file: str, base: str) -> Path:
    return Path(recipe.data.source) if recipe.data and base not in SHIPPED else recipe.folder / file
