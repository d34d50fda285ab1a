"""What the shipped personas say: the first held-out prompts of each, in order, and ten everyday questions to the base.

    python -m bench.transcript --gateway http://127.0.0.1:8000

Nothing is chosen: one answer to each prompt, sampled as the base wants it, seed 0. Writes docs/transcript.md.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import httpx

from bench.machine import commit
from understudy.config.recipe import load_recipe, recipe_names
from understudy.config.settings import PROJECT
from understudy.data.recipe_rows import heldout_examples

PERSONAS = 7
"""Held-out prompts of each persona: three personas give a good twenty answers."""

EVERYDAY = (
    "What is the capital of France?",
    "How do I boil an egg?",
    "Why is the sky blue?",
    "What should I pack for a weekend by the sea?",
    "Write a short thank you note to my neighbour.",
    "What is photosynthesis?",
    "Give me three tips for sleeping better.",
    "How many days are there in a year?",
    "What is a good name for a cat?",
    "Explain what a library is to a child.",
)


def main() -> None:
    """Asks the gateway and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default="http://127.0.0.1:8000")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "transcript.md")
    arguments = parser.parse_args()
    lines = [*_head(), *_base(arguments.gateway), *_personas(arguments.gateway)]
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(arguments.out)


def _head() -> Iterator[str]:
    yield "# What they say"
    yield ""
    yield "One answer to each prompt, none chosen: the first held-out prompts of each demo persona, in their order, and"
    yield "ten everyday questions to the base. Sampled as the base wants it (its generation_config.json), seed 0."
    yield f"Made by `python -m bench.transcript` on `smollm2` at commit `{commit()}`."


def _base(gateway: str) -> Iterator[str]:
    yield from ("", "## base")
    for prompt in EVERYDAY:
        yield from _exchange(gateway, "base", prompt)


def _personas(gateway: str) -> Iterator[str]:
    known = {model["id"]: model for model in httpx.get(f"{gateway}/v1/models").json()["data"]}
    for name in recipe_names(PROJECT / "recipes"):
        recipe = load_recipe(name, PROJECT / "recipes")
        if not recipe.demo:
            continue
        if name not in known:
            yield from ("", f"## {name}", "", "Not live: it was refused, or not trained.")
            continue
        yield from ("", f"## {name}@{known[name]['understudy']['revision']}")
        for row in heldout_examples(recipe)[:PERSONAS]:
            yield from _exchange(gateway, name, row.prompt[-1]["content"])


def _exchange(gateway: str, model: str, prompt: str) -> Iterator[str]:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 256, "seed": 0}
    answer = httpx.post(f"{gateway}/v1/chat/completions", json=body, timeout=300).raise_for_status().json()
    choice = answer["choices"][0]
    cut = "" if choice["finish_reason"] == "stop" else " *(cut off)*"
    yield from ("", f"**{prompt}**", "")
    yield from (f"> {line}".rstrip() for line in (choice["message"]["content"] + cut).splitlines())


if __name__ == "__main__":
    main()
