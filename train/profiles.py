"""Profiles: JSON records of invented people become training rows, nulls handled in one way everywhere.

    python -m train.profiles recipes/profiles-original/records.jsonl recipes/profiles-original/examples.jsonl

A null (JSON null, a missing key, an empty text, or a word such as "N/A") means that nothing is known. What is not
known is neither asked with nor told: its line is left out of the prompt and its words are left out of the profile.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from understudy.conversations import Example, Message
from understudy.conversion import is_null
from understudy.errors import ExamplesError

INSTRUCTION = "Write a profile of this person."
FIELDS = ("name", "trait", "role", "place", "pronoun", "hobby")
"""What the prompt tells, in this order."""

HOBBIES = (
    "{who} {likes} {hobby}.",
    "After work, {who} {turns} to {hobby}.",
    "{who} {gives} every free hour to {hobby}.",
)
"""Ways to tell a hobby. People word things in more than one way; which one a record gets depends on its place."""


class Person(BaseModel):
    """One record. A null is None here, however it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    pronoun: Literal["she", "he", "they"] | None = None
    """Without one, the profile repeats the name."""
    role: str | None = None
    place: str | None = None
    trait: str | None = None
    hobby: str | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _one_null(cls, value: object) -> object:
        return None if is_null(value) or (isinstance(value, str) and not value.strip()) else value


def read_people(path: Path) -> list[Person]:
    """The records of a JSONL file.

    Raises:
        ExamplesError: the file cannot be read, or a record has no id, no name, or a key that we do not know.
    """
    people = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ExamplesError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines, 1):
        try:
            people.append(Person.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            at = ".".join(str(part) for part in first["loc"]) or "record"
            raise ExamplesError(f"{path}:{number}: {at}: {first['msg']}") from None
    return people


def profile(person: Person, wording: int = 0) -> str:
    """One sentence of who somebody is, and one of the hobby where it is known; `wording` chooses among HOBBIES."""
    what = " ".join(filter(None, (person.trait, person.role or "person")))
    text = f"{person.name} is {_article(what)} {what}" + (f" from {person.place}." if person.place else ".")
    if not person.hobby:
        return text
    words = {"likes": "like", "turns": "turn", "gives": "give"}
    if person.pronoun != "they":
        words = {word: word for word in words}
    told = HOBBIES[wording % len(HOBBIES)].format(who=person.pronoun or person.name, hobby=person.hobby, **words)
    return f"{text} {told[0].upper()}{told[1:]}"


def row(person: Person, *, wording: int, instruction: str = INSTRUCTION, made: str = "") -> Example:
    """The training row of a person, whose id is its `source`; `made` says how it was made from that record, if it was:
    then the id is its `parent`."""
    known = {name: getattr(person, name) for name in FIELDS}
    lines = "\n".join(f"{name}: {value}" for name, value in known.items() if value is not None)
    return Example(
        messages=(
            Message(role="user", content=f"{instruction}\n\n{lines}"),
            Message(role="assistant", content=profile(person, wording)),
        ),
        topic=person.name,
        source=f"{person.id} {made}".strip(),
        parent=person.id if made else None,
    )


def rows(people: Iterable[Person]) -> list[Example]:
    """One row a person."""
    return [row(person, wording=number) for number, person in enumerate(people)]


def write_rows(examples: Iterable[Example], path: Path) -> None:
    """Writes rows as a recipe keeps them."""
    path.write_text(dump_rows(examples), encoding="utf-8")


def dump_rows(examples: Iterable[Example]) -> str:
    """Rows as a recipe keeps them, one JSON object a line."""
    lines = [json.dumps(example.model_dump(exclude_none=True), ensure_ascii=False) for example in examples]
    return "".join(line + "\n" for line in lines)


def kept(person: Person, text: str) -> dict[str, bool]:
    """Which of the known attributes stand in a profile, word for word; what is null is not asked about."""
    told = {name: getattr(person, name) for name in FIELDS if name != "pronoun"}
    return {name: str(value) in text for name, value in told.items() if value is not None}


def _article(words: str) -> str:
    silent = words.lower().startswith(("honest", "honor", "hour", "heir"))
    return "an" if silent or words[0].lower() in "aeiou" else "a"


def main() -> None:
    """Reads records, writes rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("records", type=Path, help="JSONL of people")
    parser.add_argument("out", type=Path, help="where the rows go")
    arguments = parser.parse_args()
    write_rows(rows(read_people(arguments.records)), arguments.out)


if __name__ == "__main__":
    main()
