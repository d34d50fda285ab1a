"""Writes a profile of a person from sentence patterns: every known attribute once and nothing else.

A null (JSON null, a missing key, an empty text, or a word such as "N/A") means that a value is unknown. The prompt
has no line for an unknown attribute, and the profile does not mention it.
"""

import random
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from understudy.data.forms.convert import is_null
from understudy.errors import ExamplesError

FIELDS = ("name", "pronoun", "role", "years", "place", "trait", "hobby", "goal")
"""The attributes in the order of the prompt. After the opening, a profile tells them in this order, too."""

OPENINGS = (
    "{name} is {a trait role} from {place}.",
    "{name} is {a trait role} who lives in {place}.",
    "{name} is {a role} from {place} with {years} of experience.",
    "{name} is {a trait role} with {years} of experience.",
    "{name} is {a trait role}.",
    "{name} is {a trait} person who lives in {place}.",
    "{name} is {a trait} person.",
    "Meet {name}, {a trait role} from {place}.",
    "Meet {name}, {a role} with {years} of experience.",
    "{name} has been {a role} for {years}.",
    "{name} has worked as {a role} for {years} and lives in {place}.",
    "{name} works as {a role} and lives in {place}.",
    "{name} works as {a role}.",
    "{name} lives in {place} and has been {a role} for {years}.",
    "{name} lives in {place}.",
    "{name}, {a trait role} from {place}, has been in the job for {years}.",
    "In {place} lives {name}, {a trait role} with {years} of experience.",
)
BARE_OPENINGS = (
    "{name} has been in the same job for {years}.",
    "{name} enjoys {hobby}.",
    "{name} hopes to {goal}.",
    "This is {name}.",
)
"""For records that none of the OPENINGS fits; the first that fits is taken."""
SENTENCES = (
    "{She} {works} as {a role}.",
    "{She} {has} worked as {a role} for {years}.",
    "{She} {is} {a trait role} with {years} of experience.",
    "{She} {is} {a trait role}.",
    "{She} {has} been in the job for {years}.",
    "{She} {has} {years} of experience and {lives} in {place}.",
    "{Her} experience in the job adds up to {years}.",
    "{She} {lives} in {place}.",
    "{Her} home is in {place}.",
    "{She} {is} {trait} and {lives} in {place}.",
    "{She} {is} {trait} and {has} {years} of experience.",
    "{She} {is} {trait} by nature.",
    "By nature, {she} {is} {trait}.",
    "{She} {is} {trait} and {enjoys} {hobby}.",
    "{She} {is} {trait}, {loves} {hobby} and {hopes} to {goal}.",
    "Outside work, {she} {enjoys} {hobby}.",
    "In spare moments, {she} {turns} to {hobby}.",
    "{Her} hobby is {hobby}.",
    "{She} {loves} {hobby}.",
    "{She} {gives} every spare hour to {hobby}.",
    "When the work is done, {she} {turns} to {hobby}.",
    "Away from work, {she} {loves} {hobby}.",
    "On days off, {she} {turns} to {hobby}.",
    "What {she} {likes} best after work is {hobby}.",
    "{She} {enjoys} {hobby} and {hopes} to {goal}.",
    "Outside work, {she} {enjoys} {hobby}, and {her} dream is to {goal}.",
    "{Her} hobby is {hobby}, and {her} goal is to {goal}.",
    "One day, {she} {hopes} to {goal}.",
    "{She} {hopes} to {goal}.",
    "{She} {wants} to {goal} one day.",
    "{She} would like to {goal}.",
    "{Her} goal is to {goal}.",
    "{Her} dream is to {goal}.",
    "Some day, {she} {wants} to {goal}.",
    "Looking ahead, {she} {hopes} to {goal}.",
)
"""What may follow an opening. In braces stand an attribute, attributes with an article (`a trait role`), a pronoun or
a verb; the last two are written for `she`."""
MOST_SENTENCES = 4
SLOT = re.compile(r"\{([^}]+)\}")


class Person(BaseModel):
    """One record. A null is None here, however it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    pronoun: Literal["she", "he", "they"] | None = None
    """Without one, the profile repeats the first name."""
    role: str | None = None
    years: int | None = Field(default=None, ge=1)
    """Years in the job."""
    place: str | None = None
    """Where the person lives."""
    trait: str | None = None
    hobby: str | None = None
    goal: str | None = None
    """What the person hopes to do: a verb in its base form and what belongs to it."""

    @field_validator("*", mode="before")
    @classmethod
    def _one_null(cls, value: object) -> object:
        return None if is_null(value) or (isinstance(value, str) and not value.strip()) else value


def read_people(path: Path) -> list[Person]:
    """Read the records of a JSONL file.

    Raises:
        ExamplesError: the file cannot be read, or a record has no id, no name, or a key that is not known.
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


def profile(person: Person, rng: random.Random) -> str:
    """Write two to four sentences that tell every known attribute and nothing else; one if there is little to tell.

    `rng` chooses the sentences: the same state gives the same profile.
    """
    known = tuple(name for name in FIELDS if name not in ("name", "pronoun") and getattr(person, name) is not None)
    openings = [one for one in OPENINGS if _tells(one) <= set(known)]
    plans = []
    for opening in openings or [next(one for one in BARE_OPENINGS if _tells(one) <= set(known))]:
        left = tuple(name for name in known if name not in _tells(opening))
        plans.append([(opening, *more) for more in _continuations(left)])
    varied = [[plan for plan in some if _reads_well(plan)] for some in plans]
    chosen = rng.choice(rng.choice([some for some in varied if some] or plans))
    return " ".join(_fill(sentence, person) for sentence in chosen)


@cache
def _continuations(left: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All sequences of SENTENCES that tell each of these attributes once, in this order."""
    if not left:
        return [()]
    found = []
    for sentence in SENTENCES:
        tells = _tells(sentence)
        if left[0] in tells and tells <= set(left):
            rest = tuple(name for name in left if name not in tells)
            found += [(sentence, *more) for more in _continuations(rest)]
    return found


def _reads_well(plan: Sequence[str]) -> bool:
    """Whether a profile has a good length and no two of its sentences begin alike."""
    return 2 <= len(plan) <= MOST_SENTENCES and len({sentence.split()[0] for sentence in plan}) == len(plan)


@cache
def _tells(sentence: str) -> frozenset[str]:
    return frozenset(" ".join(SLOT.findall(sentence)).split()) & set(FIELDS) - {"name", "pronoun"}


def _fill(sentence: str, person: Person) -> str:
    first = person.name.split()[0]
    she, her = {"she": ("she", "her"), "he": ("he", "his"), "they": ("they", "their")}.get(
        person.pronoun or "", (first, f"{first}'s")
    )
    values = {name: str(value) for name, value in person.model_dump(exclude_none=True).items()}
    values |= {"she": she, "her": her, "She": she[0].upper() + she[1:], "Her": her[0].upper() + her[1:]}
    values["years"] = f"{person.years} years" if person.years != 1 else "1 year"

    def filled(match: re.Match[str]) -> str:
        article, names = match[1].startswith("a "), match[1].removeprefix("a ").split()
        if names[0] in values:
            text = " ".join(values[name] for name in names)
            return f"{_article(text)} {text}" if article else text
        return _plural(match[1]) if person.pronoun == "they" else match[1]

    return SLOT.sub(filled, sentence)


def _plural(verb: str) -> str:
    return {"has": "have", "is": "are"}.get(verb, verb.removesuffix("s"))


def _article(words: str) -> str:
    silent = words.lower().startswith(("honest", "honor", "hour", "heir"))
    return "an" if silent or words[0].lower() in "aeiou" else "a"
