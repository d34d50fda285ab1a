"""The card of a recipe's persona: what people are told about it, made from the recipe and its rows."""

from typing import Any

from understudy.config.recipe import Recipe
from understudy.data.examples import load_examples
from understudy.registry.persona_card import Card, Shot


def card_of(recipe: Recipe, examples: int | None = None) -> dict[str, Any]:
    """The card of a recipe's persona, trained on so many rows."""
    card = Card(
        title=recipe.title[:80],
        voice=recipe.voice[:400],
        prompts=recipe.prompts[:50],
        golden=recipe.golden,
        sampling=recipe.sampling,
        examples=examples,
        shots=_shots(recipe),
    )
    return card.model_dump(exclude_none=True)


def _shots(recipe: Recipe) -> list[Shot]:
    """The first rows of the recipe's own file that are one short question and its answer."""
    path = recipe.folder / recipe.examples
    rows = [row for row in load_examples(path) if len(row.messages) == 2] if path.is_file() else []
    short = [(row.messages[0].content, row.answer) for row in rows]
    found = [Shot(prompt=asked, answer=said) for asked, said in short if len(asked) <= 400 and len(said) <= 800]
    return found[:4]
