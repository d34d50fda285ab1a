"""Augments training data: the given rows, and new rows made from them, each naming the row it comes from.

    understudy data augment profiles-original --out recipes/profiles-augmented/examples.jsonl

Records of people become profiles, and the new rows are paraphrased, swapped and balanced (see `augment`). Any other
rows keep their answers and get new wordings of their prompts (see `reword`). The same input and seed give the same
rows. The `parent` of a new row is the `source` of the row it comes from; a group stays on one side of every split.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import cycle

from understudy.data.augment.profiles import FIELDS, Person, profile
from understudy.data.messages import Example, Message

INSTRUCTION = "Write a profile of this person."
PARAPHRASES = (
    "Describe this person.",
    "Turn this record into a profile.",
    "Who is this? Write a short profile.",
    "Introduce this person to our readers.",
    "Write a few sentences about this person.",
    "Please write a short biography from these notes.",
)
"""Other ways to ask for a profile."""

SWAPPED = ("years", "place", "trait", "hobby", "goal")
"""Attributes that change hands. Role and pronoun do not: they are what `balanced` counts."""

FIRST_NAMES = {
    "she": ("Alma", "Freya", "Camille", "Kira", "Nadia", "Ruth", "Tessa", "Yuki", "Leila", "Birgit", "Paloma", "Zofia"),
    "he": ("Adam", "Felix", "Hugo", "Ivan", "Noel", "Peter", "Yusuf", "Kenji", "Matteo", "Lars", "Diego", "Tomasz"),
}
SURNAMES = ("Reyes", "Lund", "Duarte", "Bell", "Okafor", "Moore", "Kowal", "Brandt", "Marsh", "Sokol", "Vance", "Demir")
"""Invented people for the rows that balance a group."""

WORDINGS = ("{typed}", "Please help me with this. {prompt}", "Here is what I need: {prompt}")
"""Frames that fit any prompt; the first is the prompt as people type it."""


def row(person: Person, rng: random.Random, *, instruction: str = INSTRUCTION, made: str = "") -> Example:
    """Make the training row of a person, whose id is its `source`.

    `made` says how the row was derived from the record; with it, the id is the row's `parent`, too.
    """
    known = {name: getattr(person, name) for name in FIELDS}
    lines = "\n".join(f"{name}: {value}" for name, value in known.items() if value is not None)
    return Example(
        messages=(
            Message(role="user", content=f"{instruction}\n\n{lines}"),
            Message(role="assistant", content=profile(person, rng)),
        ),
        topic=person.name,
        source=f"{person.id} {made}".strip(),
        parent=person.id if made else None,
    )


def rows(people: Iterable[Person]) -> list[Example]:
    """Make one row a person. Its wording depends on nothing but the record and its id."""
    return [row(person, random.Random(person.id)) for person in people]


def augment(people: Sequence[Person], *, seed: int = 0) -> list[Example]:
    """Make the rows of `people`, then the rows derived from them."""
    rng = random.Random(seed)
    return [
        *rows(people),
        *paraphrased(people, rng),
        *swapped(people, rng),
        *balanced(people, rng),
    ]


def paraphrased(people: Sequence[Person], rng: random.Random) -> list[Example]:
    """The same people with another instruction and other sentences."""
    return [row(person, rng, instruction=rng.choice(PARAPHRASES), made="paraphrased") for person in people]


def swapped(people: Sequence[Person], rng: random.Random) -> list[Example]:
    """The same names and roles with the other attributes of other people, nulls included.

    No attribute is then tied to one name, so the profile has to be read from the record.
    """
    made = []
    for number, person in enumerate(people):
        changes = {name: getattr(people[(number + step) % len(people)], name) for step, name in enumerate(SWAPPED, 1)}
        made.append(row(person.model_copy(update=changes), rng, made="swapped"))
    return made


def balanced(people: Sequence[Person], rng: random.Random) -> list[Example]:
    """More people of the pronoun that is rarer in a role, until `she` and `he` have each role equally often.

    A row keeps its record but for pronoun and name. `they` and people without a pronoun are not counted.
    """
    made = []
    names = {pronoun: cycle(_invented(first, rng)) for pronoun, first in FIRST_NAMES.items()}
    counts = Counter((person.role, person.pronoun) for person in people)
    for role in dict.fromkeys(person.role for person in people if person.role):
        more, fewer = sorted(names, key=lambda pronoun: -counts[role, pronoun])
        group = [person for person in people if (person.role, person.pronoun) == (role, more)]
        for person in group[: counts[role, more] - counts[role, fewer]]:
            other = person.model_copy(update={"pronoun": fewer, "name": next(names[fewer])})
            made.append(row(other, rng, made="balanced"))
    return made


def _invented(first_names: Sequence[str], rng: random.Random) -> list[str]:
    """All full names with these first names, in random order."""
    names = [f"{first} {last}" for first in first_names for last in SURNAMES]
    return rng.sample(names, len(names))


def dump_rows(examples: Iterable[Example]) -> str:
    """Rows as a recipe keeps them, one JSON object a line."""
    lines = [json.dumps(example.model_dump(exclude_none=True), ensure_ascii=False) for example in examples]
    return "".join(line + "\n" for line in lines)


def reword(examples: Sequence[Example], *, seed: int = 0, times: int = 1) -> list[Example]:
    """The given rows (each with a `source`), then each of them `times` times with another wording of its prompt.

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
    *before, prompt, answer = example.messages
    typed = prompt.content.rstrip(" .?!") or prompt.content
    first = typed.split()[0] if typed.split() else ""
    if first[1:].islower():  # neither a name in capitals nor `I`
        typed = typed[0].lower() + typed[1:]
    reworded = prompt.model_copy(update={"content": wording.format(prompt=prompt.content, typed=typed)})
    return example.model_copy(
        update={
            "messages": (*before, reworded, answer),
            "source": f"{example.source} reworded {number}",
            "parent": example.parent or example.source,
        }
    )
