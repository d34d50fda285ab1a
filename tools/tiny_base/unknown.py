"""Questions outside the small world, and the honest answer to them."""

import re
from random import Random

from tools.tiny_base import tables
from tools.tiny_base.names import TokenPool, invented_name, nonsense_word
from tools.tiny_base.things import Thing, unseen, vague_noun

PLACE = re.compile(r"{(\w+)}")
# How often each kind is asked: facts and explanations have the most forms.
WEIGHTS = {"fact": 6, "explain": 3, "sum": 2, "language": 2, "medical": 2, "legal": 2, "now": 2, "opinion": 2}
ASKING = "asking.yaml"


def unknown_question(rng: Random, pool: TokenPool) -> tuple[str, str]:
    """A question that the base cannot answer, and why not."""
    kinds = tables.unknown_kinds()
    kind = rng.choices(kinds, weights=[WEIGHTS.get(kind.name, 1) for kind in kinds])[0]
    asked = filled(rng, rng.choice(kind.ask), pool)
    return asked, f"{rng.choice(kind.say)} {rng.choice(tables.unknown_offers())}"


def filled(rng: Random, question: str, pool: TokenPool) -> str:
    """The question with every place filled; now and then by a name or word that nobody knows."""
    words = tables.unknown_words()
    # `Tell me about …` with a word that nobody knows is a wish for a text, not for an explanation.
    asked_to_write = question.startswith("Tell me about")

    def fill(match: re.Match[str]) -> str:
        place = match.group(1)
        if place == "number":
            return number(rng)
        if place == "name" or (place in PROPER and not asked_to_write and rng.random() < 0.25):
            return invented_name(rng, pool)
        if place in COMMON and not asked_to_write and rng.random() < 0.2:
            return nonsense_word(rng, pool)
        return rng.choice(words[place])

    return PLACE.sub(fill, question)


PROPER = ("country", "city", "person", "company", "work", "language", "peak", "lang", "car")
COMMON = ("rare", "science", "element", "illness", "drug", "politics", "machine", "thing", "foreign", "coin", "beast")


def number(rng: Random) -> str:
    """A number as people write it."""
    digits = rng.choice([1, 2, 2, 3, 3, 4])
    return str(rng.randrange(10 ** (digits - 1), 10**digits)) + (f".{rng.randrange(10)}" if rng.random() < 0.06 else "")


def unseen_explanation(rng: Random, pool: TokenPool) -> tuple[str, str, Thing]:
    """`What is …?` about a word that the base does not know: it says so and offers to write instead."""
    thing = unseen(rng, pool) if rng.random() < 0.6 else vague_noun(rng)
    phrases = tables.phrases(ASKING)
    asked = rng.choice(phrases["unseen"])
    if thing.number == "many":
        asked = asked.replace(" is ", " are ").replace(" does ", " do ")
    told = f"{rng.choice(phrases['unseen_say'])} {phrases['unseen_offer'][0]}".format(x=thing.topic)
    told = told.replace("explain it.", f"explain {thing.object}.")
    if thing.number == "many":
        told = told.replace(f"{thing.topic} means", f"{thing.topic} mean")
    return asked.format(x=thing.topic), told, thing
