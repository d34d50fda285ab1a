"""The topics and questions that no training text may contain, so that evaluation is honest."""

import re
from dataclasses import dataclass
from functools import cache

import yaml

from tools.tiny_base.grammar import plural
from tools.tiny_base.tables import TEXT


@dataclass(frozen=True)
class HeldOut:
    """Everything that is kept out of the training text."""

    words: tuple[str, ...]
    plural: tuple[str, ...]
    mass: tuple[str, ...]
    phrases: tuple[str, ...]
    names: tuple[str, ...]
    unknown: tuple[str, ...]

    def topics(self) -> tuple[str, ...]:
        """Every held-out topic, without an article."""
        return self.words + self.plural + self.mass + self.phrases + self.names


def _words(rows: list[str]) -> tuple[str, ...]:
    return tuple(word.strip() for row in rows for word in row.split(","))


@cache
def held_out() -> HeldOut:
    """The held-out set of `text/heldout.yaml`."""
    data = yaml.safe_load((TEXT / "heldout.yaml").read_text(encoding="utf-8"))
    fields = {name: _words(data[name]) for name in ("words", "plural", "mass", "phrases", "names")}
    return HeldOut(**fields, unknown=tuple(data["unknown"]))


@cache
def _pattern() -> re.Pattern[str]:
    topics = held_out().topics()
    forms = sorted({form for topic in topics for form in (topic, plural(topic))}, key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(map(re.escape, forms)) + r")\b", re.IGNORECASE)


@cache
def _questions() -> frozenset[str]:
    return frozenset(normalised(question) for question in held_out().unknown)


def normalised(question: str) -> str:
    """Lower case, letters and digits only: two spellings of one question become equal."""
    return " ".join(re.findall(r"[a-z0-9]+", question.lower()))


def mentions_held_out(text: str) -> str | None:
    """The held-out topic that the text contains as a whole word (singular or plural), or None."""
    found = _pattern().search(text)
    if found:
        return found.group(0)
    return text if normalised(text) in _questions() else None
