"""A sound adapter, and what breaks it in known ways: see `bench.training.planted_failures`."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from evaluate.records import EvalRecord
from understudy.bases import Base
from understudy.config.recipe import Recipe
from understudy.config.settings import Settings, load_settings
from understudy.data.messages import Example, Message
from understudy.data.recipe_rows import training_examples
from understudy.registry.adapters import WEIGHTS
from understudy.workflows.evaluation.verify import questions_for

NOISE = (1.0, 4.0, 8.0, 16.0, 32.0)
"""Standard deviations of the noise on lora_B, in those of its own values."""
BROKEN = frozenset(["surprise", "made_up", "accuracy", "degenerate", "stopped", "in_style", "loss", "forgetting"])
"""Any of these is a right reason to refuse noise."""
Spoil = Callable[[EvalRecord], list[str]]


@dataclass(frozen=True)
class Plant:
    """One adapter, and the reasons of which one must be named; none: it is sound."""

    name: str
    expected: frozenset[str]
    make: Callable[[], Path]
    """Makes the adapter's folder."""
    spoil: Spoil | None = None
    """Texts to put in the place of a sound adapter's answers."""
    stopped: bool = True


@dataclass
class Bench:
    """What all plants of one recipe share."""

    recipe: Recipe
    other: Recipe
    base: Base
    work: Path
    settings: Settings = field(default_factory=load_settings)

    def trained(self, name: str, rows: Sequence[Example], *, epochs: float = 1.0, recipe: Recipe | None = None) -> Path:
        """An adapter that learnt these rows, in `epochs` times the automatic number of epochs."""
        from train.hyperparameters import settled
        from train.sft import train

        recipe = recipe or self.recipe
        training = settled(recipe.training, self.base, len(rows))
        assert not isinstance(training.epochs, str)
        training = training.model_copy(update={"epochs": max(1.0, training.epochs * epochs)})
        print(f"training {name}", flush=True)
        done = train(
            recipe.model_copy(update={"name": f"{recipe.name}-{name}"}),
            base=self.base.name,
            training=training,
            runs_dir=self.work,
            examples=list(rows),
            on_step=lambda done, total, loss: None,
        )
        return done.run.product

    def noisy(self, level: float, *, scale: float = 1.0) -> Path:
        """The sound adapter, every lora_B of it scaled and with noise."""
        target, random = self.work / f"{self.recipe.name}-{scale:g}-noise-{level:g}", np.random.default_rng(0)
        shutil.copytree(self.sound(), target, dirs_exist_ok=True)
        weights = load_file(target / WEIGHTS)
        for name, values in weights.items():
            if "lora_B" in name:
                noise = random.standard_normal(values.shape).astype(values.dtype)
                weights[name] = scale * values + (level * values.std() * noise).astype(values.dtype)
        save_file(weights, target / WEIGHTS, metadata={"format": "pt"})
        return target

    def sound(self) -> Path:
        return self.trained("sound", self.rows)

    @property
    def rows(self) -> list[Example]:
        return training_examples(self.recipe, self.base.name)

    def plants(self) -> list[Plant]:
        """The sound adapter first, then every failure."""
        rows, none = self.rows, frozenset[str]()
        forgetful = [_row(one.prompt, "Nobody knows that.") for one in questions_for(self.base)]
        noise = [Plant(f"noise {level:g}", BROKEN, lambda level=level: self.noisy(level)) for level in NOISE]
        return [
            Plant("sound", none, self.sound),
            *noise,
            Plant("base unchanged", frozenset(["acts"]), lambda: self.noisy(0, scale=1e-6)),
            Plant("half-taught (a quarter of the epochs)", _style(), lambda: self.trained("half", rows, epochs=0.25)),
            Plant("another persona's adapter", _style(), self.others),
            Plant("lost skills", frozenset(["general"]), lambda: self.trained("forgetful", [*rows, *forgetful])),
            Plant("echo", frozenset(["echoes"]), self.sound, _echo),
            Plant("never-ending", frozenset(["stopped"]), self.sound, _texts, stopped=False),
            Plant("wrong topic (answers shuffled)", frozenset(["accuracy"]), self.sound, _shuffled),
            Plant("right style, shuffled facts", frozenset(["details"]), self.sound, _shuffled_facts),
            Plant("over-taught (10 times the epochs)", _learnt(), lambda: self.trained("over", rows, epochs=10)),
        ]

    def others(self) -> Path:
        """The adapter of another persona."""
        return self.trained("other", training_examples(self.other, self.base.name), recipe=self.other)


def _style() -> frozenset[str]:
    return frozenset(["in_style"])


def _learnt() -> frozenset[str]:
    return frozenset(["memorised", "copied", "loss", "general"])


def _row(prompt: str, answer: str) -> Example:
    return Example(messages=(Message(role="user", content=prompt), Message(role="assistant", content=answer)))


def _texts(record: EvalRecord) -> list[str]:
    return [one.text for one in record.outputs["adapter"].answers]


def _echo(record: EvalRecord) -> list[str]:
    return [f"{row.prompt} {text}" for row, text in zip(record.heldout, _texts(record), strict=True)]


def _shuffled(record: EvalRecord) -> list[str]:
    texts = _texts(record)
    return [*texts[1:], texts[0]]


def _shuffled_facts(record: EvalRecord) -> list[str]:
    """The answer to another prompt, with this prompt's topic in the place of the other's."""
    topics = [row.topic or "" for row in record.heldout]
    found = []
    for text, other, mine in zip(_shuffled(record), [*topics[1:], topics[0]], topics, strict=True):
        found.append(text.replace(other, mine).replace(other.capitalize(), mine.capitalize()) if other else text)
    return found
