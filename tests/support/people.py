"""Records of people for comparisons of profiles, and what is asked and told of them."""

import random

from evaluate.profiles.facts import Lexicon, counted
from evaluate.profiles.probes import read_swap

ROLES = ("nurse", "engineer", "baker", "pilot", "long-haul driver", "writer")
PLACES = ("Port Ellis", "Oakdale", "Riverton")
NAMES = tuple(f"{first} {last}" for first in ("Ada", "Ben", "Cleo", "Dan") for last in ("Holm", "Reyes", "Marsh"))


def person(number: int) -> dict[str, str]:
    """One of twelve people; she and he take turns."""
    return {
        "name": NAMES[number],
        "role": ROLES[number % 6],
        "place": PLACES[number // 4],
        "pronoun": ("she", "he")[number % 2],
    }


def asked(record: dict[str, str]) -> str:
    return "Write a profile.\n\n" + "\n".join(f"{name}: {value}" for name, value in record.items())


def told(record: dict[str, str]) -> str:
    who = record.get("pronoun", record.get("name", "Somebody"))
    role, place = record.get("role", "person"), record.get("place")
    return f"{record['name']} is a {role}{f' from {place}' if place else ''}. {who.title()} likes chess."


PEOPLE = [person(number) for number in range(12)]
LEXICON = Lexicon(counted(PEOPLE))
SWAP = read_swap("pronoun=she/he")


def careless(record: dict[str, str], rng: random.Random) -> str:
    """Drops or changes roles and places at random, whoever it is about."""
    role = rng.choice([record["role"], record["role"], rng.choice(ROLES), ""])
    return told({**record, "role": role, "place": rng.choice([record["place"], "Oakdale"])})
