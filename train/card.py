"""The model card that travels with an adapter."""

from train.runs import RunSettings
from understudy.recipes import Recipe

CARD = """---
library_name: peft
base_model: {base}
pipeline_tag: text-generation
tags:
- lora
- understudy
---

# {title}

{voice}

A LoRA adapter for `{base}`{pinned}, trained by [Understudy](https://github.com/understudy/understudy)
from {rows} examples.

| setting | value |
|---|---|
{table}
| examples (SHA-256) | `{data}` |

Trained with loss on the answers only, end of turn included. `training.json` holds everything resolved.
"""


def adapter_card(recipe: Recipe, settings: RunSettings) -> str:
    """Markdown with the front matter that the Hub reads."""
    table = "\n".join(f"| {name} | {value} |" for name, value in settings.training.model_dump().items())
    return CARD.format(
        base=settings.base,
        title=recipe.title,
        voice=recipe.voice,
        pinned=f" at `{settings.base_revision}`" if settings.base_revision else "",
        rows=settings.rows,
        table=table,
        data=settings.examples_sha256[:16],
    )
