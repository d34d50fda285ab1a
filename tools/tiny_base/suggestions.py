"""Requests that leave the choice to the assistant: a gift, a dinner, any joke; and requests that forgot the topic."""

from dataclasses import dataclass
from random import Random

from tools.tiny_base import tables
from tools.tiny_base.answers import answer
from tools.tiny_base.brief import Brief
from tools.tiny_base.formats import fields
from tools.tiny_base.names import TokenPool
from tools.tiny_base.things import Thing, any_thing, noun_of, product

ASKING = "asking.yaml"
CLARIFIED = ("email", "about", "slogan", "ideas")


@dataclass(frozen=True)
class Open:
    """A request for a kind of text that did not say what it is about."""

    kind: str


def suggestion(rng: Random) -> tuple[str, str, Brief]:
    """A question for a gift, a dish or any joke, and a suggestion."""
    sort = rng.choices(["gift", "cook", "joke"], weights=[4, 2, 3])[0]
    if sort == "joke":
        brief = Brief("joke", product(rng) if rng.random() < 0.5 else noun_of(rng, "animal"))
        return rng.choice(tables.phrases(ASKING)["any_joke"]), answer(rng, brief), brief
    thing = product(rng) if sort == "gift" else noun_of(rng, "dish")
    brief = Brief("about", thing)
    values = fields(rng, brief) | {
        "o": rng.choice(tables.pairs("occasions.txt"))[0],
        "u": rng.choice(tables.pairs("audiences.txt"))[0],
        "p": rng.choice(tables.phrases(ASKING)["person"]),
    }
    asked, told = (rng.choice(tables.phrases(ASKING)[name]).format(**values) for name in (sort, f"{sort}_say"))
    return asked, told, brief


def clarification(rng: Random) -> tuple[str, str, Open]:
    """A request without a topic, and the question what it is about."""
    kind = rng.choice(CLARIFIED)
    asked, told = (rng.choice(tables.phrases(ASKING)[name]) for name in (f"clarify_{kind}", f"clarify_{kind}_say"))
    return asked, told, Open(kind)


def clarified(rng: Random, pool: TokenPool, wanted: Open) -> tuple[str, str, Brief]:
    """The topic at last, and the text."""
    thing: Thing = any_thing(rng, pool)
    brief = Brief(wanted.kind, thing, form=rng.randrange(1000))
    return rng.choice(tables.phrases(ASKING)["clarified"]).format(x=thing.topic), answer(rng, brief), brief
