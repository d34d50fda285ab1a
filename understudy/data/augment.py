"""Augments training data: the given rows, and new rows made from them, each naming the row it comes from.

    understudy data augment profiles-original --out recipes/profiles-augmented/examples.jsonl

Records of people become profiles, and the new rows are paraphrased, swapped and balanced (see `augment`). Any other
rows keep their answers and get new wordings of their prompts (see `reword`). The same input and seed give the same
rows. The `parent` of a new row is the `source` of the row it comes from; a family stays on one side of every split.

A null (JSON null, a missing key, an empty text, or a word such as "N/A") means that a value is unknown. The prompt
has no line for an unknown attribute, and the profile does not mention it.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from understudy.data.convert import is_null
from understudy.data.messages import Example, Message
from understudy.errors import ExamplesError

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

    def said(match: re.Match[str]) -> str:
        article, names = match[1].startswith("a "), match[1].removeprefix("a ").split()
        if names[0] in values:
            text = " ".join(values[name] for name in names)
            return f"{_article(text)} {text}" if article else text
        return _plural(match[1]) if person.pronoun == "they" else match[1]

    return SLOT.sub(said, sentence)


def _plural(verb: str) -> str:
    return {"has": "have", "is": "are"}.get(verb, verb.removesuffix("s"))


def _article(words: str) -> str:
    silent = words.lower().startswith(("honest", "honor", "hour", "heir"))
    return "an" if silent or words[0].lower() in "aeiou" else "a"


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
