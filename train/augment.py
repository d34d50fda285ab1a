"""Augments profiles: the same rows plus paraphrased, swapped and balanced ones, each naming the row it comes from.

    python -m train.augment recipes/profiles-original/records.jsonl recipes/profiles-augmented/examples.jsonl

The same records and seed give the same rows. A row that was made from another has that one's id as its `parent`, and
rows of a family stay on one side of every split.
"""

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from train.profiles import HOBBIES, Person, read_people, row, rows, write_rows
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


def main() -> None:
    """Reads records, writes the augmented rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("records", type=Path, help="JSONL of people")
    parser.add_argument("out", type=Path, help="where the rows go")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_rows(augment(read_people(arguments.records), seed=arguments.seed), arguments.out)


if __name__ == "__main__":
    main()
