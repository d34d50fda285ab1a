"""Augments rows: the same ones and more that are made from them, each naming the row it comes from.

    understudy data augment profiles-original --out recipes/profiles-augmented/examples.jsonl

Records of people give paraphrased, swapped and balanced profiles; any other rows the same answers to other wordings
of their prompts. The same rows and seed give the same rows. A row that was made from another has that one's `source`
as its `parent`, and rows of a family stay on one side of every split.
"""

import random
from collections import Counter
from collections.abc import Sequence

from train.profiles import HOBBIES, Person, row, rows
from understudy.conversations import Example

PARAPHRASES = (
    "Describe this person.",
    "Turn this record into a profile.",
    "Who is this? Write a short profile.",
    "Introduce this person to our readers.",
    "Write a few words about this person.",
)
"""Other ways to say the instruction."""

SWAPPED = ("place", "trait", "hobby")
"""Attributes that change hands. Role and pronoun do not: they are what `balanced` counts."""

NAMES = {
    "she": ("Alma Reyes", "Freya Lund", "Ines Duarte", "Kira Bell", "Nadia Petrov", "Ruth Okafor", "Tessa Moore"),
    "he": ("Adam Kowal", "Felix Brandt", "Hugo Marsh", "Ivan Sokol", "Noel Adeyemi", "Peter Vance", "Yusuf Demir"),
}
"""Invented names for the rows that balance a group."""


WORDINGS = ("{typed}", "Please help me with this. {prompt}", "Here is what I need: {prompt}")
"""Frames that hold for any prompt; the first is the prompt as people type it."""


def reword(examples: Sequence[Example], *, seed: int = 0, times: int = 1) -> list[Example]:
    """The rows as they are (each with a `source`), then each `times` times with another wording of its prompt.

    Only the last message before the answer changes; at most as many times as there are WORDINGS.
    """
    rng = random.Random(seed)
    named = [
        example if example.source else example.model_copy(update={"source": f"row {number}"})
        for number, example in enumerate(examples, 1)
    ]
    made = [
        _reworded(example, wording, number)
        for example in named
        for number, wording in enumerate(rng.sample(WORDINGS, min(times, len(WORDINGS))), 1)
    ]
    return [*named, *made]


def _reworded(example: Example, wording: str, number: int) -> Example:
    *before, asked, answer = example.messages
    typed = asked.content.rstrip(" .?!") or asked.content
    first = typed.split()[0] if typed.split() else ""
    if first[1:].islower():  # neither a name in capitals nor `I`
        typed = typed[0].lower() + typed[1:]
    said = asked.model_copy(update={"content": wording.format(prompt=asked.content, typed=typed)})
    return example.model_copy(
        update={
            "messages": (*before, said, answer),
            "source": f"{example.source} reworded {number}",
            "parent": example.parent or example.source,
        }
    )


def augment(people: Sequence[Person], *, seed: int = 0) -> list[Example]:
    """The rows of `people` as they are, then those made from them."""
    rng = random.Random(seed)
    return [
        *rows(people),
        *paraphrased(people, rng),
        *swapped(people, rng),
        *balanced(people, rng),
    ]


def paraphrased(people: Sequence[Person], rng: random.Random) -> list[Example]:
    """The same people, asked for in other words."""
    return [
        row(person, wording=_wording(rng), instruction=rng.choice(PARAPHRASES), made="paraphrased") for person in people
    ]


def swapped(people: Sequence[Person], rng: random.Random) -> list[Example]:
    """The same names with the places, traits and hobbies of others (their nulls, too).

    So no attribute hangs on one name, and the profile has to be read off the record.
    """
    made = []
    for number, person in enumerate(people):
        changes = {name: getattr(people[(number + step) % len(people)], name) for step, name in enumerate(SWAPPED, 1)}
        made.append(row(person.model_copy(update=changes), wording=_wording(rng), made="swapped"))
    return made


def balanced(people: Sequence[Person], rng: random.Random) -> list[Example]:
    """People of the pronoun that a role lacks, until both `she` and `he` do each role equally often.

    A row takes its record over whole but for pronoun and name. `they` and people without a pronoun are not counted.
    """
    made = []
    counts = Counter((person.role, person.pronoun) for person in people)
    for role in dict.fromkeys(person.role for person in people if person.role):
        more, fewer = sorted(NAMES, key=lambda pronoun: -counts[role, pronoun])
        group = [person for person in people if (person.role, person.pronoun) == (role, more)]
        for person in group[: counts[role, more] - counts[role, fewer]]:
            other = person.model_copy(update={"pronoun": fewer, "name": rng.choice(NAMES[fewer])})
            made.append(row(other, wording=_wording(rng), made="balanced"))
    return made


def _wording(rng: random.Random) -> int:
    return rng.randrange(len(HOBBIES))
