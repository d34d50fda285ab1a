"""Read the tables under `text/` into records: the raw material of every generated conversation."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

TEXT = Path(__file__).parent / "text"
Number = Literal["one", "many", "some"]
NUMBER_CODES: dict[str, Number] = {"s": "one", "p": "many", "m": "some"}


@dataclass(frozen=True)
class Product:
    """A thing the base knows well: what it does, whom it suits and one tip."""

    name: str
    number: Number
    does: tuple[str, ...]
    good_for: tuple[str, ...]
    tips: tuple[str, ...]


@dataclass(frozen=True)
class NounKind:
    """A family of nouns that share what can be said about them."""

    name: str
    does: tuple[str, ...]
    good_for: tuple[str, ...]
    tips: tuple[str, ...]
    nouns: dict[Number, tuple[str, ...]]


@dataclass(frozen=True)
class Concept:
    """Something to explain: one definition, three facts, one example."""

    name: str
    definition: str
    facts: tuple[str, ...]
    example: str


@dataclass(frozen=True)
class PythonAnswer:
    """A small Python task (or word) with one sentence and code."""

    task: str
    sentence: str
    code: str


@dataclass(frozen=True)
class ProjectSubject:
    """A subject of this project: ways to ask for it and the sentences (or the fixed text) that answer."""

    names: tuple[str, ...]
    ask: tuple[str, ...]
    say: tuple[str, ...]
    text: str
    weight: int


@dataclass(frozen=True)
class UnknownKind:
    """A kind of question outside the small world, and what to say before the offer to help."""

    name: str
    ask: tuple[str, ...]
    say: tuple[str, ...]


def _rows(name: str, columns: int) -> list[list[str]]:
    """The non-comment lines of a `|` table; the last column keeps any further `|`."""
    lines = (TEXT / name).read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line.strip() and not line.startswith("# ")]
    return [[cell.strip() for cell in line.split("|", columns - 1)] for line in wanted]


def _yaml(name: str) -> dict:
    return yaml.safe_load((TEXT / name).read_text(encoding="utf-8"))


def _split(text: str, separator: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())


@cache
def products() -> tuple[Product, ...]:
    """The well-known products."""
    return tuple(
        Product(name, NUMBER_CODES[number], _split(does, ";"), (good_for,), (tip,))
        for name, number, does, good_for, tip in _rows("things.txt", 5)
    )


@cache
def noun_kinds() -> tuple[NounKind, ...]:
    """The families of ordinary nouns."""
    numbers: tuple[Number, ...] = ("one", "many", "some")
    return tuple(
        NounKind(
            name,
            tuple(kind["does"]),
            tuple(kind["for"]),
            tuple(kind["tips"]),
            {number: _split(kind[number], ",") for number in numbers if number in kind},
        )
        for name, kind in _yaml("nouns.yaml").items()
    )


@cache
def concepts() -> tuple[Concept, ...]:
    """The subjects the base can explain."""
    rows = _rows("concepts.txt", 4)
    return tuple(Concept(name, what, _split(facts, ";"), example) for name, what, facts, example in rows)


@cache
def questions_and_answers() -> tuple[tuple[str, str], ...]:
    """Common why and how questions with their answers."""
    return tuple((question, answer) for question, answer in _rows("why.txt", 2))


@cache
def python_answers(name: Literal["python_tasks.txt", "python_words.txt"]) -> tuple[PythonAnswer, ...]:
    """The Python tasks, or the words of the language."""
    return tuple(PythonAnswer(a, b, code.replace("\\n", "\n")) for a, b, code in _rows(name, 3))


@cache
def project_subjects() -> tuple[ProjectSubject, ...]:
    """The subjects of this project, each as often as its weight says."""
    return tuple(
        ProjectSubject(
            tuple(row.get("names", ())),
            tuple(row.get("ask", ())),
            tuple(row.get("say", ())),
            row.get("text", ""),
            row.get("weight", 1),
        )
        for row in _yaml("project.yaml")["subjects"]
    )


@cache
def small_talk() -> tuple[tuple[tuple[str, ...], str], ...]:
    """What people say (several ways), and the answer."""
    return tuple((_split(said, ";"), answer) for said, answer in _rows("smalltalk.txt", 2))


@cache
def unknown_kinds() -> tuple[UnknownKind, ...]:
    """The kinds of questions outside the small world."""
    kinds = _yaml("unknown.yaml")["kinds"].items()
    return tuple(UnknownKind(name, _split(kind["ask"], "|"), tuple(kind["say"])) for name, kind in kinds)


@cache
def unknown_offers() -> tuple[str, ...]:
    """What the base offers instead; every one says that it knows only a small world."""
    return tuple(_yaml("unknown.yaml")["offers"])


@cache
def unknown_words() -> dict[str, tuple[str, ...]]:
    """The words that fill the places of an unknown question."""
    return {name: _split(words, ",") for name, words in _yaml("unknown.yaml")["words"].items()}


@cache
def pairs(name: Literal["occasions.txt", "audiences.txt"]) -> tuple[tuple[str, str], ...]:
    """Occasions or audiences, each with a plain sentence about it."""
    return tuple((word, sentence) for word, sentence in _rows(name, 2))


@cache
def lines(name: str) -> tuple[str, ...]:
    """The lines of a plain list under `text/`."""
    return tuple(row[0] for row in _rows(name, 1))


@cache
def phrases(name: str) -> dict[str, tuple[str, ...]]:
    """A YAML file of named lists of phrases under `text/`."""
    return {key: tuple(values) for key, values in _yaml(name).items()}
