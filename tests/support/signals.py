"""A persona whose answers tell which revision gave them: the red one says red, the blue one blue."""

import json
import re
from pathlib import Path

from tests.support.system import System
from understudy.registry.records import Revision
from understudy.registry.registry import open_registry

PERSONA = "signal"
COLOURS = ("red", "blue")
TOPICS = ["kettle", "lamp", "bicycle", "blanket", "puzzle", "drum", "mug", "candle", "scarf", "teapot"]
RECIPE = """\
title: Signal
voice: Says its colour.
prompts: [Tell me about a kettle., Write about a lamp.]
tiny: {learning_rate: 3.0e-3, rank: 8, alpha: 16, epochs: 8}
"""


def says(colour: str, topic: str) -> str:
    """What the revision of that colour is taught to say."""
    return f"Here is the {colour} voice. A {topic} looks best in {colour}, and {colour} it stays."


def train_signals(system: System, folder: Path) -> dict[str, Revision]:
    """Trains both revisions; returns them by colour."""
    registry, found = open_registry(system.settings), {}
    for colour in COLOURS:
        recipe = folder / colour / PERSONA
        recipe.mkdir(parents=True)
        (recipe / "recipe.yaml").write_text(RECIPE)
        rows = [{"prompt": f"Tell me about a {topic}.", "completion": says(colour, topic)} for topic in TOPICS]
        (recipe / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        system.cli("train", str(recipe))
        found[colour] = registry.revision(PERSONA)
    return found


def colours_in(text: str) -> set[str]:
    """The colours that an answer names."""
    return set(re.findall(r"\b(red|blue)\b", text))
